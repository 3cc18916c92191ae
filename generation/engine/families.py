"""The families of models, as data: what the web, `doctor` and the loader must know of each. Imports no torch.

A new family is one file in `pipelines/` that offers `Family`, and its entry here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

LENGTH_BUCKETS = (64, 128, 256, 512, 1024)

# A part of a checkpoint: its library, and the classes that may stand for it in model_index.json. Anything else would be
# somebody's own code.
Part = tuple[str, tuple[str, ...]]
_SCHEDULER: Part = ("diffusers", ("FlowMatchEulerDiscreteScheduler",))
_FROM_PICTURES = ("text-to-image", "image-to-image", "inpaint")
_TOKENIZER: Part = ("transformers", ("Qwen2Tokenizer", "Qwen2TokenizerFast"))  # one class since transformers 5


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyInfo:
    """One family.

    `draws` and the values of `loads` are `module:attribute`, imported by GPU workers only. `loads` names what reads a
    part where that is not the library's own class; `settings` are the pipeline's own arguments in model_index.json.
    `exact_lengths`: padding would move pictures by more than rounding, so an entry may not have length buckets.
    `tasks`: what its code draws; an entry may offer less. `guidance` says how a request's `true_cfg_scale` becomes the
    pipeline's own number.
    """

    draws: str
    pipeline: str
    parts: Mapping[str, Part]
    loads: Mapping[str, str] = field(default_factory=dict)
    settings: tuple[str, ...] = ()
    tokenizer: str = "tokenizer"
    size_multiple: int = 16
    length_buckets: tuple[int, ...] = LENGTH_BUCKETS
    exact_lengths: bool = False
    guidance: str = "true_cfg_scale"
    tasks: tuple[str, ...] = ("text-to-image",)


FAMILIES: Mapping[str, FamilyInfo] = MappingProxyType(
    {
        "qwen-image": FamilyInfo(
            draws="generation.engine.pipelines.qwen_image:QwenImage",
            pipeline="QwenImagePipeline",
            parts={
                "scheduler": _SCHEDULER,
                "text_encoder": ("transformers", ("Qwen2_5_VLForConditionalGeneration",)),
                "tokenizer": _TOKENIZER,
                "transformer": ("diffusers", ("QwenImageTransformer2DModel",)),
                "vae": ("diffusers", ("AutoencoderKLQwenImage",)),
            },
            tasks=_FROM_PICTURES,
        ),
        "qwen-image-edit": FamilyInfo(
            draws="generation.engine.pipelines.qwen_image_edit:QwenImageEdit",
            pipeline="QwenImageEditPlusPipeline",
            parts={
                "scheduler": _SCHEDULER,
                "text_encoder": ("transformers", ("Qwen2_5_VLForConditionalGeneration",)),
                "tokenizer": _TOKENIZER,
                "processor": ("transformers", ("Qwen2VLProcessor", "Qwen2_5_VLProcessor")),
                "transformer": ("diffusers", ("QwenImageTransformer2DModel",)),
                "vae": ("diffusers", ("AutoencoderKLQwenImage",)),
            },
            loads={"processor": "generation.engine.pipelines.qwen_image_edit:PictureProcessor"},
            length_buckets=(256, 512, 1024, 2048),  # a picture is about 190 tokens of its instruction
            tasks=("edit",),
        ),
        "qwen-image-2.1": FamilyInfo(
            draws="generation.engine.pipelines.qwen_image_21:QwenImage21",
            pipeline="QwenImage21Pipeline",
            parts={
                "scheduler": _SCHEDULER,
                "text_encoder": ("transformers", ("Qwen3VLForConditionalGeneration",)),
                "processor": ("transformers", ("Qwen3VLProcessor",)),
                "transformer": ("diffusers", ("QwenImage21Transformer2DModel",)),
                "vae": ("diffusers", ("AutoencoderKLQwenImage21",)),
            },
            loads={"processor": "generation.engine.pipelines.qwen_image_21:TextProcessor"},
            settings=("sample_sigmas",),
            tokenizer="processor",
            size_multiple=32,
            length_buckets=(),
            exact_lengths=True,
        ),
        "z-image": FamilyInfo(
            draws="generation.engine.pipelines.z_image:ZImage",
            pipeline="ZImagePipeline",
            parts={
                "scheduler": _SCHEDULER,
                "text_encoder": ("transformers", ("Qwen3Model",)),
                "tokenizer": _TOKENIZER,
                "transformer": ("diffusers", ("ZImageTransformer2DModel",)),
                "vae": ("diffusers", ("AutoencoderKL",)),
            },
            # The transformer pads each prompt by itself: rows of any length share a forward and stay bit-equal.
            length_buckets=(512,),
            guidance="guidance_scale = true_cfg_scale - 1",
            tasks=_FROM_PICTURES,
        ),
    }
)
