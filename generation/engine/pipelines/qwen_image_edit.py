"""Qwen-Image-Edit: the family of `QwenImageEditPlusPipeline`. GPU worker only: torch at the top.

Qwen-Image's loop with two additions: the instruction is encoded together with the pictures, and the pictures' latents
stand behind the noise in every forward.
"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import (
    CONDITION_IMAGE_SIZE,
    VAE_IMAGE_SIZE,
    calculate_dimensions,
)
from PIL import Image
from transformers import Qwen2VLImageProcessorPil

from generation.engine.catalog import ModelSpec
from generation.engine.errors import InputRefused
from generation.engine.family import Conditioning, Reference, RowConds
from generation.engine.inputs import fit, read_input
from generation.engine.pipelines.qwen_image import QwenImage, pack_latents
from generation.engine.prompts import TemplateTokens
from generation.engine.request import MAX_INPUTS, PassRow

# Of the pipeline: the text around an instruction, what stands for a picture in it, and how many tokens it drops.
TEMPLATE = (
    "<|im_start|>system\nDescribe the key features of the input image (color, shape, size, texture, objects, "
    "background), then explain how the user's text instruction should alter or modify the image. Generate a new image "
    "that meets the user's requirements while maintaining consistency with the original input where appropriate."
    "<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)
PICTURE = "Picture {}: <|vision_start|><|image_pad|><|vision_end|>"
DROPPED = 64
MOST_STRETCHED = 100  # a picture's longer side ÷ its shorter: at 200 the language model's processor raises


class PictureProcessor:
    """The picture half of a `Qwen2VLProcessor`, by Pillow: the whole one needs torchvision. Its text is read here."""

    def __init__(self, images: Any) -> None:
        self.images = images

    @classmethod
    def from_pretrained(cls, folder: Path, **kwargs: Any) -> PictureProcessor:
        loader: Any = Qwen2VLImageProcessorPil  # its from_pretrained has no types
        return cls(loader.from_pretrained(folder, **kwargs))


class QwenImageEdit(QwenImage):
    """See `Family`. One instruction, one to three pictures, in their order."""

    def __init__(self, *, pipe: Any, spec: ModelSpec, device: torch.device, exact_decode: bool = False) -> None:
        super().__init__(pipe=pipe, spec=spec, device=device, exact_decode=exact_decode)
        self._pad = int(pipe.tokenizer.convert_tokens_to_ids("<|image_pad|>"))
        self._images = pipe.processor.images

    def _make_tokens(self, tokenizer: Any, *, limit: int) -> TemplateTokens:
        """Those of an instruction with one picture; with more of them the head is longer."""
        head, _, tail = TEMPLATE.partition("{}")
        dropped = len(tokenizer(head, add_special_tokens=False)["input_ids"])
        if dropped != DROPPED:
            raise ValueError(f"the tokenizer makes {dropped} tokens of the template where the pipeline drops {DROPPED}")
        numbers = range(1, MAX_INPUTS + 1)
        heads = [head + "".join(PICTURE.format(one) for one in numbers[:count]) for count in numbers]
        self._by_pictures = [TemplateTokens(tokenizer, head=head, tail=tail, limit=limit) for head in heads]
        return self._by_pictures[0]

    @torch.no_grad()
    def encode(self, row: PassRow) -> RowConds:
        pictures = [read_input(picture, mode="RGB") for picture in row.images]
        for picture in pictures:
            _check_shape(picture)
        names = [picture.sha256 for picture in row.images]
        return RowConds(
            positive=self._encode_instruction(row.prompt, pictures, names),
            negative=self._encode_instruction(row.negative_prompt, pictures, names) if row.guided else None,
            reference=self._find_reference(pictures, names),
        )

    def _encode_instruction(self, prompt: str, pictures: list[Image.Image], names: list[str]) -> Conditioning:
        """The prompt with its pictures, alone; the template's first tokens are dropped, the pictures' are not."""
        key = hashlib.sha256("\n".join([*names, prompt]).encode()).hexdigest()
        cached = self._cache.get(key)
        if cached is not None:
            return cached
        shown = [self._fit(picture, CONDITION_IMAGE_SIZE) for picture in pictures]
        seen = self._images(images=shown, return_tensors="pt").to(self.device)
        tokens = self._by_pictures[len(pictures) - 1]
        middle, count = tokens.read(prompt)
        middle = middle[: len(middle) - (count.total - count.used)]
        ids = self._spread_pads(tokens.head, seen["image_grid_thw"]) + middle + tokens.tail
        input_ids = torch.tensor([ids], device=self.device)
        states = self._pipe.text_encoder(
            input_ids=input_ids,
            attention_mask=torch.ones_like(input_ids),
            pixel_values=seen["pixel_values"],
            image_grid_thw=seen["image_grid_thw"],
            # Without them pictures stand in one line, as text does. The pipeline of diffusers 0.42 leaves them out,
            # being older than transformers 5 that asks for them (huggingface/diffusers issue 14194).
            mm_token_type_ids=(input_ids == self._pad).int(),
            output_hidden_states=True,
            use_cache=False,
            logits_to_keep=1,
        ).hidden_states
        cond = Conditioning(embeds=states[-1][0, DROPPED:].to(self.dtype).clone(), tokens=count)
        self._cache.put(key, cond)
        return cond

    def _spread_pads(self, ids: list[int], grids: torch.Tensor) -> list[int]:
        """Each picture's one token as many times as the language model sees it."""
        merged = int(self._images.merge_size) ** 2
        counts = iter([int(grid.prod()) // merged for grid in grids])
        return [token for one in ids for token in ([one] * next(counts) if one == self._pad else [one])]

    def _find_reference(self, pictures: list[Image.Image], names: list[str]) -> Reference:
        sizes = [calculate_dimensions(VAE_IMAGE_SIZE, picture.width / picture.height) for picture in pictures]
        latents = [
            self._pictures.get((name, *size), partial(self._encode_sized, picture, size))
            for picture, name, size in zip(pictures, names, sizes, strict=True)
        ]
        grids = tuple((height // self._patch, width // self._patch) for width, height in sizes)
        return Reference(latents=torch.cat(latents, dim=1), grids=grids)

    def _encode_sized(self, picture: Image.Image, size: tuple[int, int]) -> torch.Tensor:
        width, height = size
        pixels = self._pipe.image_processor.preprocess(picture, height=height, width=width)
        return self._encode_picture(pixels.to(self.device))

    def _encode_picture(self, pixels: torch.Tensor) -> torch.Tensor:
        """Divided by the deviations, as this pipeline does; its kin multiply by their rounded reciprocals."""
        raw = self._vae.encode(pixels[:, :, None].to(self.dtype)).latent_dist.mode()
        config, shape = self._vae.config, (1, -1, 1, 1, 1)
        mean, std = (torch.tensor(values).view(shape).to(raw) for values in (config.latents_mean, config.latents_std))
        return pack_latents(((raw - mean) / std).transpose(1, 2))

    def _fit(self, picture: Image.Image, area: int) -> Image.Image:
        width, height = calculate_dimensions(area, picture.width / picture.height)
        return fit(picture, self._pipe.image_processor, width=width, height=height)


def _check_shape(picture: Image.Image) -> None:
    """Raises InputRefused for a thread of a picture."""
    if max(picture.size) > MOST_STRETCHED * min(picture.size):
        size = f"{picture.width} × {picture.height} pixels"
        raise InputRefused(f"the picture that it starts from is {size}, an edit reads up to {MOST_STRETCHED} : 1")
