"""The JSON of generation's routes, as the OpenAPI description tells it.

Answers are plain dicts (`generation/domain/present.py`) and requests are read by `generation/domain/request.py`;
nothing here runs in a request. `tests/generation/api/test_schema.py` holds real answers against these shapes.
"""

from __future__ import annotations

from rest_framework import serializers as s

from accounts.api.described.common import Shape
from generation.api.inputdescriptions import MASK, PICTURES, STRENGTH, Picture, PicturesField
from generation.domain.place import REASONS
from generation.enums import OutputFormat, Status, Task


class LoraUse(Shape):
    name = s.CharField()
    scale = s.FloatField(
        required=False, allow_null=True, min_value=-2, max_value=2, help_text="The LoRA's usual one when left out."
    )


class GenerationRequest(Shape):
    """What to draw. Whatever is left out is the model's default."""

    model = s.CharField(help_text="A model's id, from `GET /api/v1/models`.")
    prompt = s.CharField(max_length=32768)
    negative_prompt = s.CharField(required=False, allow_blank=True, max_length=32768)
    width = s.IntegerField(
        required=False, allow_null=True, min_value=16, help_text="Pixels; a multiple of the model's `size_multiple`."
    )
    height = s.IntegerField(required=False, allow_null=True, min_value=16)
    num_inference_steps = s.IntegerField(required=False, allow_null=True, min_value=1)
    true_cfg_scale = s.FloatField(
        required=False, allow_null=True, help_text="Above 1 the negative prompt is used, and the cost doubles."
    )
    seed = s.IntegerField(
        required=False,
        allow_null=True,
        min_value=0,
        help_text="Of the first image; image i has seed + i. Random when left out.",
    )
    n = s.IntegerField(required=False, min_value=1, max_value=10, default=1)
    loras = LoraUse(many=True, required=False)
    output_format = s.ChoiceField(choices=OutputFormat.values, required=False, default="png")
    metadata = s.DictField(child=s.CharField(), required=False, help_text="Yours; returned as it is.")
    webhook = s.UUIDField(required=False, allow_null=True, help_text="The id of a registered endpoint.")
    image = PicturesField(required=False, help_text=PICTURES)
    mask = s.CharField(required=False, allow_null=True, help_text=MASK)
    strength = s.FloatField(required=False, allow_null=True, min_value=0, max_value=1, help_text=STRENGTH)
    style = s.CharField(  # type: ignore[assignment]  # the framework takes declared fields off the class
        required=False,
        allow_blank=True,
        allow_null=True,
        max_length=100,
        help_text="One of `GET /api/v1/styles` by its name; its words stand around the prompt.",
    )


class GenerationForm(GenerationRequest):
    """The same as a form: numbers as text, `loras` and `metadata` as JSON, pictures as files."""

    image = s.FileField(required=False)  # type: ignore[assignment]
    mask = s.FileField(required=False)  # type: ignore[assignment]


class GridRequest(GenerationRequest):
    """The same pictures at several strengths of one LoRA; `n` are the seeds, `loras` the others."""

    lora = s.CharField(help_text="The LoRA whose strength varies, from `GET /api/v1/loras`.")
    scales = s.ListField(child=s.FloatField(min_value=-2, max_value=2), min_length=2, max_length=8)


class Ahead(Shape):
    own = s.IntegerField()
    others = s.IntegerField()


class Reason(Shape):
    code = s.ChoiceField(choices=list(REASONS))
    detail = s.CharField()


class QueuePlace(Shape):
    """Where it waits. `eta_ms` is about when the picture is there; null, with a reason, when nobody can say.
    `eta_range_ms`: at the earliest and at the latest, four times of five."""

    position = s.IntegerField()
    eta_ms = s.IntegerField(allow_null=True)
    eta_range_ms = s.ListField(child=s.IntegerField(), min_length=2, max_length=2, allow_null=True)
    ahead = Ahead()
    reason = Reason(allow_null=True)


class Progress(Shape):
    step = s.IntegerField()
    steps = s.IntegerField()


class ImageFile(Shape):
    id = s.UUIDField()
    index = s.IntegerField()
    url = s.URLField()
    thumbnail_url = s.URLField()
    width = s.IntegerField()
    height = s.IntegerField()
    seed = s.IntegerField()
    sha256 = s.CharField()


class Timings(Shape):
    queued_ms = s.IntegerField(allow_null=True)
    run_ms = s.IntegerField(allow_null=True)


class Cost(Shape):
    gpu_ms = s.IntegerField()


class Failure(Shape):
    code = s.CharField()
    message = s.CharField()


class Warning_(Shape):
    code = s.CharField()
    detail = s.CharField()


class Urls(Shape):
    get = s.URLField()
    cancel = s.URLField()
    events = s.URLField()


