"""Which layers of a family may carry adapters, and what trainers call them. Imports no torch: staff's check uses it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# What trainers write before a layer's name: diffusers, the original repositories, PEFT, kohya (dots become "_" there).
PREFIXES = ("transformer.", "diffusion_model.", "model.diffusion_model.", "base_model.model.", "lora_unet_")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraRules:
    """A family's word on adapters. `carries` matches the names of layers that may have one, as diffusers names them.

    `vectors` matches those among them whose input is one vector per row, (B, dim): a strength per row has the shape
    (B, 1) there and (B, 1, 1) elsewhere. Layers that see rows one after the other in one dimension must not carry.
    `renames` are (pattern, replacement) for other names of the same layers.
    """

    carries: re.Pattern[str]
    vectors: re.Pattern[str]
    renames: tuple[tuple[re.Pattern[str], str], ...] = ()

    def find_layer(self, name: str, layers: Mapping[str, object], flat: Mapping[str, str]) -> str | None:
        """The layer that a file calls `name`; `flat` are the layers' names with "_" for every dot."""
        for plain in (name, *(name.removeprefix(prefix) for prefix in PREFIXES if name.startswith(prefix))):
            for pattern, replacement in (_AS_IT_IS, *self.renames):
                found = pattern.sub(replacement, plain)
                if found in layers:
                    return found
                if found in flat:
                    return flat[found]
        return None


_AS_IT_IS = (re.compile(r"$^"), "")

RULES: Mapping[str, LoraRules] = {
    "qwen-image": LoraRules(
        carries=re.compile(
            r"transformer_blocks\.\d+\.(attn\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)"
            r"|(img|txt)_mlp\.net\.(0\.proj|2)|(img|txt)_mod\.1)"
            r"|img_in|txt_in|proj_out|norm_out\.linear|time_text_embed\.timestep_embedder\.linear_[12]"
        ),
        vectors=re.compile(r".*_mod\.1|norm_out\.linear|time_text_embed\..*"),
    ),
    # The embedders see all rows' tokens in one dimension (`ZImageTransformer2DModel.patchify_and_embed`).
    "z-image": LoraRules(
        carries=re.compile(
            r"(layers|noise_refiner|context_refiner)\.\d+\."
            r"(attention\.(to_[qkv]|to_out\.0)|feed_forward\.w[123]|adaLN_modulation\.0)"
        ),
        vectors=re.compile(r".*\.adaLN_modulation\.0"),
        renames=((re.compile(r"attention(.)out$"), r"attention\1to_out\g<1>0"),),
    ),
    # As Qwen-Image without the modulation: where pictures are looked at, it sees each row twice (`zero_cond_t`).
    "qwen-image-edit": LoraRules(
        carries=re.compile(
            r"transformer_blocks\.\d+\.(attn\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)"
            r"|(img|txt)_mlp\.net\.(0\.proj|2))|img_in|txt_in|proj_out"
        ),
        vectors=re.compile(r"$^"),
    ),
    # Its one modulation sees a row more than the pass has (the text's, at t = 0), so it carries none.
    "qwen-image-2.1": LoraRules(
        carries=re.compile(
            r"transformer_blocks\.\d+\.(attn\.(to_[qkv]|to_out\.0)|img_mlp\.(proj|out|gate_layer))"
            r"|img_in|txt_in\.(in|out)_layer|proj_out"
        ),
        vectors=re.compile(r"$^"),
    ),
}
