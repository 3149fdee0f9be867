"""A tiny BERT reward model as ONNX with its scores by transformers: test/goldens/reward_onnx/.

    python test/goldens/make_reward_onnx.py test/goldens/reward_onnx

torch 2.15, transformers 5.23, onnx 1.23. Written in the layout that transformers.js reads (onnx/model.onnx beside config.json and the
tokenizer); opset 14 and IR 8, which its ONNX Runtime 1.14 knows. Scores are of (question, answer) pairs, one label.
"""
import json
import sys
from pathlib import Path

import onnx
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

out = Path(sys.argv[1])
(out / "onnx").mkdir(parents=True, exist_ok=True)
torch.manual_seed(7)
vocab = {w: i for i, w in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz")])}
tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", model_max_length=48, model_input_names=["input_ids", "token_type_ids", "attention_mask"])
config = BertConfig(vocab_size=len(vocab), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, max_position_embeddings=48, num_labels=1, attn_implementation="eager")
model = BertForSequenceClassification(config).eval()
with torch.no_grad():
    for p in model.parameters():
        p.mul_(8)  # far enough from zero that scores differ
pairs = [["how are you", "fine"], ["how are you", "a bad day it was"], ["a", ""], ["tell me a tale", "once there was a cat and it sat on a mat all day long"]]
with torch.no_grad():
    scores = [model(**{k: v for k, v in fast(q, a, return_tensors="pt", truncation=True).items()}).logits[0, 0].item() for q, a in pairs]


class Scores(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, token_type_ids):
        return self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids).logits


names = ["input_ids", "attention_mask", "token_type_ids"]
example = tuple(fast("how are you", "fine", return_tensors="pt")[n] for n in names)
path = out / "onnx" / "model.onnx"
torch.onnx.export(Scores(), example, str(path), input_names=names, output_names=["logits"], dynamic_axes={n: {0: "batch", 1: "length"} for n in names}, opset_version=14, dynamo=False)
proto = onnx.load(str(path))
proto.ir_version = 8
onnx.save(proto, str(path))
fast.save_pretrained(out)
config.architectures = ["BertForSequenceClassification"]
(out / "config.json").write_text(json.dumps(config.to_dict(), indent=1, default=str))
(out / "golden.json").write_text(json.dumps({"pairs": pairs, "scores": scores}))
