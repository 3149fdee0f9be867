"""TRL's DPOTrainer and a plain PyTorch ε-DPO step on the pairs of a file of token ids; NDJSON to stdout.

    python bench/peers/torch_peers.py --model qwen2.5-0.5b --tokens OUT/tokens.jsonl [--systems trl_default,trl_tuned,torch_epsilon]

Weights are random, of the shape `--model` names in models.json; master weights f32, arithmetic bf16 (autocast).
  trl_default    DPOConfig as it comes: gradient checkpointing, the reference live, 8 pairs a forward pass
  trl_tuned      no checkpointing, SDPA, the reference's log-probs made beforehand, the fastest of --batches that fits
  torch_epsilon  the step of arXiv 2502.13177 with the reference live, no checkpointing, SDPA, the fastest of --batches that fits; both models' logits and the
                 two whole-vocabulary mixtures at scored positions only (the paper's own code makes them at every position)
An optimiser step has --pairs pairs in every system, and the pairs of step k are rows k·pairs, k·pairs + 1, … of the file, round and round. A line says how long --steps steps
after --warm took, or as many of them as --seconds let. Without CUDA it runs only with --rehearsal, and every line says so.
"""
import argparse
import copy
import gc
import hashlib
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TQDM_DISABLE", "1")
STARTED = time.perf_counter()
import torch
import transformers
import trl
from datasets import Dataset
from tokenizers import Tokenizer, models as tokenizer_models
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast, TrainerCallback
from trl import DPOConfig, DPOTrainer

IMPORT_S = time.perf_counter() - STARTED
HERE = Path(__file__).parent
CUDA = torch.cuda.is_available()
BETA, EPSILON, LR = 0.1, 0.01, 1e-6


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--model", required=True)
    p.add_argument("--tokens", required=True)
    p.add_argument("--lengths", default="", help="what the token file’s lengths are called in the output")
    p.add_argument("--systems", default="trl_default,trl_tuned,torch_epsilon")
    p.add_argument("--pairs", type=int, default=32, help="pairs of an optimiser step")
    p.add_argument("--warm", type=int, default=2)
    p.add_argument("--steps", type=int, default=5)
    p.add_argument("--batches", default="4,8,16,32", help="pairs of a forward pass, tried in turn until one does not fit")
    p.add_argument("--seconds", type=float, default=60, help="fewer steps where these take longer")
    p.add_argument("--rehearsal", action="store_true", help="run on the processor; not a GPU’s figures")
    return p.parse_args()


def synchronise():
    if CUDA:
        torch.cuda.synchronize()


def fresh_memory():
    gc.collect()
    if CUDA:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_memory():
    """Bytes, and what they count: the allocator's on a GPU, the whole process so far elsewhere."""
    if CUDA:
        return {"peak_bytes": torch.cuda.max_memory_allocated(), "reserved_bytes": torch.cuda.max_memory_reserved(), "peak_of": "torch allocator"}
    return {"peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "peak_of": "process"}


def new_model(config, attention=None):
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, **({"attn_implementation": attention} if attention else {}))
    return model.to("cuda" if CUDA else "cpu")


class Clock:
    """Times of the first step, and of the steps after the warm-up."""

    def __init__(self, warm, steps, seconds):
        self.warm, self.last, self.seconds = warm, warm + steps, seconds
        self.begun = time.perf_counter()
        self.first = self.from_ = self.to = None

    def step(self, number):
        """After step `number`, from 1. True when it was the last to be timed."""
        if number > self.warm and time.perf_counter() - self.from_ > self.seconds:
            self.last = number
        if number not in (1, self.warm, self.last):
            return False
        synchronise()
        now = time.perf_counter()
        if number == 1:
            self.first = now
        if number == self.warm:
            self.from_ = now
        if number == self.last:
            self.to = now
        return number == self.last


class ClockCallback(TrainerCallback):
    def __init__(self, clock):
        self.clock = clock

    def on_train_begin(self, *_, **__):
        synchronise()
        self.clock.begun = time.perf_counter()

    def on_step_end(self, args, state, control, **_):
        control.should_training_stop = self.clock.step(state.global_step) or control.should_training_stop


