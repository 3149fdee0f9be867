"""Loads a checkpoint that edpo wrote with `transformers` and compares its logits and log-probs with edpo's own.

    edpo precompute-ref --model_name_or_path MODEL --dataset_name ROWS.jsonl --loss_type epsilon_dpo --ref_cache CACHE
    python scripts/check_transformers.py MODEL ROWS.jsonl CACHE

ROWS.jsonl holds prompt_ids, chosen_ids, rejected_ids; CACHE is the reference cache with hidden states in f32 (docs/cache-format.md), made with
MODEL as the reference. MODEL may be a LoRA adapter, which PEFT reads then. The logits compared are transformers' and the checkpoint's head applied to edpo's hidden states; the log-probs are the
cache's own. Prints the largest differences; exits 1 above 1e-4. Needs torch and transformers (checked with 2.15 and 5.24; peft 0.21); edpo and its tests
need neither.
"""
import json
import os
import struct
import sys

import torch
from transformers import AutoModelForCausalLM

folder, data, cache = sys.argv[1:4]
if os.path.exists(os.path.join(folder, "adapter_config.json")):
    from peft import PeftConfig, PeftModel
    base = AutoModelForCausalLM.from_pretrained(PeftConfig.from_pretrained(folder).base_model_name_or_path, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, folder).eval()
else:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
head = model.get_output_embeddings().weight.detach().double()
rows = [json.loads(line) for line in open(data)]
lines = [json.loads(line) for line in open(os.path.join(cache, "ref.train.ndjson"))]
header, pairs = lines[0], lines[1:]
assert header["hidden_dtype"] == "float32", header
width = header["width"]
cap = getattr(model.config, "final_logit_softcapping", None)
long = (getattr(model.config, "rope_parameters", None) or {}).get("rope_type") == "longrope"
worst_logit = worst_logp = 0.0
tokens = 0
for pair in pairs:
    row = rows[pair["id"]]
    place = pair["hidden"]
    with open(os.path.join(cache, f"ref.train.hidden-{place['file']:05d}.bin"), "rb") as f:
        f.seek(place["offset"])
        raw = f.read(place["rows"] * width * 4)
    states = torch.tensor(struct.unpack(f"<{place['rows'] * width}f", raw), dtype=torch.float64).reshape(-1, width)
    at = 0
    for side in ("chosen", "rejected"):
        labels, n = row[f"{side}_ids"], len(row["prompt_ids"])
        # LongRoPE takes its angles by the longest row of the batch: the pair's.
        ids = row["prompt_ids"] + labels
        if long:
            ids = ids + [0] * (max(len(row["chosen_ids"]), len(row["rejected_ids"])) - len(labels))
        with torch.no_grad():
            theirs = model(torch.tensor([ids])).logits[0].double()[n - 1 : n - 1 + len(labels)]
        ours = states[at : at + len(labels)] @ head.T
        if cap:
            ours = cap * torch.tanh(ours / cap)
        at += len(labels)
        worst_logit = max(worst_logit, (ours - theirs).abs().max().item())
        logps = theirs.log_softmax(-1).gather(1, torch.tensor(labels)[:, None])[:, 0]
        worst_logp = max(worst_logp, (torch.tensor(pair[f"{side}_logps"], dtype=torch.float64) - logps).abs().max().item())
        tokens += len(labels)
    assert at == place["rows"]
print(f"{len(pairs)} pairs, {tokens} scored tokens: logits differ by at most {worst_logit:.2e}, log-probs by {worst_logp:.2e}")
sys.exit(max(worst_logit, worst_logp) > 1e-4)
