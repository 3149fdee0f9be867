"""Adapters by PEFT on tiny models, for test/model/lora_peft.test.ts: test/goldens/lora.json.

    python test/goldens/make_lora.py > test/goldens/lora.json

peft 0.21.2, torch 2.15, transformers 5.24, all in f64. Per case: config.json of the base, adapter_config.json and the tensors' names and shapes as save_pretrained
writes them, logits of the last positions, the log-probs of two preference pairs with and without the adapters, and the gradient of their DPO loss (the reference is the
base, adapters off) with respect to every A, B and tensor trained in full, as its norm and its product with a fixed vector. Weights of the base are those of make_families.py: element i of the n-th
tensor (by name) is a sine of 0.7 + 12.9898 (i+1) + 78.233 n, scaled; element i of the n-th adapter tensor the same with n + 200, times 0.3 (gains of norms trained in full: 1 more).
"""
import json
import math
import re
import sys
import tempfile
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors import safe_open
from transformers import AutoModelForCausalLM, Gemma2Config, GPT2Config, GPTNeoXConfig, LlamaConfig, Phi3Config, Qwen2Config

SIZES = dict(hidden_size=24, intermediate_size=30, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2, vocab_size=41, max_position_embeddings=64,
             bos_token_id=0, eos_token_id=1, pad_token_id=2, attn_implementation="eager")
CASES = {
    "llama, all-linear": (LlamaConfig(**SIZES, rms_norm_eps=1e-5, tie_word_embeddings=False), dict(r=4, lora_alpha=8, target_modules="all-linear")),
    "qwen2, default targets, rslora": (Qwen2Config(**SIZES, tie_word_embeddings=True), dict(r=3, lora_alpha=5, use_rslora=True)),
    "gemma2, behind post-norms": (Gemma2Config(**SIZES, head_dim=10, query_pre_attn_scalar=7, sliding_window=5, attn_logit_softcapping=5.0, final_logit_softcapping=6.0), dict(r=5, lora_alpha=10, target_modules=["o_proj", "down_proj", "k_proj"])),
    "phi3, fused q k v and gate up": (Phi3Config(**SIZES), dict(r=4, lora_alpha=4, target_modules=["qkv_proj", "gate_up_proj"])),
    "gpt-neox, fused head by head, all-linear": (GPTNeoXConfig(**{**SIZES, "num_attention_heads": 3}, rotary_pct=0.5, use_parallel_residual=True), dict(r=4, lora_alpha=8, target_modules="all-linear")),
    "gpt2, stored [in, out], default targets": (GPT2Config(**{k: v for k, v in SIZES.items() if k in ("vocab_size", "bos_token_id", "eos_token_id", "attn_implementation")}, n_embd=24, n_inner=30, n_layer=2, n_head=4, n_positions=40), dict(r=3, lora_alpha=6)),
    "gpt2, c_proj of both kinds and c_fc": (GPT2Config(**{k: v for k, v in SIZES.items() if k in ("vocab_size", "bos_token_id", "eos_token_id", "attn_implementation")}, n_embd=24, n_inner=30, n_layer=2, n_head=4, n_positions=40), dict(r=3, lora_alpha=6, target_modules=["c_proj", "c_fc"])),
    # "norm" is every module whose path ends so: the layers' norms too.
    "llama, head, embedding and norms in full": (LlamaConfig(**SIZES, rms_norm_eps=1e-5, tie_word_embeddings=False), dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], modules_to_save=["embed_tokens", "lm_head", "norm"])),
    "gpt2, a LayerNorm and positions in full": (GPT2Config(**{k: v for k, v in SIZES.items() if k in ("vocab_size", "bos_token_id", "eos_token_id", "attn_implementation")}, n_embd=24, n_inner=30, n_layer=2, n_head=4, n_positions=40), dict(r=3, lora_alpha=6, target_modules=["c_attn"], modules_to_save=["ln_f", "wpe"])),
}
SEQUENCES = [[(7 * i * i + 3 * i + 5 * n) % 41 for i in range(n)] for n in (6, 19)]
PAIRS = [
    dict(prompt=[0, 5, 9, 30, 12, 7, 22], chosen=[4, 8, 15, 16, 23], rejected=[10, 3, 1]),
    dict(prompt=[0, 33], chosen=[6, 1], rejected=[20, 21, 22, 23, 24, 25, 26, 27, 28]),
]
BETA = 0.3