class IdsTrainer(DPOTrainer):
    """DPOTrainer on token ids that are there already, in the order of the file."""

    def _prepare_dataset(self, dataset, *_, **__):
        return dataset

    def _get_train_sampler(self, *_, **__):
        return torch.utils.data.SequentialSampler(self.train_dataset)


def tokenizer():
    inner = Tokenizer(tokenizer_models.WordLevel({"<pad>": 0, "<eos>": 1, "<unk>": 2}, unk_token="<unk>"))
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")


def run_trl(a, config, rows, batch, tuned):
    clock = Clock(a.warm, a.steps, a.seconds)
    setup = time.perf_counter()
    model = new_model(config, "sdpa" if tuned else None)
    with tempfile.TemporaryDirectory() as folder:
        args = DPOConfig(
            output_dir=folder, per_device_train_batch_size=batch, gradient_accumulation_steps=a.pairs // batch, max_steps=a.warm + a.steps, beta=BETA, learning_rate=LR,
            report_to="none", save_strategy="no", disable_tqdm=True, bf16=True, use_cpu=not CUDA, max_length=None,
            **({"gradient_checkpointing": False, "precompute_ref_log_probs": True} if tuned else {}),
        )
        trainer = IdsTrainer(
            model=model, ref_model=None if tuned else copy.deepcopy(model), args=args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer(), callbacks=[ClockCallback(clock)],
        )
        synchronise()
        setup = time.perf_counter() - setup
        trainer.train()
    return clock, setup, {"attention": model.config._attn_implementation, "gradient_checkpointing": bool(args.gradient_checkpointing), "reference": "precomputed" if tuned else "live"}


def padded(rows):
    sides = [(r["prompt_ids"], r["chosen_ids"]) for r in rows] + [(r["prompt_ids"], r["rejected_ids"]) for r in rows]
    width = max(len(p) + len(c) for p, c in sides)
    ids, attention, scored = (torch.zeros(len(sides), width, dtype=torch.long) for _ in range(3))
    for i, (p, c) in enumerate(sides):
        ids[i, : len(p) + len(c)] = torch.tensor(p + c)
        attention[i, : len(p) + len(c)] = 1
        scored[i, len(p) : len(p) + len(c)] = 1
    device = "cuda" if CUDA else "cpu"
    return ids.to(device), attention.to(device), scored.to(device).bool()


def scored_logits(model, config, ids, attention, scored):
    """[S, V] in f32: logits of the rows that predict a scored token."""
    hidden = model.model(input_ids=ids, attention_mask=attention, use_cache=False).last_hidden_state
    logits = model.lm_head(hidden[:, :-1][scored[:, 1:]]).float()
    cap = getattr(config, "final_logit_softcapping", None)
    return logits if cap is None else cap * torch.tanh(logits / cap)


def epsilon_loss(policy, reference, config, rows, beta):
    """Sum of the pairs' losses, and of their ε-steps."""
    ids, attention, scored = padded(rows)
    labels = ids[:, 1:][scored[:, 1:]]
    sequence = torch.arange(ids.shape[0], device=ids.device)[:, None].expand(-1, ids.shape[1] - 1)[scored[:, 1:]]

    def ratio(logits):
        at = logits.gather(1, labels[:, None])[:, 0] - logits.logsumexp(1)
        sums = torch.zeros(ids.shape[0], device=ids.device).index_add(0, sequence, at)
        chosen, rejected = sums.chunk(2)
        return chosen - rejected

    with torch.autocast(ids.device.type, torch.bfloat16):
        with torch.no_grad():
            r = scored_logits(reference, config, ids, attention, scored)
        f = scored_logits(policy, config, ids, attention, scored)
    now = ratio(f)
    with torch.no_grad():
        of_reference = ratio(r)
        up = ratio((1 + EPSILON) * f - EPSILON * r)
        down = ratio((1 - EPSILON) * f + EPSILON * r)
        steps = ((up > now) & (now > down)).float() - ((down > now) & (now > up)).float()
        own_beta = beta / (1 + EPSILON * steps)
    return -F.logsigmoid(own_beta * (now - of_reference)).sum(), steps.sum()


