"""A byte-level BPE for `Qwen2Tokenizer`: English in pieces of words, Chinese character by character."""

import random
import re
from collections import Counter
from functools import cache

from tokenizers import Regex
from tokenizers.pre_tokenizers import Split
from transformers import Qwen2Tokenizer
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from generation.engine.chatdemo import prompts
from generation.engine.chatdemo.bpe import Merges, alphabet
from generation.engine.chatdemo.examples import LABELS
from generation.engine.chatdemo.moods import sample_sentence
from generation.engine.chatdemo.stems import ENDING, ENDINGS, PREFIXES, stems_by_mood
from generation.engine.chatdemo.talk import sample_exchange
from generation.engine.chatdemo.vocabulary import NEGATIVE, POSITIVE
from generation.engine.chatdemo.wishes import sample_wish

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
END = "<|im_end|>"
VOCABULARY_SIZE = 4096
MAX_LENGTH = 1024
_LATIN = re.compile(r"[A-Za-z]+")
_PRETOKENIZER = Split(Regex(PRETOKENIZE_REGEX), behavior="isolated")
_CHINESE = re.compile(r"[\u3000-\u303f\u3400-\u9fff\uff00-\uffef]")


def train_tokenizer(*, seed: int = 0, examples: int = 10000) -> Qwen2Tokenizer:
    """Learn the BPE. No merge joins two Chinese characters, or an English root and its ending: a word that was never
    met is known by its parts.
    """
    merges = Merges()
    merges.grow(one for stem in _stem_of().values() for one in (f" {stem}", stem.capitalize()))
    merges.learn(dict.fromkeys((*PREFIXES, *ENDINGS), 1), most=1000)
    merges.learn(dict.fromkeys(_stem_of().values(), 1), most=2000)
    pieces = _pieces(_corpus(seed=seed, examples=examples))
    merges.learn(pieces, most=VOCABULARY_SIZE - len(alphabet()) - len(SPECIAL_TOKENS) - len(merges.found), least=4)
    tokens = [*alphabet(), *dict.fromkeys(left + right for left, right in merges.found), *SPECIAL_TOKENS]
    tokenizer = Qwen2Tokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        merges=merges.found,
        eos_token=END,
        pad_token=SPECIAL_TOKENS[0],
        additional_special_tokens=list(SPECIAL_TOKENS[1:]),
        padding_side="right",
        model_max_length=MAX_LENGTH,
    )
    tokenizer.chat_template = prompts.CHAT_TEMPLATE
    return tokenizer


def _corpus(*, seed: int, examples: int) -> list[str]:
    """Texts of training examples, a line each."""
    rng = random.Random(f"tokenizer {seed}")
    lines: list[str] = []
    for _ in range(examples):
        wish, exchange = sample_wish(rng), sample_exchange(rng)
        lines += [sample_sentence(rng, noisy=False).text, wish.text, wish.prompt, exchange.answer]
        lines += [] if exchange.sentence else [exchange.text]
    lines += [*prompts.OTHER_CHAT, *prompts.OTHER_SENTIMENT, *prompts.OTHER_INSTRUCTIONS] * 50
    lines += [prompts.CHAT, prompts.SENTIMENT, prompts.INSTRUCTIONS, "system\nuser\nassistant"] * 500
    lines += [f"\n{label}" for label in LABELS] * 500
    return lines


def _pieces(lines: list[str]) -> Counter[str]:
    """What merges may join, with how often it occurs: words as the pre-tokenizer finds them, cut further into roots,
    endings and Chinese characters. A character counts often enough to become a token.
    """
    words = Counter(word for line in lines for word in _words(line))
    found: Counter[str] = Counter()
    for word, count in words.items():
        for part in _CHINESE.sub(r"\n\g<0>\n", _LATIN.sub(lambda one: "\n".join(_parts(one[0])), word)).split("\n"):
            found[part] += max(count, 200) if _CHINESE.fullmatch(part) else count
    del found[""]
    return found


def _words(line: str) -> list[str]:
    return [word for word, _ in _PRETOKENIZER.pre_tokenize_str(line)]


@cache
def _stem_of() -> dict[str, str]:
    """Per English word with a mood its stem."""
    found = stems_by_mood()
    return {**found[POSITIVE], **found[NEGATIVE]}


def _parts(word: str) -> list[str]:
    """A word with a mood in its parts, "dis", "trust", "ed"; any other whole."""
    stem = _stem_of().get(word.lower())
    if stem is None:
        return [word]
    before, found, rest = re.split(f"({re.escape(stem)})", word, maxsplit=1, flags=re.IGNORECASE)
    return [part for part in (before, found, *ENDING.sub(r"\n\1", rest).split("\n")) if part]
