"""The committed checkpoint: small, loadable by the plain pipeline, and it draws what is asked."""

import json

import numpy as np
import pytest
import torch
from diffusers import QwenImagePipeline

from generation.engine.demo.evaluate import evaluate, render
from generation.engine.demo.model import CHECKPOINT, load_pipeline
from generation.engine.demo.tokenizer import DROPPED, TEMPLATE, check_template, train_tokenizer
from generation.engine.demo.words import SAMPLES


@pytest.fixture(scope="module")
def pipe() -> QwenImagePipeline:
    return load_pipeline()


def test_checkpoint_is_small_and_holds_no_pickles() -> None:
    files = [path for path in CHECKPOINT.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 25_000_000
    assert {path.suffix for path in files} <= {".json", ".safetensors"}


def test_checkpoint_names_no_folder_of_its_maker() -> None:
    for path in CHECKPOINT.rglob("*.json"):
        assert "_name_or_path" not in json.loads(path.read_text()), path


def test_pipeline_drops_exactly_the_template(pipe: QwenImagePipeline) -> None:
    check_template(pipe.tokenizer)
    assert pipe.prompt_template_encode == TEMPLATE
    assert pipe.prompt_template_encode_start_idx == DROPPED == 34
    ids = pipe.tokenizer(TEMPLATE.format("a red circle")).input_ids
    assert pipe.tokenizer.decode(ids[DROPPED:]).startswith("a red circle<|im_end|>")


def test_tokenizer_is_what_the_recipe_makes(pipe: QwenImagePipeline) -> None:
    again = train_tokenizer()
    for prompt in [prompt for pair in SAMPLES for prompt in pair]:
        assert pipe.tokenizer(prompt).input_ids == again(prompt).input_ids


def test_parts_are_the_true_classes_in_bfloat16(pipe: QwenImagePipeline) -> None:
    names = {name: type(part).__name__ for name, part in pipe.components.items()}
    assert names == {
        "vae": "AutoencoderKLQwenImage",
        "text_encoder": "Qwen2_5_VLForConditionalGeneration",
        "tokenizer": "Qwen2Tokenizer",
        "transformer": "QwenImageTransformer2DModel",
        "scheduler": "FlowMatchEulerDiscreteScheduler",
    }
    assert {pipe.vae.dtype, pipe.text_encoder.dtype, pipe.transformer.dtype} == {torch.bfloat16}


@pytest.mark.parametrize(("width", "height"), [(256, 256), (384, 256), (192, 320)])
def test_other_sizes_draw(pipe: QwenImagePipeline, width: int, height: int) -> None:
    (picture,) = render(pipe, ["a red boat on the sea"], seeds=[1], width=width, height=height)
    assert picture.size == (width, height)
    assert np.asarray(picture).std() > 20


def test_held_out_combinations_are_drawn_right() -> None:
    result = evaluate(CHECKPOINT, count=24, seed=5)
    assert result["share_right"] >= 0.85, result["wrong"]


def test_control_does_not_pass_for_what_was_asked() -> None:
    result = evaluate(CHECKPOINT, count=12, seed=6)
    assert result["control_share"] <= 0.15
