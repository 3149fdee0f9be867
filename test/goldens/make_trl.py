"""One optimiser step of TRL's own trainers on a tiny Llama, for test/goldens/trl.test.ts: test/goldens/trl.json.

    python test/goldens/make_trl.py > test/goldens/trl.json

TRL 1.16.0, transformers 5.24.0, torch 2.15.0, CPU, f64 where the trainer keeps it (its kernels for log-probs may go through f32). Per case: the
trainer, its arguments, the token ids it trained on, loss and metrics as TRL logged them, and the gradient as its norm and its product with a fixed
vector, tensor by tensor. Every loss_type that these trainers name is here, or the script ends in an error: a new one must not be left out silently.
Weights are a formula that the test repeats: element i of the n-th tensor (by name) is wave(0) = sin(0.7 + 12.9898 (i+1) + 78.233 n), for the
reference wave(0) + 0.8 wave(3.9), where wave(p) adds p to the angle; times 0.4 for matrices and 0.1 for norm gains, which are around 1.
"""
import importlib.metadata as md
import inspect
import json
import math
import re
import sys
import tempfile
import warnings

import torch
import transformers
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast, TrainerCallback

warnings.filterwarnings("ignore")
# The trainers print their logs; stdout is for the goldens.
result, sys.stdout = sys.stdout, sys.stderr
transformers.logging.set_verbosity_error()

SIZES = dict(hidden_size=24, intermediate_size=30, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2, head_dim=4, vocab_size=41, max_position_embeddings=64,
             bos_token_id=0, eos_token_id=1, pad_token_id=2, rms_norm_eps=1e-5, tie_word_embeddings=False, attn_implementation="eager")
# As words; TRL appends the end token to every response itself.
PAIRS = [
    dict(prompt=[5, 9, 30, 12, 7, 22], chosen=[4, 8, 15, 16, 23], rejected=[10, 3]),
    dict(prompt=[33, 6], chosen=[6, 14], rejected=[20, 21, 22, 23, 24, 25, 26]),
    dict(prompt=[40, 39, 3], chosen=[17, 18, 19], rejected=[9, 9, 8]),
    dict(prompt=[11, 27, 5, 13], chosen=[31, 4, 12, 35, 36, 7], rejected=[28, 37, 5, 6]),
]


def short(x):
    return float(f"{float(x):.9g}")


def wave(size, n, phase):
    return [math.sin(0.7 + phase + 12.9898 * (i + 1) + 78.233 * n) for i in range(size)]


# Chosen so that KTO's mean over mismatched pairs is above 0, where it would be cut.
PHASE, SHARE = 3.9, 0.8


def build(reference):
    model = AutoModelForCausalLM.from_config(LlamaConfig(**SIZES)).double()
    tensors = dict(model.named_parameters())
    with torch.no_grad():
        for n, key in enumerate(sorted(tensors)):
            p = tensors[key]
            values = torch.tensor(wave(p.numel(), n, 0.0), dtype=torch.float64)
            if reference:
                values = values + SHARE * torch.tensor(wave(p.numel(), n, PHASE), dtype=torch.float64)
            values = values * (0.4 if p.dim() == 2 else 0.1)
            if re.search(r"norm\.weight$", key):
                values = values + 1
            p.copy_(values.float().double().reshape(p.shape))
    return model


def tokenizer():
    vocab = {"<s>": 0, "</s>": 1, "<pad>": 2, **{f"w{i}": i for i in range(3, 41)}}
    t = Tokenizer(models.WordLevel(vocab, unk_token="<pad>"))
    t.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=t, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def words(ids, response=False):
    # A leading space keeps the parts apart when a trainer joins them.
    return (" " if response else "") + " ".join(f"w{i}" for i in ids)


PAIRED = Dataset.from_list([dict(prompt=words(p["prompt"]), chosen=words(p["chosen"], True), rejected=words(p["rejected"], True)) for p in PAIRS])
UNPAIRED = Dataset.from_list([row for p in PAIRS for row in (
    dict(prompt=words(p["prompt"]), completion=words(p["chosen"], True), label=True), dict(prompt=words(p["prompt"]), completion=words(p["rejected"], True), label=False))])


