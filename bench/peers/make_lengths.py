"""Token lengths of real preference pairs, for benchmarks: `python bench/peers/make_lengths.py DATA > bench/peers/lengths.json`.

DATA is a folder with hh-rlhf/helpful-base/test.jsonl.gz, ultrafeedback-sample/train.jsonl.gz and tokenizers/smollm2/tokenizer.json. A pair gives three
numbers: tokens of the prompt, of the chosen and of the rejected response, each response with one more for its end token, no chat template. HH is cut at the last
"\\n\\nAssistant:" where both sides have the same text before it. Left out: pairs whose longer side exceeds 1,024 tokens, identical or empty responses. What is
written are the first 256 pairs that stay and the counts; no text.
"""
import gzip
import json
import sys

from tokenizers import Tokenizer, __version__

MAX_LENGTH, PAIRS = 1024, 256


def lines(path):
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        yield from (json.loads(line) for line in file)


def hh(row):
    sides = [row[side].rpartition("\n\nAssistant:") for side in ("chosen", "rejected")]
    if sides[0][0] != sides[1][0]:
        return None
    return (sides[0][0] + sides[0][1], sides[0][2], sides[1][2])


def lengths(rows, tokenizer):
    found, left_out = [], 0
    for row in rows:
        if len(found) == PAIRS:
            break
        if row is None or row[1] == row[2] or not row[1].strip() or not row[2].strip():
            left_out += 1
            continue
        prompt, chosen, rejected = (len(tokenizer.encode(text, add_special_tokens=False).ids) for text in row)
        pair = [prompt, chosen + 1, rejected + 1]
        if pair[0] + max(pair[1:]) > MAX_LENGTH:
            left_out += 1
            continue
        found.append(pair)
    return {"pairs": found, "left_out": left_out}


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: python bench/peers/make_lengths.py DATA > bench/peers/lengths.json")
    data = sys.argv[1]
    tokenizer = Tokenizer.from_file(f"{data}/tokenizers/smollm2/tokenizer.json")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    sets = {
        "hh": lengths((hh(row) for row in lines(f"{data}/hh-rlhf/helpful-base/test.jsonl.gz")), tokenizer),
        "ultrafeedback": lengths(((r["prompt"], r["chosen"], r["rejected"]) for r in lines(f"{data}/ultrafeedback-sample/train.jsonl.gz")), tokenizer),
    }
    print('{\n"made_by": ' + json.dumps(f"bench/peers/make_lengths.py, tokenizers {__version__}, SmolLM2’s tokenizer, at most {MAX_LENGTH} tokens a side", ensure_ascii=False) + ",")
    print(",\n".join(f'"{name}": {json.dumps(found, separators=(",", ":"))}' for name, found in sets.items()) + "\n}")


main()
