"""Loads checkpoints with `transformers` and compares its logits with edpo's log-probs.

    python scripts/check_transformers.py MODEL_FOLDER LEDGER TOKENIZED_JSONL

LEDGER is pairs.ndjson of `edpo eval --model_name_or_path MODEL_FOLDER --dataset_name TOKENIZED_JSONL` (rows of ids). Prints the largest
difference of a response's summed log-prob, per token; exits 1 above 1e-4. Needs torch and transformers; neither edpo nor its tests do.
"""
import json
import sys

import torch
from transformers import AutoModelForCausalLM

folder, ledger, data = sys.argv[1:4]
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
rows = [json.loads(line) for line in open(data)]
worst = 0.0
for record in map(json.loads, open(ledger)):
    row = rows[record["id"]]
    for side in ("chosen", "rejected"):
        ids = row["prompt_ids"] + row[f"{side}_ids"]
        with torch.no_grad():
            logp = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        n = len(row["prompt_ids"])
        total = sum(logp[n - 1 + i, t].item() for i, t in enumerate(row[f"{side}_ids"]))
        worst = max(worst, abs(total - record[f"policy_logps_{side}"]) / len(row[f"{side}_ids"]))
print(f"largest difference per token: {worst:.2e} over {len(rows)} pairs")
sys.exit(worst > 1e-4)
