"""How far Δ± of the golden sets moves when PyTorch computes the logits in float32: the rounding that any float32 forward pass leaves, and the golden figures' own.

    python scripts/check_delta.py SHARED/data          # needs torch and transformers; run by hand

Per golden set of edpo-golden and for float64 and float32 logits: the worst and the median |Δ - golden| over pairs and signs, also as a share of ε; everything after the
logits is float64. test/cli/golden.test.ts holds edpo to 2e-4 ε. With torch 2.15, transformers 5.24 (2026-11-27):
the golden figures are themselves up to 1.1e-4 ε from float64 logits' (5.5e-5 at ε = 0.5), and float32 logits' up to 2.6e-4 ε (1.3e-4 at ε = 0.5).
"""
import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

data = Path(sys.argv[1])
for name in ("helpful_b0.1_e0.01", "harmless_b0.05_e0.02", "helpful_b0.1_e0.5"):
    golden = json.loads((data / "edpo-golden" / f"{name}.json").read_text())
    pairs = [json.loads(line) for line in (data / "edpo-golden" / f"{name}.tokenized.jsonl").read_text().splitlines()]
    epsilon = golden["epsilon"]
    for dtype in (torch.float64, torch.float32):
        policy, reference = (AutoModelForCausalLM.from_pretrained(data / "models" / m / "hf").to(dtype).eval() for m in ("stories260K-nudged", "stories260K"))
        errors = []
        with torch.no_grad():
            for pair, want in zip(pairs, golden["rows"]):
                sums = {}
                for side in ("chosen", "rejected"):
                    ids = torch.tensor([pair["prompt_ids"] + pair[f"{side}_ids"]])
                    first = len(pair["prompt_ids"])
                    f, r = (m(ids).logits[0, first - 1 : -1].double() for m in (policy, reference))
                    logps = lambda z: torch.log_softmax(z, -1).gather(1, ids[0, first:, None])
                    for key, s in (("delta_plus", epsilon), ("delta_minus", -epsilon)):
                        sums[side, key] = (logps(f + s * (f - r)) - logps(f)).sum().item()
                errors += [abs(sums["chosen", key] - sums["rejected", key] - want[key]) for key in ("delta_plus", "delta_minus")]
        errors.sort()
        print(f"{name} {dtype}: worst {errors[-1]:.2e} ({errors[-1] / epsilon:.1e} ε), median {errors[len(errors) // 2]:.2e}")
