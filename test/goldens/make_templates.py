"""Chat templates of the families edpo meets as transformers renders them, for test/text/templates.test.ts: test/goldens/templates.json.

    python test/goldens/make_templates.py > test/goldens/templates.json

transformers 5.23, jinja2 3.1. The templates are written here, small, after the published formats: Llama 3 (headers and <|eot_id|>), Gemma 2 (turns, no
system role), Mistral-Instruct ([INST]), ChatML as Qwen 2 has it (a default system message) and Zephyr (line marks, EOS behind every turn).
Each case: [dialogue's number, add_generation_prompt, text], or the message of the refusal instead of the text, as {"refused": ...}.
"""
import json
import sys

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

ALTERNATE = "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
TEMPLATES = {
    "llama-3": dict(
        bos_token="<|begin_of_text|>", eos_token="<|end_of_text|>",
        template="{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
                 "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"),
    "gemma-2": dict(
        bos_token="<bos>", eos_token="<eos>",
        template="{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for m in messages %}" + ALTERNATE +
                 "{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
                 "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"),
    "mistral": dict(
        bos_token="<s>", eos_token="</s>",
        template="{{ bos_token }}{% for m in messages %}" + ALTERNATE + "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
                 "{% elif m['role'] == 'assistant' %}{{ m['content'] + eos_token }}{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"),
    "chatml": dict(
        bos_token=None, eos_token="<|im_end|>",
        template="{% for m in messages %}{% if loop.first and m['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
                 "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"),
    "zephyr": dict(
        bos_token="<s>", eos_token="</s>",
        template="{% for m in messages %}\n{% if m['role'] == 'user' %}\n{{ '<|user|>\n' + m['content'] + eos_token }}\n{% elif m['role'] == 'system' %}\n"
                 "{{ '<|system|>\n' + m['content'] + eos_token }}\n{% elif m['role'] == 'assistant' %}\n{{ '<|assistant|>\n' + m['content'] + eos_token }}\n{% endif %}\n"
                 "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"),
}


def say(role, content):
    return {"role": role, "content": content}


DIALOGUES = [
    [say("user", "What is 12 plus 345?")],
    [say("user", "  Hi there \n"), say("assistant", "Hello,\n\nhow are you? {{ bos_token }} {% if %} ")],
    [say("system", "Answer in verse."), say("user", "naïve café 😀"), say("assistant", "Roses.\n"), say("user", "More")],
    [say("user", "a"), say("assistant", ""), say("user", "b"), say("assistant", "<b>&amp;</b> \"c\" 'd'")],
    [say("assistant", "first"), say("user", "second")],
]

out = {"dialogues": DIALOGUES, "templates": {}}
for name, o in TEMPLATES.items():
    special = {k: v for k, v in o.items() if k != "template" and v is not None}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")), **special)
    tokenizer.chat_template = o["template"]
    cases = []
    for n, dialogue in enumerate(DIALOGUES):
        for add in (False, True):
            try:
                cases.append([n, add, tokenizer.apply_chat_template(dialogue, tokenize=False, add_generation_prompt=add)])
            except Exception as error:
                cases.append([n, add, {"refused": str(error)}])
    out["templates"][name] = {"template": o["template"], "special": special, "cases": cases}
json.dump(out, sys.stdout, ensure_ascii=False, separators=(",", ":"))
