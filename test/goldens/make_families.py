"""Tiny models of each family by transformers, for test/model/families.test.ts: test/goldens/families.json.

    python test/goldens/make_families.py > test/goldens/families.json

torch 2.15, transformers 5.24, all in f64. Per family: config.json as transformers saves it, tensor names and shapes, logits of the last positions,
greedy continuations, and the gradient of a DPO loss on two pairs with respect to every tensor, as its norm and its product with a fixed vector.
Weights are a formula that the test repeats: element i of the n-th tensor (by name) is a sine of 0.7 + 12.9898 (i+1) + 78.233 n, scaled. Sizes are chosen so that transformers in f32
agrees with itself in f64 to 1e-5: a state that nearly cancels would test nothing but rounding.
"""
import json
import math
import re
import sys

import torch
from transformers import (AutoModelForCausalLM, Gemma2Config, Gemma3TextConfig, GemmaConfig, GPT2Config, GPTNeoXConfig, LlamaConfig, MistralConfig, Phi3Config, Qwen2Config, Qwen3Config, StableLmConfig)

SIZES = dict(hidden_size=24, intermediate_size=30, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2, vocab_size=41, max_position_embeddings=64,
             bos_token_id=0, eos_token_id=1, pad_token_id=2, attn_implementation="eager")
FAMILIES = {
    "llama": LlamaConfig(**SIZES, rms_norm_eps=1e-5, tie_word_embeddings=False),
    "llama-3.1": LlamaConfig(**SIZES, head_dim=12, rms_norm_eps=1e-5, tie_word_embeddings=True, rope_parameters=dict(rope_type="llama3", rope_theta=500.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)),
    "llama-linear": LlamaConfig(**SIZES, tie_word_embeddings=False, rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=4.0)),
    "mistral-0.1": MistralConfig(**SIZES, sliding_window=5, head_dim=4),
    "mistral-0.2": MistralConfig(**SIZES, sliding_window=None, rope_parameters=dict(rope_type="default", rope_theta=1e6)),
    "qwen2": Qwen2Config(**SIZES, tie_word_embeddings=True),
    "qwen2-sliding": Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=4, max_window_layers=2),
    "qwen3": Qwen3Config(**SIZES, head_dim=8),
    "gemma": GemmaConfig(**SIZES, head_dim=10),
    "gemma2": Gemma2Config(**SIZES, head_dim=10, query_pre_attn_scalar=7, sliding_window=5, attn_logit_softcapping=5.0, final_logit_softcapping=6.0),
    "gpt-neox": GPTNeoXConfig(**{**SIZES, "num_attention_heads": 3}, rotary_pct=0.5, use_parallel_residual=True),
    "pythia-sequential": GPTNeoXConfig(**{**SIZES, "num_attention_heads": 4}, rotary_pct=0.34, rotary_emb_base=500, use_parallel_residual=False, hidden_act="gelu_new"),
    "gpt2": GPT2Config(**{k: v for k, v in SIZES.items() if k in ("vocab_size", "bos_token_id", "eos_token_id", "attn_implementation")}, n_embd=24, n_inner=30, n_layer=3, n_head=4, n_positions=40),
    # Greedy texts grow over the original length; of the pairs the first is longer than it, by its chosen side alone.
    "phi3": Phi3Config(**SIZES, original_max_position_embeddings=11, rope_parameters=dict(rope_type="longrope", rope_theta=1000.0, short_factor=[1.1, 1.7], long_factor=[2.0, 4.5])),
    "phi3-sliding": Phi3Config(**{**SIZES, "num_attention_heads": 3, "num_key_value_heads": 1}, sliding_window=5, partial_rotary_factor=0.75),
    "gemma3": Gemma3TextConfig(**SIZES, head_dim=10, query_pre_attn_scalar=7, sliding_window=5, sliding_window_pattern=3,
                               rope_parameters=dict(full_attention=dict(rope_type="linear", factor=8.0, rope_theta=2000.0), sliding_attention=dict(rope_type="default", rope_theta=100.0))),
    "llama-dynamic": LlamaConfig(**SIZES, tie_word_embeddings=True, rope_parameters=dict(rope_type="dynamic", rope_theta=10000.0, factor=2.0)),
    "stablelm": StableLmConfig(**{**SIZES, "num_attention_heads": 3, "num_key_value_heads": 1}, tie_word_embeddings=False, use_qkv_bias=True, partial_rotary_factor=0.25),
    "stablelm-tied": StableLmConfig(**SIZES, head_dim=4, layer_norm_eps=1e-3, tie_word_embeddings=True, rope_parameters=dict(rope_type="default", rope_theta=300.0, partial_rotary_factor=0.5)),
}
SEQUENCES = [[(7 * i * i + 3 * i + 5 * n) % 41 for i in range(n)] for n in (1, 6, 19)]
PAIRS = [
    dict(prompt=[0, 5, 9, 30, 12, 7, 22], chosen=[4, 8, 15, 16, 23], rejected=[10, 3, 1], ref=[-17.0, -9.5]),
    dict(prompt=[0, 33], chosen=[6, 1], rejected=[20, 21, 22, 23, 24, 25, 26, 27, 28], ref=[-8.0, -31.0]),
]
BETA = 0.3