# Every prompt once: the batch's rotation by one (TRL) and the nearest earlier row of another prompt, round the end (edpo), are then the same mismatched pairs.
SINGLE = Dataset.from_list([dict(prompt=words(p), completion=words(c, True), label=y) for p, c, y in (
    ([5, 9, 30, 12, 7, 22], [20, 21, 22, 23, 24, 25, 26], True), ([33, 6], [31, 4, 12, 35, 36, 7], False), ([40, 39, 3], [4, 8, 15, 16, 23], True), ([11, 27, 5, 13], [9, 9, 8], True),
    ([14, 8], [17, 18, 19], False), ([21, 34, 10, 6, 19], [28, 37], True))])


class Gradients(TrainerCallback):
    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.found = {k: p.grad.detach().double().clone() for k, p in model.named_parameters()}


def one_step(trainer_class, config_class, arguments, dataset, batch, ref):
    with tempfile.TemporaryDirectory() as out:
        config = config_class(output_dir=out, per_device_train_batch_size=batch, max_steps=1, learning_rate=1e-9, max_grad_norm=0.0, logging_steps=1, report_to=[], save_strategy="no", use_cpu=True, bf16=False, fp16=False,
                              gradient_checkpointing=False, dataloader_pin_memory=False, disable_tqdm=True, seed=0, lr_scheduler_type="constant", **arguments)
        grads = Gradients()
        extra = dict(ref_model=build(True)) if ref else {}
        trainer = trainer_class(model=build(False), args=config, train_dataset=dataset, processing_class=tokenizer(), callbacks=[grads], **extra)
        seen = []
        original = trainer.compute_loss

        def compute_loss(model, inputs, *a, **k):
            # What a trainer adds to its batch later (the rotated completions of KTO) is not of interest.
            seen.append({key: v.tolist() if torch.is_tensor(v) else v for key, v in inputs.items() if "input_ids" in key or "mask" in key or "labels" in key or key == "label"})
            return original(model, inputs, *a, **k)

        trainer.compute_loss = compute_loss
        trainer.train()
        logs = [line for line in trainer.state.log_history if "loss" in line][0]
    metrics = {k: short(v) for k, v in logs.items() if isinstance(v, (int, float)) and k not in ("epoch", "step", "learning_rate", "num_tokens", "step_time") and "time" not in k}
    names = sorted(grads.found)
    gradients = [[short(grads.found[k].norm()), short((grads.found[k].flatten() * torch.tensor(wave(grads.found[k].numel(), n, 1.0), dtype=torch.float64)).sum())] for n, k in enumerate(names)]
    return dict(metrics=metrics, gradients=gradients), seen[0], names


def documents(batch):
    """What a trainer's batch holds, in its order, without padding: pairs, or single answers with their label."""
    if "label" in batch:
        split = [([t for t, m, a in zip(*row) if a and not m], [t for t, m, a in zip(*row) if m]) for row in zip(batch["input_ids"], batch["completion_mask"], batch["attention_mask"])]
        return [dict(prompt=p, completion=c, label=bool(y)) for (p, c), y in zip(split, batch["label"])]
    if "completion_mask" in batch:
        split = [([t for t, m, a in zip(*row) if a and not m], [t for t, m, a in zip(*row) if m]) for row in zip(batch["input_ids"], batch["completion_mask"], batch["attention_mask"])]
        half = len(split) // 2
        return [dict(prompt=w[0], chosen=w[1], rejected=l[1]) for w, l in zip(split[:half], split[half:])]
    side = lambda name: [([t for t, y, a in zip(*row) if a and y == -100], [y for y in row[1] if y != -100]) for row in zip(batch[f"{name}_input_ids"], batch[f"{name}_labels"], batch[f"{name}_attention_mask"])]
    return [dict(prompt=w[0], chosen=w[1], rejected=l[1]) for w, l in zip(side("chosen"), side("rejected"))]


