"""Tiny PairRMs by transformers' DeBERTa-v2, for test/judge/pairrm.test.ts: test/goldens/pairrm.json.

    python test/goldens/make_pairrm.py > test/goldens/pairrm.json

torch 2.15, transformers 5.23, tokenizers 0.23, models in f64. The class of PairRM is not in transformers; its head is written out here as its model card has it:
the states at the three prefixes, and Linear, tanh, Linear over [source; candidate], the same for both candidates.
Weights are a formula that the test repeats: element i of the n-th tensor (by name) is sin(0.7 + 12.9898 (i+1) + 78.233 n), times 0.4 in matrices, times 0.1 in
vectors, and 1 more in the gains of norms. Hidden states are given at some rows of each sequence, log buckets as runs of [bucket, count].
"""
import json
import math
import sys
import tempfile

import torch
from transformers import DebertaV2Config, DebertaV2Model, DebertaV2Tokenizer
from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

V3 = dict(relative_attention=True, norm_rel_ebd="layer_norm", share_att_key=True, pos_att_type="p2c|c2p", position_biased_input=False, type_vocab_size=0,
          max_relative_positions=-1, layer_norm_eps=1e-7, n_tasks=1, architectures=["DebertaV2PairRM"])
CONFIGS = {
    "3 heads of 8, 8 buckets": dict(vocab_size=45, hidden_size=24, num_hidden_layers=3, num_attention_heads=3, intermediate_size=30, position_buckets=8, max_position_embeddings=32),
    "4 heads of 5, 16 buckets": dict(vocab_size=45, hidden_size=20, num_hidden_layers=2, num_attention_heads=4, intermediate_size=28, position_buckets=16, max_position_embeddings=64),
    "2 heads of 4, 256 buckets": dict(vocab_size=45, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12, position_buckets=256, max_position_embeddings=512),
}
LENGTHS = {"2 heads of 4, 256 buckets": (1, 40, 600)}
SEQUENCES = (1, 2, 7, 40, 90)
BUCKETS = [(8, 32), (16, 64), (32, 512), (256, 512), (320, 1024), (9, 30)]
FAR = 2100


def short(x):
    return float(f"{x:.9g}")


def weights(module):
    state = module.state_dict()
    for n, name in enumerate(sorted(state)):
        values = torch.tensor([math.sin(0.7 + 12.9898 * (i + 1) + 78.233 * n) for i in range(state[name].numel())], dtype=torch.float64)
        values = values * (0.4 if state[name].dim() == 2 else 0.1)
        if name.endswith("LayerNorm.weight"):
            values = values + 1
        state[name] = values.float().double().reshape(state[name].shape)
    module.load_state_dict(state)
    return state


class PairRM(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        d = config.hidden_size
        self.pretrained_model = DebertaV2Model(config)
        self.head_layer = torch.nn.Sequential(torch.nn.Dropout(0.05), torch.nn.Linear(2 * d, d), torch.nn.Tanh(), torch.nn.Dropout(0.05), torch.nn.Linear(d, 1))

    def scores(self, ids, source, first, second):
        h = self.pretrained_model(torch.tensor([ids])).last_hidden_state[0]
        return [self.head_layer(torch.cat([h[source], h[c]])).item() for c in (first, second)]


def tokens(n, seed):
    return [(7 * i * i + 3 * i + 5 * n + seed) % 45 for i in range(n)]


def runs(values):
    out = []
    for v in values:
        if out and out[-1][0] == v:
            out[-1][1] += 1
        else:
            out.append([v, 1])
    return out


result = {"models": {}, "buckets": [], "far": FAR}
for name, sizes in CONFIGS.items():
    config = DebertaV2Config(**V3, **sizes)
    model = PairRM(config).double().eval()
    state = weights(model)
    hidden = []
    with torch.no_grad():
        for n in LENGTHS.get(name, SEQUENCES):
            states = model.pretrained_model(torch.tensor([tokens(n, 0)])).last_hidden_state[0]
            rows = list(range(n)) if n <= 7 else [0, 1, 2, n // 3, n // 2, n - 2, n - 1]
            hidden.append({"ids": tokens(n, 0), "rows": rows, "states": [[short(x) for x in states[r].tolist()] for r in rows]})
        pairs = []
        for a, b, c in ((3, 3, 3), (5, 9, 4), (31, 3, 24), (12, 60, 17)):
            ids = tokens(a + b + c, a)
            left, right = model.scores(ids, 1, a + 1, a + b + 1)
            swapped = ids[:a] + ids[a + b:] + ids[a:a + b]
            pairs.append({"ids": ids, "source": 1, "first": a + 1, "second": a + b + 1, "left": short(left), "right": short(right)})
            left, right = model.scores(swapped, 1, a + 1, a + c + 1)
            pairs.append({"ids": swapped, "source": 1, "first": a + 1, "second": a + c + 1, "left": short(left), "right": short(right)})
    result["models"][name] = {
        "config": json.loads(config.to_json_string(use_diff=False)), "names": sorted(state), "shapes": [list(state[k].shape) for k in sorted(state)], "hidden": hidden, "pairs": pairs,
    }
for buckets, longest in BUCKETS:
    table = make_log_bucket_position(torch.arange(-FAR, FAR + 1), buckets, longest).to(torch.long).tolist()
    result["buckets"].append({"buckets": buckets, "max": longest, "runs": runs(table)})

# The tokenizer: single letters and a few pieces by descending score, the prefixes added as llm-blender adds them (not special, so looked for in the normalised text).
special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
pieces = ["▁", *"abcdefghijklmnopqrstuvwxyz!.:?", "▁the", "he", "ll", "o"]
vocab = [(t, 0.0) for t in special] + [(p, -2.0 - 0.1 * i) for i, p in enumerate(dict.fromkeys(pieces))]
tokenizer = DebertaV2Tokenizer(vocab=vocab, unk_id=3)
tokenizer.add_tokens(["<|source|>", "<|candidate1|>", "<|candidate2|>", "<|candidate|>"])
with tempfile.TemporaryDirectory() as folder:
    tokenizer.save_pretrained(folder)
    result["tokenizer"] = {f: json.load(open(f"{folder}/{f}.json")) for f in ("tokenizer", "tokenizer_config")}
SOURCE, CANDIDATE = 20, 8
result["limits"] = {"source": SOURCE, "candidate": CANDIDATE}
texts = [("hello!", "hi!", "well, hell"), ("the end: a longer question than there is room for?", "no", "yes"), ("a?", "the answer goes on and on and on", "the answer goes on"),
         ("", "", "o"), ("  two  spaces\n\nand lines ", "é", " a "), ("the end", "this one and the other are both too long to keep whole", "the other and this one are too long as well")]
result["texts"] = []
for source, a, b in texts:
    head = tokenizer.encode("<|source|>" + source, max_length=SOURCE, truncation=True)
    room = (SOURCE + 2 * CANDIDATE - len(head)) // 2
    one, two = (tokenizer.encode(p + t, max_length=room, truncation=True) for p, t in (("<|candidate1|>", a), ("<|candidate2|>", b)))
    whole = [len(tokenizer.encode(p + t)) for p, t in (("<|source|>", source), ("<|candidate1|>", a), ("<|candidate2|>", b))]
    lengths = [len(head), len(one), len(two)]
    result["texts"].append({"source": source, "a": a, "b": b, "ids": head + one + two, "lengths": lengths, "truncated": whole != lengths})
json.dump(result, sys.stdout, ensure_ascii=False)
sys.stdout.write("\n")
