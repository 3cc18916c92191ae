"""The JSON of OpenAI's image routes, as the OpenAPI description tells it. Nothing here runs in a request."""

from __future__ import annotations

from rest_framework import serializers as s

from accounts.api.described.common import Shape
from generation.api.inputdescriptions import PICTURE, PICTURES, STRENGTH, PicturesField
from generation.api.openai.fields import FIDELITIES, MAX_NAME_CHARS, MAX_PARTIALS, WORDS
from generation.api.shapes import LoraUse
from generation.enums import OutputFormat

IGNORED = "Checked, and without effect."


def _word(name: str, text: str = IGNORED) -> s.ChoiceField:
    return s.ChoiceField(choices=WORDS[name], required=False, allow_null=True, help_text=text)


class OpenAIImageRequest(Shape):
    """OpenAI's fields, then ours. Fields that neither knows are passed over."""

    prompt = s.CharField(max_length=32768)
    model = s.CharField(required=False, allow_null=True, help_text="Left out: the first of `GET /v1/models`.")
    n = s.IntegerField(required=False, allow_null=True, min_value=1, max_value=10)
    size = s.CharField(required=False, allow_null=True, help_text="`auto`, or width and height as in `1024x1024`.")
    quality = _word("quality", "Checked, and without effect: the model's steps, or `num_inference_steps`, decide.")
    background = _word("background", "`transparent` is refused: no model draws it.")
    moderation = _word("moderation")
    style = _word("style")  # type: ignore[assignment]  # the framework takes declared fields off the class
    complexity = _word("complexity")
    output_format = s.ChoiceField(choices=OutputFormat.values, required=False, allow_null=True)
    output_compression = s.IntegerField(
        required=False,
        allow_null=True,
        min_value=0,
        max_value=100,
        help_text="The quality of JPEG and WebP; 100 keeps most.",
    )
    response_format = _word("response_format", "`url` is a link that works for an hour without a key.")
    stream = s.BooleanField(required=False, allow_null=True)
    partial_images = s.IntegerField(
        required=False, allow_null=True, min_value=0, max_value=MAX_PARTIALS, help_text="With `stream`."
    )
    user = s.CharField(required=False, allow_null=True, max_length=MAX_NAME_CHARS, help_text=IGNORED)
    safety_identifier = s.CharField(
        required=False, allow_null=True, max_length=MAX_NAME_CHARS, help_text="Comes back in the answer."
    )
    negative_prompt = s.CharField(required=False, allow_null=True, allow_blank=True, max_length=32768)
    num_inference_steps = s.IntegerField(required=False, allow_null=True, min_value=1)
    true_cfg_scale = s.FloatField(required=False, allow_null=True, min_value=0)
    guidance_scale = s.FloatField(
        required=False, allow_null=True, min_value=0, help_text="Without effect: no model here is guided so."
    )
    seed = s.IntegerField(required=False, allow_null=True, min_value=0)
    loras = LoraUse(many=True, required=False)


class OpenAIEditForm(OpenAIImageRequest):
    """The same fields as a form, and the pictures as files: `image`, or `image[]` up to three times."""

    image = s.FileField(help_text="PNG, JPEG or WebP, 10 MB at most. Several are for models that edit.")
    mask = s.FileField(required=False, help_text="In the size of the image; what is transparent is drawn anew.")
    input_fidelity = s.ChoiceField(choices=FIDELITIES, required=False, allow_null=True, help_text=IGNORED)
    strength = s.FloatField(required=False, allow_null=True, min_value=0, max_value=1, help_text=STRENGTH)


class OpenAIEditRequest(OpenAIEditForm):
    """The same as JSON: data URLs, or ids of images and stored inputs. A stored mask is one of ours: white is new."""

    image = PicturesField(help_text=PICTURES)  # type: ignore[assignment]
    mask = s.CharField(required=False, allow_null=True, help_text=PICTURE)  # type: ignore[assignment]


class OpenAIInputTokens(Shape):
    image_tokens = s.IntegerField()
    text_tokens = s.IntegerField()


class OpenAIUsage(Shape):
    """Text tokens are those that the model has read of the prompt, image tokens stand for 16 × 16 pixels each."""

    input_tokens = s.IntegerField()
    input_tokens_details = OpenAIInputTokens()
    output_tokens = s.IntegerField()
    output_tokens_details = OpenAIInputTokens()
    total_tokens = s.IntegerField()


class OpenAIImage(Shape):
    b64_json = s.CharField(required=False)
    url = s.URLField(required=False)


class OpenAIImages(Shape):
    created = s.IntegerField()
    background = s.CharField()
    data = OpenAIImage(many=True)  # type: ignore[assignment]
    output_format = s.ChoiceField(choices=OutputFormat.values)
    size = s.CharField()
    usage = OpenAIUsage()
    safety_identifier = s.CharField(required=False)


class OpenAIAccepted(Shape):
    """Only where the async process is not in front: nobody waits there."""

    id = s.UUIDField()
    answer = s.DictField()


class OpenAIModel(Shape):
    id = s.CharField()
    object = s.CharField()
    created = s.IntegerField()
    owned_by = s.CharField()


class OpenAIModels(Shape):
    object = s.CharField()
    data = OpenAIModel(many=True)  # type: ignore[assignment]
