"""One optimiser step of TRL's BCO trainer, with and without its density ratio, for test/losses/trl.test.ts: test/goldens/bco.json.

    python test/goldens/make_bco.py > test/goldens/bco.json

TRL 1.9.0 (1.16, whose goldens are make_trl.py's, has no BCO trainer any more), scikit-learn 1.9.1, transformers 5.24.0, torch 2.15.0; models, data and
what is kept of a step are make_trl.py's. TRL's classifier computes in f32, stops at its solver's tolerance and learns from rows drawn with
replacement, which no other program can repeat: here it goes on to its minimum in f64 and takes every row once. Embeddings of prompts are `embed`, which the test repeats.
"""
import functools
import importlib.metadata as md
import json
import sys
import unittest.mock

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from make_trl import PAIRS, SINGLE, UNPAIRED, one_step, result, tokenizer


def embed(input_ids, attention_mask):
    """Exact in f32: the sum of a prompt's ids, its length, its first id."""
    ids = input_ids * attention_mask
    return torch.stack([ids.sum(1) / 64, attention_mask.sum(1) / 4, ids[:, 0] / 16], 1).double()


class Exact(LogisticRegression):
    def __init__(self, class_weight=None):
        super().__init__(class_weight=class_weight, tol=1e-12, max_iter=10000)

    def fit(self, x, y):
        return super().fit(x.astype(np.float64), y)


def documents(batch):
    split = [([t for t, y, a in zip(*row) if a and y == -100], [y for y in row[1] if y != -100]) for row in zip(batch["completion_input_ids"], batch["completion_labels"], batch["completion_attention_mask"])]
    return [dict(prompt=p, completion=c, label=bool(y)) for (p, c), y in zip(split, batch["label"])]


def main():
    from trl.experimental.bco import BCOConfig, bco_trainer

    bco_trainer.LogisticRegression = Exact
    cases, batches = [], {}

    def add(name, data, arguments, dataset, **extra):
        trainer = functools.partial(bco_trainer.BCOTrainer, **extra)
        outcome, batch, _ = one_step(trainer, BCOConfig, arguments, dataset, len(dataset), True)
        batches[data] = documents(batch)
        cases.append(dict(name=name, trainer="BCOTrainer", documents=data, arguments=arguments, **outcome))
        print(f"{name}: loss {outcome['metrics']['loss']}", file=sys.stderr, flush=True)

    assert len(UNPAIRED) == 2 * len(PAIRS)
    add("bco", "BCOTrainer", dict(beta=1.0, max_length=64), UNPAIRED)
    with unittest.mock.patch("numpy.random.choice", lambda n, size: np.arange(n)):
        add("bco density ratio", "bco single", dict(beta=1.0, max_length=64, min_density_ratio=0.25, max_density_ratio=5.0), SINGLE, embedding_func=embed, embedding_tokenizer=tokenizer())
    print(json.dumps(dict(versions={k: md.version(k) for k in ("trl", "scikit-learn", "transformers", "torch")}, documents=batches, cases=cases)), file=result)


if __name__ == "__main__":
    main()
