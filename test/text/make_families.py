"""Tokenizer files of the families edpo meets, small, and what Hugging Face's tokenizers make of some texts.

    pip install tokenizers==0.23.3 && python test/text/make_families.py > test/text/families.json

Each entry: the tokenizer.json, the tokenizer_config.json, and cases [text, ids without special tokens added, ids decoded again].
"""
import json
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = [
    "The quick brown fox jumps over the lazy dog, and the dog does not mind at all.",
    "A preference pair holds a prompt, a chosen answer and a rejected answer.",
    "What is 12 plus 345? It is 357, of course; I'll say it's easy.",
    "Human: hi there\n\nAssistant: hello, how are you?\n\nHuman: fine, thank you\n\nAssistant: good to hear.",
    "for i in range(10):\n    if i > 3:\n        print(i)\n",
    "the the the there then these those other another answer answers answering",
] * 4
TEXTS = [
    "a", " ", "  x", " leading and trailing ", "The dog does not mind.", "I'LL we'Ve it's 12345 67", "a\n\n\nb\n\n\n\n\nc \t\r\n end",
    "\n\nHuman: hi\n\nAssistant: yes</s>", "<s> hello</s> world", "<s>hello", "x<s>y</s>z", "<s><s>", "mark ▁▁ literal ▁",
    "<|im_start|>user\nhi there<|im_end|>\n<|im_start|>assistant\n", "<start_of_turn>user\nhi<end_of_turn>\n", " <|x|> a <|x|>b", "    four  two   three", "<tool> use <tool> and<tool>, <toolbox>.<tool>x <s> <tool><tool> <tool>",
    "naïve café e\u0301 \u212b ﬁ İ ß", "😀👩‍👩‍👧 🏳️‍🌈", "中文，日本語", "مرحبا", "nb\u00a0sp\u2003em\u200bzw\u2028ls\x85nel", "null\x00byte\x7f",
]
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
BYTES = [f"<0x{i:02X}>" for i in range(256)]


def sentencepiece(normalizer=None, pre_tokenizer=None, special=("<unk>", "<s>", "</s>"), strip=True):
    """BPE with byte fallback over texts whose spaces are marks, as converted SentencePiece models are."""
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    trained.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=420, special_tokens=[*special, *BYTES], show_progress=False))
    state = json.loads(trained.to_str())
    state["model"].update(fuse_unk=True, byte_fallback=True)
    state["added_tokens"] = [t for t in state["added_tokens"] if t["content"] in special]
    state["pre_tokenizer"] = None
    t = Tokenizer.from_str(json.dumps(state))
    if normalizer:
        t.normalizer = normalizer
    if pre_tokenizer:
        t.pre_tokenizer = pre_tokenizer
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *([decoders.Strip(content=" ", left=1)] if strip else [])])
    return t


def byte_level(regex=None, normalizer=None, ignore_merges=False):
    t = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer:
        t.normalizer = normalizer
    split = [pre_tokenizers.Split(Regex(regex), behavior="isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)] if regex else []
    t.pre_tokenizer = pre_tokenizers.Sequence(split) if regex else pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|im_start|>", "<|im_end|>"]
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=420, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return t


def prepend():
    return normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])


def metaspace(scheme, split):
    return pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme, split=split)


gemma = sentencepiece(normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", behavior="merged_with_previous"), ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"), strip=False)
gemma.add_tokens([AddedToken(c * n, normalized=False) for c in "\n▁" for n in range(2, 6)])
phi = byte_level(QWEN2)
phi.add_tokens([AddedToken(" " * 2), AddedToken(" " * 4), AddedToken("<|x|>", lstrip=True, rstrip=True, normalized=False)])
chatml = sentencepiece(prepend())
chatml.add_special_tokens(["<|im_start|>", "<|im_end|>"])
tools = sentencepiece(prepend())
tools.add_tokens(['<tool>', '<toolbox>', AddedToken('<|x|>', normalized=False)])
llama3 = byte_level(LLAMA3, ignore_merges=True)
llama3.post_processor = processors.TemplateProcessing(single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)])

families = {
    "llama-2": (sentencepiece(prepend()), {"tokenizer_class": "LlamaTokenizer", "legacy": True}),
    "tinyllama (legacy false beside a Prepend normalizer)": (sentencepiece(prepend()), {"tokenizer_class": "LlamaTokenizer", "legacy": False}),
    "llama-2 with ChatML marks": (chatml, {"tokenizer_class": "LlamaTokenizer"}),
    "llama-2 with added tokens found in the normalised text": (tools, {"tokenizer_class": "LlamaTokenizer"}),
    "mistral (Metaspace first, no add_prefix_space)": (sentencepiece(None, metaspace("first", False)), {"tokenizer_class": "LlamaTokenizer", "legacy": False}),
    "Metaspace always": (sentencepiece(None, metaspace("always", False)), {}),
    "Metaspace always, split": (sentencepiece(None, metaspace("always", True)), {}),
    "Metaspace never": (sentencepiece(None, metaspace("never", False)), {}),
    "gemma (overlapping added tokens)": (gemma, {"tokenizer_class": "GemmaTokenizer"}),
    "llama-3": (llama3, {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin_of_text|>"}),
    "qwen2 (NFC)": (byte_level(QWEN2, normalizers.NFC()), {"tokenizer_class": "Qwen2Tokenizer"}),
    "gpt-2": (byte_level(), {"tokenizer_class": "GPT2Tokenizer"}),
    "phi (spaces and stripping marks as added tokens)": (phi, {"tokenizer_class": "CodeGenTokenizer"}),
}
out = {}
for name, (t, config) in families.items():
    cases = []
    for text in TEXTS:
        ids = t.encode(text, add_special_tokens=False).ids
        cases.append([text, ids, t.decode(ids, skip_special_tokens=False)])
    out[name] = {"tokenizer": json.loads(t.to_str()), "config": config, "cases": cases}
print(json.dumps(out, ensure_ascii=False, separators=(",", ":")))