def run_epsilon(a, config, rows, batch):
    clock = Clock(a.warm, a.steps, a.seconds)
    setup = time.perf_counter()
    policy = new_model(config, "sdpa").train()
    reference = copy.deepcopy(policy).eval().requires_grad_(False)
    optimiser = torch.optim.AdamW(policy.parameters(), lr=LR, weight_decay=0.0, fused=CUDA)
    synchronise()
    setup = time.perf_counter() - setup
    clock.begun = time.perf_counter()
    beta = torch.tensor(BETA, device=policy.device)
    for step in range(a.warm + a.steps):
        own = rows[step * a.pairs : (step + 1) * a.pairs]
        total = torch.zeros((), device=policy.device)
        for at in range(0, a.pairs, batch):
            loss, steps = epsilon_loss(policy, reference, config, own[at : at + batch], beta)
            (loss / a.pairs).backward()
            total += steps
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        beta = beta / (1 + EPSILON * total / a.pairs)
        if clock.step(step + 1):
            break
    return clock, setup, {"attention": policy.config._attn_implementation, "gradient_checkpointing": False, "reference": "live"}


def measure(a, config, rows, system, batch):
    fresh_memory()
    clock, setup, facts = run_epsilon(a, config, rows, batch) if system == "torch_epsilon" else run_trl(a, config, rows, batch, system == "trl_tuned")
    seconds = clock.to - clock.from_
    timed = rows[a.warm * a.pairs : clock.last * a.pairs]
    tokens = sum(len(r["prompt_ids"]) + len(r["chosen_ids"]) + len(r["rejected_ids"]) for r in timed)
    return {
        "batch": batch, "steps": clock.last - a.warm, "seconds": seconds, "pairs_per_second": len(timed) / seconds, "useful_tokens_per_second": tokens / seconds,
        "setup_s": setup, "first_step_s": clock.first - clock.begun, "time_to_first_step_s": setup + clock.first - clock.begun, **peak_memory(), **facts,
    }


def main():
    a = arguments()
    # Trainer prints its logs.
    out, sys.stdout = sys.stdout, sys.stderr
    configs = json.loads((HERE / "models.json").read_text())
    if a.model not in configs:
        sys.exit(f"error: no model \"{a.model}\"; expected one of {', '.join(configs)}")
    if not CUDA and not a.rehearsal:
        sys.exit("error: PyTorch sees no GPU here, and the processor’s figures are not a GPU’s\nhint: --rehearsal runs it all the same and says so in every line")
    text = Path(a.tokens).read_bytes()
    lines = [json.loads(line) for line in text.decode().splitlines()]
    rows = [lines[i % len(lines)] for i in range((a.warm + a.steps) * a.pairs)]
    config = AutoConfig.for_model(**configs[a.model])
    common = {
        "bench": "peers", "model": a.model, "lengths": a.lengths, "pairs": a.pairs, "tokens_sha256": hashlib.sha256(text).hexdigest(), "rehearsal": a.rehearsal or not CUDA,
        "device": torch.cuda.get_device_name() if CUDA else "processor", "torch": torch.__version__, "transformers": transformers.__version__, "trl": trl.__version__, "import_s": IMPORT_S,
    }
    batches = sorted({int(b) for b in a.batches.split(",")})
    failed = False
    for system in a.systems.split(","):
        if system not in ("trl_default", "trl_tuned", "torch_epsilon"):
            sys.exit(f"error: no system \"{system}\"; expected trl_default, trl_tuned, torch_epsilon")
        found = []
        for batch in [min(8, a.pairs)] if system == "trl_default" else [b for b in batches if b <= a.pairs]:
            line = {**common, "system": system, "method": "epsilon_dpo" if system == "torch_epsilon" else "sigmoid"}
            if a.pairs % batch:
                continue
            try:
                found.append({**line, **measure(a, config, rows, system, batch)})
            except torch.OutOfMemoryError as error:
                print(f"{system}, batch {batch}: does not fit ({str(error).splitlines()[0]})", file=sys.stderr)
                if not found:
                    failed = True
                break
            print(f"{a.model} {a.lengths} {system} batch {batch}: {found[-1]['pairs_per_second']:.3g} pairs/s", file=sys.stderr)
        best = max(found, key=lambda f: f["pairs_per_second"], default=None)
        for line in found:
            print(json.dumps({**line, "best": line is best}), file=out, flush=True)
    sys.exit(1 if failed else 0)


main()
