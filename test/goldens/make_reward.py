"""Scores of a tiny LlamaForSequenceClassification by transformers: test/goldens/reward.json.

    python test/goldens/make_reward.py > test/goldens/reward.json

torch 2.15, transformers 5.23. The weights are a formula that test/judge/reward.test.ts repeats, so no weights are committed:
element i of the n-th tensor (sorted by name) is scale * sin(0.7 + 12.9898 * (i + 1) + 78.233 * n), gains 1 + 0.1 of that with scale 1.
"""
import json
import math

import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

CONFIG = dict(
    hidden_size=24, intermediate_size=27, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2, head_dim=6, vocab_size=37,
    max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=10000.0, num_labels=1, pad_token_id=36, bos_token_id=0, eos_token_id=1,
)
model = LlamaForSequenceClassification(LlamaConfig(**CONFIG)).double().eval()
state = model.state_dict()
for n, name in enumerate(sorted(state)):
    shape = state[name].shape
    values = [math.sin(0.7 + 12.9898 * (i + 1) + 78.233 * n) for i in range(state[name].numel())]
    scale = 0.4 if len(shape) == 2 else 1.0
    values = [1 + 0.1 * v if len(shape) == 1 else scale * v for v in values]
    state[name] = torch.tensor(values, dtype=torch.float32).double().reshape(shape)
model.load_state_dict(state)
sequences = [[(7 * i * i + 3 * i + 5 * length) % 36 for i in range(length)] for length in (1, 2, 5, 9, 17, 30)]
with torch.no_grad():
    scores = [model(torch.tensor([s])).logits[0, 0].item() for s in sequences]
print(json.dumps({"names": sorted(state), "shapes": [list(state[n].shape) for n in sorted(state)], "sequences": sequences, "scores": scores}))