def dpo_cases():
    from trl.trainer.dpo_trainer import DPOTrainer
    smooth = {"robust", "exo_pair", "aot", "aot_unpaired"}
    listed = set(re.findall(r'loss_type == "(\w+)"', inspect.getsource(DPOTrainer)))
    betas = dict(ipo=0.5, sppo_hard=0.5, sigmoid_norm=4.0)
    for name in sorted(listed):
        yield name, dict(loss_type=[name], beta=betas.get(name, 1.0), **(dict(label_smoothing=0.1) if name in smooth else {}))
    yield "mixture", dict(loss_type=["sigmoid", "bco_pair", "sft"], loss_weights=[0.8, 0.2, 1.0], beta=1.0)
    for divergence in ("forward_kl", "js_divergence", "alpha_divergence"):
        yield f"sigmoid {divergence}", dict(loss_type=["sigmoid"], beta=1.0, f_divergence_type=divergence)
    yield "ipo js_divergence", dict(loss_type=["ipo"], beta=0.5, f_divergence_type="js_divergence")
    yield "wpo", dict(loss_type=["sigmoid"], beta=1.0, use_weighting=True)
    yield "ld_dpo", dict(loss_type=["sigmoid"], beta=1.0, ld_alpha=0.4)
    yield "sigmoid label_smoothing", dict(loss_type=["sigmoid"], beta=1.0, label_smoothing=0.1)


def main():
    from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer
    from trl.experimental.cpo import CPOConfig, CPOTrainer
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    cases, batches, names = [], {}, None

    def add(name, trainer, arguments, result, data=None):
        outcome, batch, tensors = result
        nonlocal names
        assert names in (None, tensors)
        names = tensors
        batches.setdefault(data or trainer, batch)
        cases.append(dict(name=name, trainer=trainer, documents=data or trainer, arguments=arguments, **outcome))
        print(f"{trainer} {name}: loss {outcome['metrics']['loss']}", file=sys.stderr, flush=True)

    for name, arguments in dpo_cases():
        # max_length None: nothing is cut.
        add(name, "DPOTrainer", arguments, one_step(DPOTrainer, DPOConfig, dict(arguments, max_length=None), PAIRED, len(PAIRS), True))
    for name in sorted(set(re.findall(r'loss_type == "(\w+)"', inspect.getsource(KTOTrainer)))):
        # With edpo the weights are KTO's alone.
        arguments = dict(loss_type=name, beta=1.0, **(dict(desirable_weight=1.2, undesirable_weight=0.9) if name == "kto" else {}))
        add(name, "KTOTrainer", arguments, one_step(KTOTrainer, KTOConfig, dict(arguments, max_length=None), UNPAIRED, 2 * len(PAIRS), True))
    arguments = dict(loss_type="kto", beta=1.0, desirable_weight=1.2, undesirable_weight=0.9)
    add("kto every prompt once", "KTOTrainer", arguments, one_step(KTOTrainer, KTOConfig, dict(arguments, max_length=None), SINGLE, len(SINGLE), True), "single")
    assert cases[-1]["metrics"]["kl"] > 0.1, "z is cut to 0: another PHASE"
    listed = set(re.findall(r'loss_type == "(\w+)"', inspect.getsource(CPOTrainer))) - {"kto_pair"}
    for name in sorted(listed):
        arguments = dict(loss_type=name, beta=dict(simpo=2.0, ipo=0.5).get(name, 1.0), cpo_alpha=1.0, **(dict(simpo_gamma=0.5) if name == "simpo" else {}))
        add(f"cpo {name}", "CPOTrainer", arguments, one_step(CPOTrainer, CPOConfig, dict(arguments, max_length=None), PAIRED, len(PAIRS), False))
    for name, arguments in (("simpo", dict(loss_type="simpo", beta=2.0, cpo_alpha=0.0, simpo_gamma=0.5)), ("simpo label_smoothing", dict(loss_type="simpo", beta=2.0, cpo_alpha=0.0, simpo_gamma=0.5, label_smoothing=0.1)),
                            ("alphapo", dict(loss_type="simpo", beta=2.0, cpo_alpha=0.0, simpo_gamma=0.2, alpha=0.25))):
        add(name, "CPOTrainer", arguments, one_step(CPOTrainer, CPOConfig, dict(arguments, max_length=None), PAIRED, len(PAIRS), False))
    add("orpo", "ORPOTrainer", dict(beta=1.0), one_step(ORPOTrainer, ORPOConfig, dict(beta=1.0, max_length=None), PAIRED, len(PAIRS), False))

    print(json.dumps(dict(versions={k: md.version(k) for k in ("trl", "transformers", "torch")}, config={k: v for k, v in SIZES.items() if k != "attn_implementation"} | dict(model_type="llama", rope_theta=10000.0),
                          names=names, shapes=[list(dict(build(False).named_parameters())[n].shape) for n in names], documents={k: documents(b) for k, b in batches.items()}, cases=cases)), file=result)


if __name__ == "__main__":
    main()
