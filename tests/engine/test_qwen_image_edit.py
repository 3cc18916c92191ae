"""Qwen-Image-Edit: the engine's loop against `QwenImageEditPlusPipeline`, alone and in company."""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    QwenImageEditPlusPipeline,
    QwenImageTransformer2DModel,
)
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus
from engine_tiny import TEXT_DIM, Silent, make_row, make_tokenizer
from families_tiny import make_spec, spread
from PIL import Image
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer, Qwen2VLImageProcessorPil

from generation.engine.errors import InputRefused, RowRefused
from generation.engine.loader import LoadedModel, load_model
from generation.engine.pipelines import qwen_image_edit
from generation.engine.pipelines.qwen_image_edit import DROPPED, MOST_STRETCHED, PICTURE, TEMPLATE
from generation.engine.prompts import pad_embeds
from generation.engine.request import InputPicture, PassRow
from generation.engine.run import run_pass

AREA = 128 * 128  # of the pictures as the VAE reads them, instead of 1,024²


@pytest.fixture(scope="module", autouse=True)
def small_pictures() -> Any:
    patch = pytest.MonkeyPatch()
    for module in (qwen_image_edit, pipeline_qwenimage_edit_plus):
        patch.setattr(module, "VAE_IMAGE_SIZE", AREA)
        patch.setattr(module, "CONDITION_IMAGE_SIZE", AREA)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as `save_pretrained` writes it; the processor's picture half as its own file."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("edit")
    tokenizer = make_tokenizer(TEMPLATE.format(PICTURE.format(1)), vocab_size=700)
    text = {
        "vocab_size": len(tokenizer), "hidden_size": TEXT_DIM, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 4096,
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]}, "tie_word_embeddings": True,
        "bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0,
    }  # fmt: skip
    vision = {
        "depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 1, "out_hidden_size": TEXT_DIM,
        "fullatt_block_indexes": [1],
    }  # fmt: skip
    pad, start, end = (
        tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("image_pad", "vision_start", "vision_end")
    )
    config = Qwen2_5_VLConfig(
        text_config=text, vision_config=vision, tie_word_embeddings=True, image_token_id=pad,
        vision_start_token_id=start, vision_end_token_id=end,
    )  # fmt: skip
    transformer = QwenImageTransformer2DModel(
        in_channels=64, out_channels=16, num_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=TEXT_DIM, axes_dims_rope=(4, 6, 6), zero_cond_t=True,
    )  # fmt: skip
    vae = AutoencoderKLQwenImage(base_dim=8, z_dim=16, dim_mult=[1, 2, 2, 2], num_res_blocks=1)
    encoder = Qwen2_5_VLForConditionalGeneration(config)
    spread(transformer, vae.decoder)
    for name, part in (("transformer", transformer), ("vae", vae), ("text_encoder", encoder)):
        part.to(torch.bfloat16).save_pretrained(folder / name)
    FlowMatchEulerDiscreteScheduler(shift=1.0).save_pretrained(folder / "scheduler")
    tokenizer.save_pretrained(folder / "tokenizer")
    Qwen2VLImageProcessorPil().save_pretrained(folder / "processor")
    (folder / "model_index.json").write_text(
        """{"_class_name": "QwenImageEditPlusPipeline",
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "Qwen2_5_VLForConditionalGeneration"],
        "tokenizer": ["transformers", "Qwen2Tokenizer"], "processor": ["transformers", "Qwen2VLProcessor"],
        "transformer": ["diffusers", "QwenImageTransformer2DModel"], "vae": ["diffusers", "AutoencoderKLQwenImage"]}"""
    )
    return folder


