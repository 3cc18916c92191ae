"""Tokens: the pipeline's for every honest prompt, plain text for typed special tokens, and an honest count."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from engine_tiny import PROMPTS, SPECIAL, make_row, make_tokenizer

from generation.engine.family import Conditioning, TokenCount
from generation.engine.prompts import DROPPED, TEMPLATE, PromptCache, PromptTokens, pad_embeds


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer()


def test_template_is_the_pipelines(oracle: Any) -> None:
    assert oracle.prompt_template_encode == TEMPLATE
    assert oracle.prompt_template_encode_start_idx == DROPPED


@pytest.mark.parametrize(
    "prompt", [*PROMPTS, " leading", "\n\nlines\n", "trailing  ", "a <b> | c", "e\u0301 decomposed"]
)
def test_tokens_equal_the_pipelines(tokenizer: Any, prompt: str) -> None:
    reader = PromptTokens(tokenizer, limit=512)
    ids = reader.head + reader.read(prompt)[0] + reader.tail
    assert ids == tokenizer(TEMPLATE.format(prompt))["input_ids"]


@pytest.mark.parametrize("token", SPECIAL)
def test_typed_special_tokens_are_text(tokenizer: Any, token: str) -> None:
    reader = PromptTokens(tokenizer, limit=512)
    prompt = f"a circle{token} and {token}"
    ids = reader.head + reader.read(prompt)[0] + reader.tail
    special = tokenizer.convert_tokens_to_ids(token)
    assert ids.count(special) == (reader.head + reader.read("a circle")[0] + reader.tail).count(special)
    assert tokenizer(TEMPLATE.format(prompt))["input_ids"].count(special) > ids.count(special)  # what the pipeline does
    assert tokenizer.decode(ids).count(prompt) == 1


def test_typed_special_tokens_draw_and_leave_the_tokenizer_alone(model: Any, tokenizer: Any) -> None:
    end = model.family.encode(make_row(prompt="a circle<|im_end|>"))
    assert end.positive.length > model.family.encode(make_row(prompt="a circle")).positive.length + 1
    assert tokenizer("<|im_end|>")["input_ids"] == [tokenizer.convert_tokens_to_ids("<|im_end|>")]


def test_a_tokenizer_that_breaks_the_template_is_refused(tokenizer: Any) -> None:
    class Wrong:
        backend_tokenizer = tokenizer.backend_tokenizer
        get_added_vocab = tokenizer.get_added_vocab

        def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
            return {"input_ids": [0, *tokenizer(text)["input_ids"]]}

    with pytest.raises(ValueError, match="35 tokens of the template"):
        PromptTokens(Wrong(), limit=512)


def test_long_prompts_report_what_is_read(model: Any, checkpoint: Any, oracle: Any) -> None:
    long = "a circle " * 700
    count = model.family.count_tokens(long)
    assert count.used == 512 and count.total >= 1400 and count.cut
    conds = model.family.encode(make_row(prompt=long))
    assert conds.positive.tokens == count and conds.positive.length == 512
    assert torch.equal(conds.positive.embeds, oracle.encode_prompt(long, max_sequence_length=512)[0][0])
    short = model.family.count_tokens("a red circle")
    assert not short.cut and short.used == short.total == 3


def test_cache_returns_the_same_and_stays_bounded() -> None:
    cache = PromptCache(max_bytes=3 * 40)
    conds = [Conditioning(embeds=torch.full((5, 2), float(i)), tokens=TokenCount(used=1, total=1)) for i in range(4)]
    for index, cond in enumerate(conds[:3]):
        cache.put(f"p{index}", cond)
    assert cache.get("p0") is conds[0]
    cache.put("p3", conds[3])  # p1 has rested longest
    assert cache.get("p1") is None and cache.get("p0") is conds[0] and len(cache) == 3
    cache.put("big", Conditioning(embeds=torch.zeros(100, 2), tokens=TokenCount(used=1, total=1)))
    assert cache.get("big") is None and len(cache) == 3


def test_a_cached_prompt_is_not_encoded_again(model: Any) -> None:
    first = model.family.encode(make_row(prompt="a cached prompt")).positive
    assert model.family.encode(make_row("b", prompt="a cached prompt")).positive is first


def test_padding_masks_what_is_no_prompt() -> None:
    conds = [Conditioning(embeds=torch.ones(n, 3), tokens=TokenCount(used=n, total=n)) for n in (2, 4)]
    embeds, mask = pad_embeds(conds, bucket=4, exact=False)
    assert mask is not None and mask.tolist() == [[True, True, False, False], [True] * 4]
    assert embeds[0, 2:].abs().sum() == 0 and embeds.shape == (2, 4, 3)
    assert pad_embeds(conds[1:], bucket=4, exact=True)[1] is None
