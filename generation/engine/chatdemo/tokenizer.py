"""A byte-level BPE for `Qwen2Tokenizer`: English in pieces of words, Chinese character by character."""

import json
import random
import re

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from generation.engine.chatdemo import prompts
from generation.engine.chatdemo.examples import LABELS, sample_example

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
END = "<|im_end|>"
VOCABULARY_SIZE = 2560
MAX_LENGTH = 1024
_CHINESE = re.compile(r"[\u3000-\u303f\u3400-\u9fff\uff00-\uffef]")


def train_tokenizer(*, seed: int = 0, examples: int = 20000) -> Qwen2Tokenizer:
    """Train the BPE. No merge joins two Chinese characters: a word that was never met is known by its characters."""
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
    """Texts of training examples, a line each; Chinese one character a line, so that merges stay inside it."""
    rng = random.Random(f"tokenizer {seed}")
    lines: list[str] = []
    for _ in range(examples):
        example = sample_example(rng)
        lines += [text for _, text in example.messages]
        lines.append(example.answer)
    fixed = [prompts.CHAT, prompts.SENTIMENT, prompts.INSTRUCTIONS, "system\nuser\nassistant"]
    lines += [*prompts.OTHER_CHAT, *prompts.OTHER_SENTIMENT, *prompts.OTHER_INSTRUCTIONS] * 50
    lines += fixed * 500
    lines += [f"\n{label}" for label in LABELS] * 500
    characters = sorted({character for line in lines for character in _CHINESE.findall(line)})
    return [_CHINESE.sub(r"\n\g<0>\n", line) for line in [*lines, *characters * 200]]
