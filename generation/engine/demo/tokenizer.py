"""A byte-level BPE of a few hundred entries for `Qwen2Tokenizer`, trained on captions and the pipeline's template."""

import json
import random

from diffusers import QwenImagePipeline
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from generation.engine.demo import words
from generation.engine.demo.captions import Style, caption
from generation.engine.demo.specs import sample_training_spec

SPECIAL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
TEMPLATE = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, spatial"
    " relationships of the objects and background:<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)
"""`QwenImagePipeline.prompt_template_encode`; `check_template` proves that it is."""
DROPPED = 34
"""Template tokens before the prompt, which the pipeline drops (`prompt_template_encode_start_idx`)."""
VOCABULARY_SIZE = 1024


def train_tokenizer(*, seed: int = 0, captions: int = 4000) -> Qwen2Tokenizer:
    """Train the BPE. Chinese is learnt word by word, so that no merge crosses the border of two words."""
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
        min_frequency=5,
    )
    bpe.train_from_iterator(_corpus(seed=seed, captions=captions), trainer)
    parts = json.loads(bpe.to_str())["model"]
    vocabulary: dict[str, int] = parts["vocab"]
    merges = [tuple(pair) for pair in parts["merges"]]
    for token in SPECIAL_TOKENS:
        vocabulary[token] = len(vocabulary)
    return Qwen2Tokenizer(
        vocab=vocabulary,
        merges=merges,
        additional_special_tokens=list(SPECIAL_TOKENS[1:]),
        padding_side="right",
        model_max_length=2048,
    )


def _corpus(*, seed: int, captions: int) -> list[str]:
    rng = random.Random(seed)
    template = TEMPLATE
    for token in SPECIAL_TOKENS:
        template = template.replace(token, " ")
    english = [caption(sample_training_spec(rng), style=Style("en"), rng=rng) for _ in range(captions)]
    lines = [line.strip() for line in template.split("{}") for line in line.split("\n")]
    known = [word for word in sorted(words.vocabulary()) for word in (word, f" {word}", word.capitalize())]
    return [*english, *(["\n".join(lines)] * captions), *(known * 20)]


def check_template(tokenizer: Qwen2Tokenizer) -> None:
    """Raise ValueError unless the pipeline's template costs exactly the tokens that the pipeline drops."""
    declared = QwenImagePipeline.__init__.__code__.co_consts
    if TEMPLATE not in declared or DROPPED not in declared:
        raise ValueError("QwenImagePipeline's prompt template is no longer the one that the demo was trained on")
    before = len(tokenizer(TEMPLATE.split("{}")[0]).input_ids)
    if before != DROPPED:
        raise ValueError(f"the template before the prompt is {before} tokens; the pipeline drops {DROPPED}")