class Generation(Shape):
    """What somebody asked for, and what became of it."""

    id = s.UUIDField()
    status = s.ChoiceField(choices=Status.values)
    task = s.ChoiceField(choices=Task.values)
    model = s.CharField()
    prompt = s.CharField()
    negative_prompt = s.CharField()
    width = s.IntegerField()
    height = s.IntegerField()
    num_inference_steps = s.IntegerField()
    true_cfg_scale = s.FloatField()
    seed = s.IntegerField()
    n = s.IntegerField()
    loras = LoraUse(many=True)
    inputs = Picture(many=True, help_text="The pictures that it starts from.")
    mask = Picture(allow_null=True)
    strength = s.FloatField(allow_null=True)
    grid = s.UUIDField(allow_null=True, help_text="The first generation of the grid that it belongs to.")
    style = s.CharField(  # type: ignore[assignment]  # as above
        allow_null=True, help_text="The style whose words `prompt` and `negative_prompt` have in them."
    )
    output_format = s.ChoiceField(choices=OutputFormat.values)
    metadata = s.DictField()
    starred = s.BooleanField()
    retry_of = s.UUIDField(allow_null=True)
    queue = QueuePlace(allow_null=True)
    progress = Progress()
    images = ImageFile(many=True)
    timings = Timings()
    cost = Cost()
    error = Failure(allow_null=True)
    warnings = Warning_(many=True)
    created_at = s.DateTimeField()
    started_at = s.DateTimeField(allow_null=True)
    finished_at = s.DateTimeField(allow_null=True)
    urls = Urls()


class GenerationPage(Shape):
    """One page; follow `next` and `previous` as they stand."""

    results = Generation(many=True)
    next = s.URLField(allow_null=True)
    previous = s.URLField(allow_null=True)


class GenerationChange(Shape):
    starred = s.BooleanField()


class Tenant(Shape):
    id = s.UUIDField()
    name = s.CharField()


class Member(Shape):
    id = s.UUIDField()
    role = s.CharField()


class Key(Shape):
    id = s.UUIDField()


class PlanLimits(Shape):
    slug = s.CharField()
    concurrent_generations = s.IntegerField()
    queue_length = s.IntegerField()
    max_pixels = s.IntegerField()
    max_steps = s.IntegerField()
    max_images = s.IntegerField()
    requests_per_minute = s.IntegerField()
    tenant_requests_per_minute = s.IntegerField()
    chat_requests_per_minute = s.IntegerField()
    concurrent_chats = s.IntegerField()
    retention_days = s.IntegerField(allow_null=True, help_text="Of pictures; null: for ever.")


class LimitLeft(Shape):
    """A limit of the plan; those of a budget and a key are named `member_…` and `key_…`, where they are set."""

    limit = s.CharField()
    quota = s.IntegerField(allow_null=True, help_text="null: no limit")
    used = s.IntegerField()
    reserved = s.IntegerField()
    left = s.IntegerField(allow_null=True)
    resets_in_s = s.IntegerField()


class StorageLeft(Shape):
    """Of the tenant's pictures, in bytes."""

    quota = s.IntegerField(allow_null=True, help_text="null: no limit")
    used = s.IntegerField()
    left = s.IntegerField(allow_null=True)


class Me(Shape):
    tenant = Tenant()
    member = Member(allow_null=True)
    key = Key(allow_null=True)
    scopes = s.ListField(child=s.CharField())
    plan = PlanLimits()
    limits = LimitLeft(many=True)
    storage = StorageLeft()


class Size(Shape):
    width = s.IntegerField()
    height = s.IntegerField()


class ModelDefaults(Shape):
    width = s.IntegerField()
    height = s.IntegerField()
    num_inference_steps = s.IntegerField()
    true_cfg_scale = s.FloatField()
    negative_prompt = s.CharField()


class ModelLimits(Shape):
    min_steps = s.IntegerField()
    max_steps = s.IntegerField()
    max_width = s.IntegerField()
    max_height = s.IntegerField()
    size_multiple = s.IntegerField()
    max_prompt_tokens = s.IntegerField()


class Model(Shape):
    id = s.CharField()
    title = s.CharField()
    description = s.CharField()
    licence = s.CharField()
    family = s.CharField()
    tasks = s.ListField(child=s.CharField())
    defaults = ModelDefaults()
    limits = ModelLimits()
    sizes = Size(many=True)


class ModelPage(Shape):
    results = Model(many=True)
    next = s.URLField(allow_null=True)
    previous = s.URLField(allow_null=True)


class LoraScales(Shape):
    default = s.FloatField()
    min = s.FloatField()
    max = s.FloatField()


class Lora(Shape):
    id = s.CharField(help_text="Its `name` in requests.")
    title = s.CharField()
    description = s.CharField()
    trigger_words = s.CharField()
    models = s.ListField(child=s.CharField(), help_text="The models that it fits.")
    scale = LoraScales()
    rank = s.IntegerField()
    licence = s.CharField()


class LoraPage(Shape):
    results = Lora(many=True)
    next = s.URLField(allow_null=True)
    previous = s.URLField(allow_null=True)


class Grid(Shape):
    """Its generations, in the order of the strengths."""

    results = Generation(many=True)


class Estimate(Shape):
    model = s.CharField()
    task = s.ChoiceField(choices=Task.values)
    width = s.IntegerField()
    height = s.IntegerField()
    images = s.IntegerField()
    image_ms = s.IntegerField()
    gpu_ms = s.IntegerField(help_text="What would be reserved.")
    wait_ms = s.IntegerField(allow_null=True, help_text="Until it begins.")
    queue = QueuePlace()


class StreamedEvent(Shape):
    """One server-sent event, as whoever reads the stream has it in hand."""

    event = s.CharField()
    data = s.CharField(help_text="JSON.")  # type: ignore[assignment]  # the event's, not the serializer's
    id = s.CharField(required=False, help_text="For `Last-Event-ID`.")
