"""The fields of OpenAI's image requests: which are taken, which are refused by which name, which change nothing."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.errors import InvalidRequest
from generation.api.openai.fields import NO_MODEL, WORDS, AnswerForm, read_generation

BODY = {"model": "demo", "prompt": "a white house"}


def test_least_there_is() -> None:
    request, form = read_generation({"prompt": "a white house"})
    assert (request.model, request.prompt, request.n) == (NO_MODEL, "a white house", 1)
    assert (request.width, request.height, request.output_format, request.output_compression) == (
        None, None, "png", None
    )  # fmt: skip
    assert form == AnswerForm(event="image_generation")
    assert (form.response_format, form.stream, form.partial_images, form.safety_identifier) == (
        "b64_json", False, 0, None
    )  # fmt: skip


def test_all_of_openais_fields() -> None:
    request, form = read_generation(
        BODY
        | {
            "n": 3, "size": "64x128", "quality": "high", "background": "opaque", "moderation": "low", "style": "vivid",
            "complexity": "low", "output_format": "webp", "output_compression": 40, "stream": True,
            "partial_images": 2, "user": "u-1", "safety_identifier": "s-1", "response_format": "b64_json",
        }
    )  # fmt: skip
    assert (request.n, request.width, request.height) == (3, 64, 128)
    assert (request.output_format, request.output_compression) == ("webp", 40)
    assert form == AnswerForm(
        event="image_generation", stream=True, partial_images=2, safety_identifier="s-1", response_format="b64_json"
    )


def test_ours_beside_them() -> None:
    request, _ = read_generation(
        BODY
        | {
            "negative_prompt": "blur", "num_inference_steps": 6, "true_cfg_scale": 2, "seed": 41, "guidance_scale": 3.5,
            "loras": [{"name": "portrait", "scale": 0.5}],
        }
    )  # fmt: skip
    assert (request.negative_prompt, request.num_inference_steps, request.true_cfg_scale, request.seed) == (
        "blur", 6, 2.0, 41
    )  # fmt: skip
    assert [(lora.name, lora.scale) for lora in request.loras] == [("portrait", 0.5)]


def test_null_is_left_out() -> None:
    nothing = dict.fromkeys(
        [
            "model", "n", "size", "quality", "background", "moderation", "style", "complexity", "output_format",
            "output_compression", "response_format", "stream", "partial_images", "user", "safety_identifier",
            "negative_prompt", "num_inference_steps", "true_cfg_scale", "guidance_scale", "seed", "loras",
        ]
    )  # fmt: skip
    assert read_generation({"prompt": "x", **nothing}) == read_generation({"prompt": "x"})


def test_auto_size_is_the_models() -> None:
    request, _ = read_generation(BODY | {"size": "auto"})
    assert (request.width, request.height) == (None, None)


def test_what_nobody_knows_is_passed_over() -> None:
    """Also our own fields that are none of OpenAI's: nothing of a body is sent on."""
    unknown = {"api_base": "http://169.254.169.254/", "webhook": "x", "width": 63, "metadata": {"a": 1}, "svg": {}}
    assert read_generation(BODY | unknown) == read_generation(BODY)


@pytest.mark.parametrize("name", WORDS)
def test_every_word_is_taken(name: str) -> None:
    for word in WORDS[name]:
        _, form = read_generation(BODY | {name: word})
        assert form.response_format == (word if name == "response_format" else "b64_json")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", None), ("prompt", ""), ("prompt", 7), ("prompt", "x" * 32_769), ("model", 5), ("n", 0), ("n", 11),
        ("n", "2"), ("n", True), ("size", "big"), ("size", "0x64"), ("size", "100x100"), ("size", "64X64"),
        ("size", 64), ("size", "64x64 "), ("size", "99999x16"), ("size", ""), ("quality", "best"), ("quality", 1),
        ("background", "transparent"), ("moderation", "off"), ("style", "loud"), ("complexity", "x"),
        ("output_format", "gif"), ("output_format", "svg"), ("output_compression", -1), ("output_compression", 101),
        ("output_compression", 1.5), ("output_compression", 50), ("response_format", "path"), ("stream", 1),
        ("stream", "true"), ("partial_images", 4), ("partial_images", -1), ("partial_images", True), ("user", 5),
        ("user", "x" * 513), ("safety_identifier", {}), ("seed", -1), ("num_inference_steps", 0),
        ("true_cfg_scale", -1), ("guidance_scale", "x"), ("guidance_scale", -1), ("loras", "x"),
    ],
)  # fmt: skip
def test_wrong_field_is_named(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_generation(BODY | {field: value})
    assert list(refused.value.fields) == [field]
    assert refused.value.message.startswith(field)


def test_missing_prompt_is_named() -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_generation({"model": "demo"})
    assert list(refused.value.fields) == ["prompt"]


def test_every_wrong_field_is_named_at_once() -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_generation({"size": "x", "n": 0, "quality": "x"})
    assert set(refused.value.fields) == {"prompt", "size", "n", "quality"}


def test_a_stream_has_no_links() -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_generation(BODY | {"stream": True, "response_format": "url"})
    assert list(refused.value.fields) == ["response_format"]


@pytest.mark.parametrize(("fmt", "taken"), [("jpeg", True), ("webp", True), ("png", False), (None, False)])
def test_compression_is_for_what_loses_something(fmt: str | None, taken: bool) -> None:
    body = BODY | {"output_format": fmt, "output_compression": 50}
    if taken:
        assert read_generation(body)[0].output_compression == 50
    else:
        with pytest.raises(InvalidRequest):
            read_generation(body)
    assert read_generation(body | {"output_compression": 100})[0].output_compression == 100


def test_a_form_survives_its_way_to_the_door() -> None:
    _, form = read_generation(BODY | {"stream": True, "partial_images": 3, "user": "u"})
    assert AnswerForm.from_json(form.to_json()) == form