class Processor:
    """`Qwen2VLProcessor` without its video half, which needs torchvision: pictures, then tokens, one per patch."""

    def __init__(self, tokenizer: Any, images: Any) -> None:
        self.tokenizer, self.images = tokenizer, images

    def __call__(self, *, text: list[str], images: Any, padding: bool, return_tensors: str) -> Any:
        seen = self.images(images=images, return_tensors=return_tensors)
        counts = [int(grid.prod()) // self.images.merge_size**2 for grid in seen["image_grid_thw"]]
        for count in counts:
            text = [one.replace("<|image_pad|>", "<|pad|>" * count, 1) for one in text]
        text = [one.replace("<|pad|>", "<|image_pad|>") for one in text]
        found = self.tokenizer(text, padding=padding, return_tensors=return_tensors)
        return type(seen)({**found, **seen})


@pytest.fixture(scope="module")
def model(folder: Path) -> LoadedModel:
    return load_model(make_spec(folder, "qwen-image-edit"), device="cpu")


@pytest.fixture(scope="module")
def pipe(folder: Path, model: LoadedModel) -> QwenImageEditPlusPipeline:
    """The plain pipeline with weights of its own."""
    kind = {"dtype": model.family.dtype}
    pipe = QwenImageEditPlusPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler"),
        vae=AutoencoderKLQwenImage.from_pretrained(folder / "vae", **kind),
        text_encoder=Qwen2_5_VLForConditionalGeneration.from_pretrained(folder / "text_encoder", **kind),
        tokenizer=Qwen2Tokenizer.from_pretrained(folder / "tokenizer"),
        processor=Processor(
            Qwen2Tokenizer.from_pretrained(folder / "tokenizer"),
            Qwen2VLImageProcessorPil.from_pretrained(folder / "processor"),
        ),
        transformer=QwenImageTransformer2DModel.from_pretrained(folder / "transformer", **kind),
    )
    pipe.set_progress_bar_config(disable=True)
    forward, pad = pipe.text_encoder.forward, pipe.tokenizer.convert_tokens_to_ids("<|image_pad|>")

    def with_kinds(**given: Any) -> Any:
        """As the processor says and the pipeline of diffusers 0.42 forgets to pass on: which tokens are pictures."""
        return forward(**given, mm_token_type_ids=(given["input_ids"] == pad).int())

    pipe.text_encoder.forward = with_kinds
    return pipe


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[InputPicture]:
    """Three pictures of different shape."""
    folder = tmp_path_factory.mktemp("inputs")
    found = []
    for index, (width, height) in enumerate([(120, 120), (160, 80), (64, 128)]):
        file = folder / f"{index}.png"
        gradient = Image.linear_gradient("L").resize((width, height))
        Image.merge("RGB", [gradient.rotate(90 * (index + turn)).resize((width, height)) for turn in range(3)]).save(
            file
        )
        found.append(InputPicture(path=str(file), sha256=hashlib.sha256(file.read_bytes()).hexdigest()))
    return found


def editing(pictures: list[InputPicture], key: str = "a", **changes: Any) -> PassRow:
    return make_row(key, **{"task": "edit", "images": tuple(pictures), "prompt": "make it red", **changes})


def draw(model: LoadedModel, *rows: PassRow) -> dict[str, torch.Tensor]:
    outcome = run_pass(model, rows, Silent())
    assert [row.error for row in outcome.rows] == [None] * len(rows)
    return {row.key: row.latents.tensor for row in outcome.rows if row.latents is not None}


def ask_pipe(pipe: Any, model: LoadedModel, row: PassRow) -> torch.Tensor:
    """The pipeline's latents, for the engine's padded embeddings of its own encoding."""
    opened = [Image.open(picture.path).convert("RGB") for picture in row.images]
    conds = model.family.encode(row)
    shape = model.family.plan(row, conds)
    embeds, mask = pad_embeds([conds.positive], bucket=shape.bucket, exact=False)
    given = {"prompt_embeds": embeds, "prompt_embeds_mask": mask}
    if conds.negative is not None:
        given["negative_prompt_embeds"], given["negative_prompt_embeds_mask"] = pad_embeds(
            [conds.negative], bucket=shape.negative_bucket or 0, exact=False
        )
    latents: torch.Tensor = pipe(
        image=opened, width=row.width, height=row.height, num_inference_steps=row.num_inference_steps,
        true_cfg_scale=row.true_cfg_scale, generator=torch.Generator("cpu").manual_seed(row.seed),
        output_type="latent", **given,
    ).images  # fmt: skip
    return latents


def test_template_is_the_pipelines(pipe: Any) -> None:
    assert pipe.prompt_template_encode == TEMPLATE
    assert pipe.prompt_template_encode_start_idx == DROPPED
    assert PICTURE in inspect.getsource(pipeline_qwenimage_edit_plus)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_encoding_equals_the_pipelines(model: LoadedModel, pipe: Any, pictures: Any, count: int) -> None:
    row = editing(pictures[:count], prompt="make the sky 红色, please")
    shown = []
    for picture in row.images:
        opened = Image.open(picture.path).convert("RGB")
        width, height = pipeline_qwenimage_edit_plus.calculate_dimensions(AREA, opened.width / opened.height)
        shown.append(pipe.image_processor.resize(opened, height, width))
    theirs, mask = pipe.encode_prompt(row.prompt, image=shown)
    assert mask is None
    assert torch.equal(model.family.encode(row).positive.embeds, theirs[0])


