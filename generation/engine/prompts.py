"""From prompt to tokens, and a bounded cache of encoded prompts. GPU worker only: torch at the top."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from typing import Any

import torch
from tokenizers import Tokenizer

from generation.engine.family import Conditioning, TokenCount

# Of QwenImagePipeline: the text around a prompt, how many of its first tokens are dropped, and the longest input.
TEMPLATE = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, spatial "
    "relationships of the objects and background:<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)
DROPPED = 34
LONGEST = 1024


class TemplateTokens:
    """Tokens of a pipeline's template with a prompt in it, where nothing a user types is a special token.

    `head`: the text before the prompt, with a special token in it; `tail` begins with one. The ids come in three
    pieces, so that each family cuts a long prompt where its pipeline does.

    The pipelines parse `<|im_end|>` or `<|image_pad|>` in a prompt as such. Switching that off by
    `split_special_tokens` sets a flag on the shared tokenizer and leaves added tokens that are not "special" alone; so
    the user's segment is read by a copy of the tokenizer that has no added tokens at all. Special tokens cut the text
    before anything is merged, so the pieces joined are exactly the pipeline's tokens for every other prompt.
    """

    def __init__(self, tokenizer: Any, *, head: str, tail: str, limit: int) -> None:
        self.limit = limit
        added: list[str] = list(tokenizer.get_added_vocab())
        cut = max((head.rfind(token) + len(token) for token in added if token in head), default=0)
        if not cut or not any(tail.startswith(token) for token in added):
            raise ValueError("the tokenizer's template does not set the prompt off by special tokens")
        self._opening = head[cut:]
        self.head: list[int] = tokenizer(head[:cut], add_special_tokens=False)["input_ids"]
        self.tail: list[int] = tokenizer(tail, add_special_tokens=False)["input_ids"]
        self._plain = _without_added_tokens(tokenizer)
        self._before = len(self._ids(""))

    def _ids(self, prompt: str) -> list[int]:
        ids: list[int] = self._plain.encode(self._opening + prompt, add_special_tokens=False).ids
        return ids

    @property
    def before(self) -> int:
        """Tokens in front of the prompt's own."""
        return len(self.head) + self._before

    def read(self, prompt: str) -> tuple[list[int], TokenCount]:
        """The tokens between head and tail, uncut, and how many of the prompt's are within `limit`."""
        middle = self._ids(prompt)
        total = max(len(middle) - self._before, 0)
        return middle, TokenCount(used=min(total, self.limit), total=total)


class PromptTokens(TemplateTokens):
    """Those of `QwenImagePipeline`."""

    def __init__(self, tokenizer: Any, *, limit: int) -> None:
        head, _, tail = TEMPLATE.partition("{}")
        super().__init__(tokenizer, head=head, tail=tail, limit=limit)
        if self.before != DROPPED:
            raise ValueError(
                f"the tokenizer makes {self.before} tokens of the template where the pipeline drops {DROPPED}"
            )


def _without_added_tokens(tokenizer: Any) -> Tokenizer:
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["added_tokens"] = []
    state["truncation"] = state["padding"] = None
    return Tokenizer.from_str(json.dumps(state))


class PromptCache:
    """Encoded prompts by hash, least recently used out first, bounded in bytes. For one thread."""

    def __init__(self, *, max_bytes: int = 64 * 2**20) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[bytes, Conditioning] = OrderedDict()

    @staticmethod
    def key(prompt: str) -> bytes:
        return hashlib.sha256(prompt.encode()).digest()

    def get(self, prompt: str) -> Conditioning | None:
        found = self._entries.get(self.key(prompt))
        if found is not None:
            self._entries.move_to_end(self.key(prompt))
        return found

    def put(self, prompt: str, cond: Conditioning) -> None:
        size = _size(cond)
        key = self.key(prompt)
        if size > self._max_bytes or key in self._entries:
            return
        self._entries[key] = cond
        self._bytes += size
        while self._bytes > self._max_bytes:
            _, oldest = self._entries.popitem(last=False)
            self._bytes -= _size(oldest)

    def __len__(self) -> int:
        return len(self._entries)


def _size(cond: Conditioning) -> int:
    return cond.embeds.numel() * cond.embeds.element_size()


def pad_embeds(conds: list[Conditioning], *, bucket: int, exact: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Stack encoded prompts: ((B, bucket, dim), (B, bucket) bool mask), zeros behind each prompt.

    With exact lengths there is no padding and no mask (a mask rules out flash attention). On a ladder there is always
    one, even where every row fills its bucket: else a full row would be drawn by other kernels alone than in company.
    """
    first = conds[0].embeds
    if exact:
        return torch.stack([cond.embeds for cond in conds]), None
    embeds = first.new_zeros(len(conds), bucket, first.shape[1])
    for index, cond in enumerate(conds):
        embeds[index, : cond.length] = cond.embeds
    lengths = torch.tensor([cond.length for cond in conds], device=first.device)
    return embeds, torch.arange(bucket, device=first.device)[None, :] < lengths[:, None]