def short(x):
    return float(f"{x:.10g}")


def wave(size, n):
    return [math.sin(0.7 + 12.9898 * (i + 1) + 78.233 * n) for i in range(size)]


def build(name, config):
    model = AutoModelForCausalLM.from_config(config).double().eval()
    model.tie_weights()
    # As save_pretrained writes them: GPT-NeoX's head has another name in files than in the module.
    tensors = {re.sub(r"^lm_head", "embed_out", k) if config.model_type == "gpt_neox" else k: p for k, p in model.named_parameters()}
    names = sorted(tensors)
    with torch.no_grad():
        for n, key in enumerate(names):
            p = tensors[key]
            scale = 0.4 if p.dim() == 2 else 0.1
            values = torch.tensor(wave(p.numel(), n), dtype=torch.float64) * scale
            if re.search(r"(norm|ln_\w)\.weight$", key) and not name.startswith("gemma"):
                values = values + 1
            p.copy_(values.float().double().reshape(p.shape))
    return model, names, tensors


def logps(model, prompt, response, tokens):
    """`tokens`: of the pair's longer side, to which the row is filled up; only LongRoPE sees a difference, and looks at the whole batch."""
    row = prompt + response
    if model.config.model_type == "phi3":
        row = row + [0] * (tokens - len(row))
    logits = model(torch.tensor([row])).logits[0].log_softmax(-1)
    return sum(logits[len(prompt) - 1 + i, t] for i, t in enumerate(response))


result = {"beta": BETA, "sequences": SEQUENCES, "pairs": PAIRS, "families": {}}
for name, config in FAMILIES.items():
    model, names, tensors = build(name, config)
    with torch.no_grad():
        logits = [[short(v) for v in row] for s in SEQUENCES for row in model(torch.tensor([s])).logits[0, -2:].tolist()]
        greedy = []
        for s in SEQUENCES:
            ids = list(s)
            for _ in range(14):
                ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
            greedy.append(ids[len(s):])
    loss = 0.0
    for p in PAIRS:
        tokens = len(p["prompt"]) + max(len(p["chosen"]), len(p["rejected"]))
        h = logps(model, p["prompt"], p["chosen"], tokens) - p["ref"][0] - (logps(model, p["prompt"], p["rejected"], tokens) - p["ref"][1])
        loss = loss - torch.nn.functional.logsigmoid(BETA * h) / len(PAIRS)
    loss.backward()
    gradients = []
    for n, key in enumerate(names):
        g = tensors[key].grad.reshape(-1)
        gradients.append([short(g.norm().item()), short((g @ torch.tensor(wave(g.numel(), n + 100), dtype=torch.float64)).item())])
    result["families"][name] = {
        "config": json.loads(config.to_json_string(use_diff=False)), "names": names, "shapes": [list(tensors[k].shape) for k in names], "logits": logits, "greedy": greedy,
        "loss": short(loss.item()), "gradients": gradients,
    }
    keep = result["families"][name]["config"]
    for key in list(keep):
        if keep[key] is None and key not in ("sliding_window", "head_dim", "rope_scaling", "layer_types"):
            del keep[key]
json.dump(result, sys.stdout, separators=(",", ":"))
