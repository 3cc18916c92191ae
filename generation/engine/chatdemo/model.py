"""The demo chat model: the true Qwen2 classes, small, with everything `transformers serve` reads beside the weights."""

import json
from pathlib import Path

import torch
from transformers import AutoTokenizer, GenerationConfig, Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

from generation.engine.chatdemo import prompts
from generation.engine.chatdemo.tokenizer import END, MAX_LENGTH

CHECKPOINT = Path(__file__).parent / "checkpoint"
HEAD_DIM = 32


def build_model(tokenizer: Qwen2Tokenizer, *, width: int, layers: int, inner: int) -> Qwen2ForCausalLM:
    """Untrained weights in FP32; input and output embeddings are one."""
    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("im_end", "endoftext")}
    config = Qwen2Config(
        vocab_size=-(-len(tokenizer) // 16) * 16,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=width // HEAD_DIM,
        num_key_value_heads=width // HEAD_DIM,
        max_position_embeddings=MAX_LENGTH,
        rms_norm_eps=1e-6,
        tie_word_embeddings=True,
        eos_token_id=ids["im_end"],
        pad_token_id=ids["endoftext"],
        bos_token_id=None,
    )
    return Qwen2ForCausalLM(config)


def save_checkpoint(folder: Path, *, model: Qwen2ForCausalLM, tokenizer: Qwen2Tokenizer) -> None:
    """Write weights in BF16, tokenizer, chat template, decision files and a greedy generation config."""
    folder.mkdir(parents=True, exist_ok=True)
    small = model.to(torch.bfloat16)
    small.generation_config = GenerationConfig(
        do_sample=False,
        eos_token_id=tokenizer.convert_tokens_to_ids(END),
        pad_token_id=tokenizer.pad_token_id,
        max_new_tokens=128,
    )
    small.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "decision.json").write_text(
        json.dumps({"temperature": {"choice": 1.0}}, indent=2) + "\n", encoding="utf-8"
    )
    (folder / "decision_template.jinja").write_text(prompts.DECISION_TEMPLATE, encoding="utf-8")


def load_checkpoint(folder: Path = CHECKPOINT) -> tuple[Qwen2ForCausalLM, Qwen2Tokenizer]:
    """The trained model in BF16 and its tokenizer."""
    model = Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    return model, AutoTokenizer.from_pretrained(folder)
