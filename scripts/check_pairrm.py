"""Compares PairRM's scores by edpo with those by transformers, on a folder as edpo takes it.

    edpo eval-winrate --outputs A.json --baseline B.json --judge pairrm:FOLDER --output_dir OUT
    python scripts/check_pairrm.py FOLDER A.json B.json OUT

A.json and B.json are answers in AlpacaEval's form (instruction, output), in the same order; OUT holds edpo's annotations.ndjson. The encoder is
transformers' DebertaV2Model, the inputs are made and the head is applied as PairRM-hf's model card does. Prints the largest difference of a
logit; exits 1 above 1e-3. Needs torch, transformers and safetensors (checked with 2.15 and 5.23); edpo and its tests need none of them.

    python scripts/check_pairrm.py --random FOLDER TOKENIZER

makes a folder of PairRM's full size in the original layout, random weights in f16, with the tokenizer files of another folder.
"""
import json
import os
import shutil
import sys

import torch
from safetensors.torch import load_file, save_file
from transformers import DebertaV2Config, DebertaV2Model, PreTrainedTokenizerFast

LARGE = dict(vocab_size=128005, hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096, hidden_act="gelu", layer_norm_eps=1e-7,
             max_position_embeddings=512, relative_attention=True, max_relative_positions=-1, position_buckets=256, norm_rel_ebd="layer_norm", share_att_key=True,
             pos_att_type="p2c|c2p", position_biased_input=False, type_vocab_size=0)


def head(d):
    return torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Linear(2 * d, d), torch.nn.Tanh(), torch.nn.Dropout(), torch.nn.Linear(d, 1)).eval()


def random_folder(folder, tokenizer):
    torch.manual_seed(0)
    os.makedirs(folder, exist_ok=True)
    tensors = {f"pretrained_model.{n}": p for n, p in DebertaV2Model(DebertaV2Config(**LARGE)).named_parameters()}
    tensors.update({f"head_layer.{n}": p for n, p in head(1024).named_parameters()})
    with torch.no_grad():
        for name, p in tensors.items():
            # Attention sharp enough that states stay apart through 24 layers.
            if p.dim() == 2 and name.startswith("pretrained"):
                p.normal_(0, 0.06 if "query" in name or "key" in name else 1.0 if "embeddings" in name else 0.02)
            elif name.endswith("bias"):
                p.normal_(0, 0.02)
    save_file({name: p.detach().half().contiguous() for name, p in tensors.items()}, f"{folder}/model.safetensors")
    with open(f"{folder}/config.json", "w") as f:
        json.dump(dict(ranker_type="pairranker", model_type="deberta", model_name="microsoft/deberta-v3-large", source_maxlength=1224, candidate_maxlength=412, n_tasks=1), f)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(f"{tokenizer}/{name}", f"{folder}/{name}")


def check(folder, mine, theirs, out):
    config = json.load(open(f"{folder}/config.json"))
    tensors = {k: v.float() for k, v in load_file(f"{folder}/model.safetensors").items()}
    numbers = {k: v for k, v in config.items() if k in LARGE} if "hidden_size" in config else LARGE
    encoder = DebertaV2Model(DebertaV2Config(**{**numbers, "vocab_size": tensors["pretrained_model.embeddings.word_embeddings.weight"].shape[0]})).eval()
    encoder.load_state_dict({k.removeprefix("pretrained_model."): v for k, v in tensors.items() if k.startswith("pretrained_model.")}, strict=False)
    score = head(encoder.config.hidden_size)
    score.load_state_dict({k.removeprefix("head_layer."): v for k, v in tensors.items() if k.startswith("head_layer.")})
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=f"{folder}/tokenizer.json")
    longest, candidate = config.get("source_maxlength", 1224), config.get("candidate_maxlength", 412)

    def piece(prefix, text, length):
        return tokenizer.encode(prefix + text.replace("[SEP]", " "), max_length=length, truncation=True)

    def logit(source, first, second):
        ids = piece("<|source|>", source, longest)
        room = (longest + 2 * candidate - len(ids)) // 2
        places = [1]
        for prefix, text in (("<|candidate1|>", first), ("<|candidate2|>", second)):
            places.append(len(ids) + 1)
            ids = ids + piece(prefix, text, room)
        with torch.no_grad():
            h = encoder(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids))).last_hidden_state[0]
            left, right = (score(torch.cat([h[places[0]], h[c]])).item() for c in places[1:])
        return left - right, len(ids)

    said = {}
    for line in open(f"{out}/annotations.ndjson"):
        row = json.loads(line)
        if str(row.get("id", "")).endswith(":ab"):
            said[row["output"], row["baseline"]] = row
    worst = tokens = 0
    pairs = [(a["instruction"], a["output"], b["output"]) for a, b in zip(json.load(open(mine)), json.load(open(theirs)))]
    for prompt, a, b in pairs:
        (ab, n), (ba, m) = logit(prompt, a, b), logit(prompt, b, a)
        row = said[a, b]
        worst, tokens = max(worst, abs(ab - row["d_ab"]), abs(ba - row["d_ba"])), tokens + n + m
        print(f"{n} tokens: transformers {ab:.6f}, {ba:.6f}; edpo {row['d_ab']:.6f}, {row['d_ba']:.6f}")
    print(f"{len(pairs)} comparisons in both orders, {tokens} tokens: logits differ by at most {worst:.2g}")
    return int(worst > 1e-3)


if sys.argv[1] == "--random":
    random_folder(*sys.argv[2:4])
else:
    sys.exit(check(*sys.argv[1:5]))
