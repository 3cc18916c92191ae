"""A Qwen2 of two layers that knows four conversations by heart, tools among them: something true for a true server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

from generation.engine.chatdemo.bpe import alphabet

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>")
# As Qwen's own: tools stand before everything, calls and their answers in tags. A tool is its name here.
TEMPLATE = """\
{%- for tool in tools or [] %}tool {{ tool.function.name }}
{% endfor %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content or '' }}
{%- for call in message.tool_calls or [] %}<tool_call>{{ call.function.name }}</tool_call>{% endfor %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

Messages = list[dict[str, Any]]
TOOLS = [{"type": "function", "function": {"name": "weather"}}]
WEATHER: dict[str, Any] = {"role": "user", "content": "weather"}
CALLED: dict[str, Any] = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"function": {"name": "weather"}}],
}
KNOWN: tuple[tuple[Messages, bool, str], ...] = (
    ([{"role": "user", "content": "hello"}], False, "Hello world"),
    ([{"role": "user", "content": "你好"}], False, "你好，世界"),
    ([WEATHER], True, '<tool_call>\n{"name": "weather", "arguments": {"in": "Bonn"}}\n</tool_call>'),
    ([WEATHER, CALLED, {"role": "tool", "content": "rain in Bonn"}], True, "It says: rain in Bonn"),
)


def learn_by_heart(folder: Path) -> None:
    """Teach it and write the checkpoint: seconds on one core. Raises AssertionError where it did not learn."""
    torch.manual_seed(0)
    tokenizer = _make_tokenizer()
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=272, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=None,
            eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"), pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip
    lessons = [_lesson(tokenizer, *known) for known in KNOWN]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    loss = torch.tensor(torch.inf)
    for _ in range(300):
        loss = torch.stack([_loss(model, *lesson) for lesson in lessons]).mean()
        if loss.item() < 0.003:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.02, f"not learnt: {loss.item():.3f}"
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=model.config.eos_token_id, pad_token_id=tokenizer.pad_token_id, max_new_tokens=128
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _make_tokenizer() -> Qwen2Tokenizer:
    """Byte by byte: no text is unknown."""
    tokenizer = Qwen2Tokenizer(
        vocab={token: number for number, token in enumerate([*alphabet(), *SPECIAL])},
        merges=[],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        model_max_length=512,
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def _lesson(tokenizer: Qwen2Tokenizer, messages: Messages, tools: bool, answer: str) -> tuple[torch.Tensor, int]:
    """Tokens of shape (1, length), and where the answer begins."""
    asked = tokenizer.apply_chat_template(
        messages, tools=TOOLS if tools else None, add_generation_prompt=True, tokenize=False
    )
    asked_ids = tokenizer(asked)["input_ids"]
    return torch.tensor([[*asked_ids, *tokenizer(answer + "<|im_end|>")["input_ids"]]]), len(asked_ids)


def _loss(model: Qwen2ForCausalLM, ids: torch.Tensor, begins: int) -> torch.Tensor:
    logits = model(input_ids=ids, use_cache=False).logits[0, begins - 1 : -1]
    return F.cross_entropy(logits, ids[0, begins:])