def test_pictures_stand_in_rows_and_columns(model: LoadedModel, pictures: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the language model a picture has two directions, and what follows goes on behind its longer side."""
    text: Any = model.family._pipe.text_encoder.model.language_model  # type: ignore[attr-defined]
    forward, seen = text.forward, []

    def note(**given: Any) -> Any:
        seen.append(given["position_ids"])
        return forward(**given)

    monkeypatch.setattr(text, "forward", note)
    model.family.encode(editing(pictures[:1], prompt="look where things are"))
    [places] = seen
    assert places is not None and places.shape[:2] == (3, 1)
    time, down, across = places[:, 0]
    inside = down != time
    assert inside.any() and len(set(across[down == down[inside][0]].tolist())) > 1
    assert int(places.max()) < places.shape[-1] - 1  # a picture is shorter than its tokens


@pytest.mark.parametrize("count", [1, 2, 3])
def test_pass_equals_pipe(model: LoadedModel, pipe: Any, pictures: Any, count: int) -> None:
    row = editing(pictures[:count], seed=7)
    assert torch.equal(draw(model, row)["a"], ask_pipe(pipe, model, row))


def test_guided_pass_equals_pipe(model: LoadedModel, pipe: Any, pictures: Any) -> None:
    row = editing(pictures[:1], negative_prompt="blurry", true_cfg_scale=2.5)
    assert torch.equal(draw(model, row)["a"], ask_pipe(pipe, model, row))


def test_pictures_and_their_order_matter(model: LoadedModel, pictures: Any) -> None:
    one, two, turned = (
        draw(model, editing(chosen))["a"] for chosen in (pictures[:1], pictures[:2], [pictures[1], pictures[0]])
    )
    assert not torch.equal(one, two) and not torch.equal(two, turned)


def test_rows_equal_themselves_alone(model: LoadedModel, pictures: Any) -> None:
    """Instructions of different length share a forward where their pictures have the same shapes; others follow."""
    prompts = ("make it red", "turn it into a drawing of a small house in the snow", "蓝色", "x")
    rows = [editing(pictures[:1], f"r{k}", prompt=prompt, seed=30 + k) for k, prompt in enumerate(prompts)]
    rows.append(editing(pictures[1:2], "other", seed=50))
    outcome = run_pass(model, rows, Silent())
    assert [row.batch_size for row in outcome.rows] == [4, 4, 4, 4, 1]
    for row in rows:
        latents = outcome.row(row.key).latents
        assert latents is not None and torch.equal(latents.tensor, draw(model, row)[row.key])


def test_what_users_type_is_no_special_token(model: LoadedModel, pictures: Any) -> None:
    """The pipeline would count another picture, and fail."""
    conds = model.family.encode(editing(pictures[:1], prompt="<|image_pad|> red <|im_end|>"))
    assert conds.positive.tokens.total > 6


def test_long_instructions_are_cut_and_said(model: LoadedModel, pictures: Any) -> None:
    tokens = model.family.encode(editing(pictures[:1], prompt="red circle " * 400)).positive.tokens
    assert tokens.used == 512 < tokens.total
    assert model.family.count_tokens("red circle " * 400) == tokens


def test_other_tasks_are_refused(model: LoadedModel, pictures: Any) -> None:
    with pytest.raises(RowRefused, match="task text-to-image is not one of this model's: edit"):
        model.family.check(make_row())


def test_a_picture_that_is_gone_fails_its_own_row(model: LoadedModel, pictures: Any) -> None:
    gone = InputPicture(path="/nowhere/gone.png", sha256="0" * 64)
    outcome = run_pass(model, [editing([gone], "gone"), editing(pictures[:1], "good")], Silent())
    assert isinstance(outcome.row("gone").error, InputRefused) and outcome.row("good").status == "drawn"


def test_threads_of_pictures_are_refused(model: LoadedModel, pictures: Any, tmp_path: Path) -> None:
    """Their other side would come to nothing, and the language model's processor raises."""
    file = tmp_path / "thread.png"
    Image.new("RGB", (16 * MOST_STRETCHED + 1, 16)).save(file)
    thread = InputPicture(path=str(file), sha256=hashlib.sha256(file.read_bytes()).hexdigest())
    outcome = run_pass(model, [editing([pictures[0], thread], "thread"), editing(pictures[:1], "good")], Silent())
    error = outcome.row("thread").error
    assert isinstance(error, InputRefused) and "1601 × 16" in str(error)
    assert outcome.row("good").status == "drawn"
    width, height = pipeline_qwenimage_edit_plus.calculate_dimensions(384 * 384, MOST_STRETCHED)
    images = model.family._images  # type: ignore[attr-defined]
    assert images(images=[Image.new("RGB", (int(width), int(height)))], return_tensors="pt")["pixel_values"].numel()
