"""A byte-level BPE for `Qwen2Tokenizer`: English in pieces of words, Chinese character by character."""

import json
import random
import re
from functools import cache

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from generation.engine.chatdemo import prompts
from generation.engine.chatdemo.examples import LABELS
from generation.engine.chatdemo.moods import sample_sentence, words_of
from generation.engine.chatdemo.talk import sample_exchange
from generation.engine.chatdemo.wishes import sample_wish

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
END = "<|im_end|>"
VOCABULARY_SIZE = 3072
MAX_LENGTH = 1024
_LATIN = re.compile(r"[A-Za-z]+")
_PREFIX = re.compile(r"^(un|dis|em|in)(?=[a-z]{4})", re.IGNORECASE)
_SUFFIX = re.compile(
    "(?<=[a-z]{3})(fully|fulness|ful|lessness|less|ingly|ing|edly|ed|iest|ier|er|est|iness|ness|ously|ous|ably|able"
    "|ment|tion|ily|ly|ish|ic|ance|ence|y|e)$",
    re.IGNORECASE,
)
_CHINESE = re.compile(r"[\u3000-\u303f\u3400-\u9fff\uff00-\uffef]")


def train_tokenizer(*, seed: int = 0, examples: int = 10000) -> Qwen2Tokenizer:
    """Train the BPE. No merge joins two Chinese characters, or an English root and its ending: a word that was never
    met is known by its parts.
    """
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE - len(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
        min_frequency=4,
    )
    bpe.train_from_iterator(_corpus(seed=seed, examples=examples), trainer)
    parts = json.loads(bpe.to_str())["model"]
    vocabulary: dict[str, int] = parts["vocab"]
    merges = [tuple(pair) for pair in parts["merges"]]
    for token in SPECIAL_TOKENS:
        vocabulary[token] = len(vocabulary)
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary,
        merges=merges,
        eos_token=END,
        pad_token=SPECIAL_TOKENS[0],
        additional_special_tokens=list(SPECIAL_TOKENS[1:]),
        padding_side="right",
        model_max_length=MAX_LENGTH,
    )
    tokenizer.chat_template = prompts.CHAT_TEMPLATE
    return tokenizer


def _corpus(*, seed: int, examples: int) -> list[str]:
    """Texts of training examples, a line each; breaks stand where no merge may join what is on both sides."""
    rng = random.Random(f"tokenizer {seed}")
    lines: list[str] = []
    for _ in range(examples):
        wish, exchange = sample_wish(rng), sample_exchange(rng)
        lines += [sample_sentence(rng, noisy=False).text, wish.text, wish.prompt, exchange.answer]
        lines += [] if exchange.sentence else [exchange.text]
    lines += [*prompts.OTHER_CHAT, *prompts.OTHER_SENTIMENT, *prompts.OTHER_INSTRUCTIONS] * 50
    lines += [prompts.CHAT, prompts.SENTIMENT, prompts.INSTRUCTIONS, "system\nuser\nassistant"] * 500
    lines += [f"\n{label}" for label in LABELS] * 500
    lines += [f" {word}" for word in sorted(_moods_en())] * 50
    characters = sorted({character for line in lines for character in _CHINESE.findall(line)})
    return [_CHINESE.sub(r"\n\g<0>\n", _LATIN.sub(_parts, line)) for line in [*lines, *characters * 200]]


@cache
def _moods_en() -> frozenset[str]:
    """Every English word with a mood that training knows."""
    return frozenset(word for gaps in words_of("en", False).moods.values() for some in gaps.values() for word in some)


def _parts(word: re.Match[str]) -> str:
    """A word with a mood in its parts ("dis", "trust", "ed"): another word of its family is known by the root."""
    found = word[0]
    if found.lower() not in _moods_en():
        return found
    return _SUFFIX.sub(r"\n\1", _PREFIX.sub(r"\1\n", found))