def short(x):
    return float(f"{x:.10g}")


def wave(size, n):
    return torch.tensor([math.sin(0.7 + 12.9898 * (i + 1) + 78.233 * n) for i in range(size)], dtype=torch.float64)


def fill(tensors, scale, first=0, gain=1):
    with torch.no_grad():
        for n, key in enumerate(sorted(tensors)):
            p = tensors[key]
            values = wave(p.numel(), n + first) * scale(p) + (gain if re.search(r"(norm|ln_\w)\.weight$", key) else 0)
            p.copy_(values.float().double().reshape(p.shape))


def logps(model, prompt, response):
    logits = model(torch.tensor([prompt + response])).logits[0].log_softmax(-1)
    return sum(logits[len(prompt) - 1 + i, t] for i, t in enumerate(response))


result = {"beta": BETA, "sequences": SEQUENCES, "pairs": PAIRS, "cases": {}}
for name, (config, lora) in CASES.items():
    base = AutoModelForCausalLM.from_config(config).double().eval()
    base.tie_weights()
    # As save_pretrained writes them: GPT-NeoX's head has another name in files than in the module.
    base_tensors = {re.sub(r"^lm_head", "embed_out", k) if config.model_type == "gpt_neox" else k: p for k, p in base.named_parameters()}
    names, shapes = sorted(base_tensors), [list(base_tensors[k].shape) for k in sorted(base_tensors)]
    fill(base_tensors, lambda p: 0.4 if p.dim() == 2 else 0.1, gain=0 if "gemma" in name else 1)
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, **lora), autocast_adapter_dtype=False).double().eval()
    tensors = {k.replace(".modules_to_save", "").replace(".default", ""): p for k, p in model.named_parameters() if p.requires_grad}
    fill(tensors, lambda p: 0.3, 200)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        adapter_config = json.loads((Path(folder) / "adapter_config.json").read_text())
        adapter_config["target_modules"].sort()
        with safe_open(Path(folder) / "adapter_model.safetensors", "pt") as f:
            saved = {k: list(f.get_slice(k).get_shape()) for k in sorted(f.keys())}
    assert sorted(saved) == sorted(tensors)
    with torch.no_grad():
        logits = [[short(v) for v in model(torch.tensor([s])).logits[0, -1].tolist()] for s in SEQUENCES]
        with model.disable_adapter():
            ref = [[short(logps(model, p["prompt"], p[side]).item()) for side in ("chosen", "rejected")] for p in PAIRS]
    loss, policy = 0.0, []
    for p, (c, r) in zip(PAIRS, ref):
        a, b = logps(model, p["prompt"], p["chosen"]), logps(model, p["prompt"], p["rejected"])
        policy.append([short(a.item()), short(b.item())])
        loss = loss - torch.nn.functional.logsigmoid(BETA * (a - c - (b - r))) / len(PAIRS)
    loss.backward()
    gradients = []
    for n, key in enumerate(sorted(tensors)):
        g = tensors[key].grad.reshape(-1)
        gradients.append([short(g.norm().item()), short((g @ wave(g.numel(), n + 300)).item())])
    base_config = {k: v for k, v in json.loads(config.to_json_string(use_diff=False)).items() if v is not None or k in ("sliding_window", "head_dim", "rope_scaling", "layer_types")}
    result["cases"][name] = {
        "config": base_config, "names": names, "shapes": shapes, "adapter_config": adapter_config, "tensors": saved, "logits": logits,
        "policy": policy, "reference": ref, "loss": short(loss.item()), "gradients": gradients,
    }
json.dump(result, sys.stdout, separators=(",", ":"))
