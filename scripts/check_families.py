"""Every family round trip: a tiny model saved by transformers, trained by edpo for two steps, read back by transformers with equal logits and log-probs.

    python scripts/check_families.py [--peft] [FAMILY ...]

Runs `node bin/edpo.js` on the configurations of test/goldens/families.json and then check_transformers.py on what it wrote; exits 1 where one differs.
With --peft edpo trains adapters on every matrix (and where the head is apart, that in full), and PEFT reads them.
Needs torch, transformers, tokenizers, peft (checked with 2.15, 5.24, 0.23, 0.21); edpo and its tests need none of them.
"""
import json
import os
import random
import subprocess
import sys
import tempfile

import torch
from safetensors import safe_open
from tokenizers import Tokenizer, models
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

logging.set_verbosity_error()
logging.disable_progress_bar()
here = os.path.dirname(os.path.abspath(__file__))
families = json.load(open(os.path.join(here, "../test/goldens/families.json")))["families"]
edpo = ["node", os.path.join(here, "../bin/edpo.js")]


def tensors(folder, file="model.safetensors"):
    with safe_open(os.path.join(folder, file), "pt") as f:
        return {k: (tuple(f.get_slice(k).get_shape()), f.get_tensor(k)) for k in f.keys()}


failed = []
asked = sys.argv[1:]
adapters = "--peft" in asked
for name in [a for a in asked if a != "--peft"] or families:
    with tempfile.TemporaryDirectory() as folder:
        path = lambda *parts: os.path.join(folder, *parts)
        # JSON writes 6.0 as 6, and transformers insists on a float.
        config = {k: float(v) if k.endswith("softcapping") and v is not None else v for k, v in families[name]["config"].items()}
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(config.pop("model_type"), **config))
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn_like(p) * 0.2)
        model.float().save_pretrained(path("model"))
        vocabulary = Tokenizer(models.WordLevel({f"w{i}": i for i in range(41)}, unk_token="w2"))
        PreTrainedTokenizerFast(tokenizer_object=vocabulary, bos_token="w0", eos_token="w1").save_pretrained(path("model"))
        r = random.Random(7)
        ids = lambda low, high: [r.randrange(3, 41) for _ in range(r.randrange(low, high))]
        rows = [dict(prompt_ids=ids(1, 9), chosen_ids=ids(1, 12), rejected_ids=ids(1, 12)) for _ in range(12)]
        with open(path("rows.jsonl"), "w") as f:
            f.writelines(json.dumps(row) + "\n" for row in rows)
        common = ["--dataset_name", path("rows.jsonl"), "--token_budget", "256"]
        run = lambda *args: subprocess.run(args, check=True, capture_output=True, text=True)
        apart = "lm_head.weight" in tensors(path("model"))
        lora = ["--use_peft", "true", "--lora_r", "4", "--lora_target_modules", "all-linear", *(["--lora_modules_to_save", "lm_head"] if apart else [])] if adapters else []
        try:
            run(*edpo, "train", "--model_name_or_path", path("model"), *common, "--output_dir", path("out"), "--loss_type", "sigmoid", "--beta", "0.1", "--learning_rate", "1e-2" if adapters else "1e-3",
                "--lr_scheduler_type", "constant", "--total_batch_size", "6", "--num_train_epochs", "1", *lora)
            if adapters:
                made = tensors(path("out"), "adapter_model.safetensors")
                shown = f"{len(made)} adapter tensors, {sum(bool(v[1].any()) for k, v in made.items() if 'lora_B' in k)} of B moved"
            else:
                before, after = tensors(path("model")), tensors(path("out"))
                assert {k: v[0] for k, v in before.items()} == {k: v[0] for k, v in after.items()}, "names and shapes"
                shown = f"{len(before)} tensors under their names, {sum(not torch.equal(before[k][1], after[k][1]) for k in before)} moved"
            run(*edpo, "precompute-ref", "--model_name_or_path", path("out"), *common, "--loss_type", "epsilon_dpo", "--ref_cache", path("cache"))
            said = run(sys.executable, os.path.join(here, "check_transformers.py"), path("out"), path("rows.jsonl"), path("cache")).stdout.strip()
            print(f"{name}: {shown}; {said}", flush=True)
        except (AssertionError, subprocess.CalledProcessError) as error:
            failed.append(name)
            print(f"{name}: FAILED {error} {getattr(error, 'stderr', '')} {getattr(error, 'stdout', '')}", flush=True)
sys.exit(len(failed) > 0)
