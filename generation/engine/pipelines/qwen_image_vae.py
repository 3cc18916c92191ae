"""Decoding Qwen-Image latents, with the single-frame shortcut. GPU worker only: torch at the top.

`AutoencoderKLQwenImage` is a video VAE that keeps `_feat_map` on the module while it works: two threads on one instance
give wrong pictures without an error. So a decoder owns its VAE, and belongs to one thread.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import QwenImageCausalConv3d
from torch import nn

from generation.engine.family import RowLatents


class LastSliceConv(nn.Module):
    """A causal 3-D convolution of one frame: everything before it is zero padding, so only the last slice matters."""

    def __init__(self, conv: QwenImageCausalConv3d) -> None:
        super().__init__()
        self.weight = nn.Parameter(conv.weight[:, :, -1].contiguous(), requires_grad=False)
        self.bias = conv.bias
        self.stride = (conv.stride[1], conv.stride[2])
        # The class pads by itself (left, right, top, bottom, before, after); its padding as a convolution is zero.
        self.padding = (int(conv._padding[2]), int(conv._padding[0]))

    def forward(self, x: torch.Tensor, cache_x: torch.Tensor | None = None) -> torch.Tensor:
        """(B, C, 1, H, W) → (B, C', 1, H', W'); `cache_x` is always None for the first frame."""
        y = nn.functional.conv2d(x[:, :, 0], self.weight, self.bias, stride=self.stride, padding=self.padding)
        return y[:, :, None]


def make_single_frame(vae: Any) -> None:
    """Turn the decoder's causal 3-D convolutions into 2-D ones, in place: a third of the time in BF16 on a CPU.

    Equal but for rounding (57 dB in BF16), because other kernels add up in another order. `time_conv` layers are never
    reached with one frame.
    """
    for parent in list(vae.decoder.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, QwenImageCausalConv3d) and name != "time_conv":
                setattr(parent, name, LastSliceConv(child))
    vae.post_quant_conv = LastSliceConv(vae.post_quant_conv)


class QwenImageDecoder:
    """See `Decoder`. `exact` decodes like the pipeline does; otherwise the single-frame twin is used."""

    def __init__(self, vae: Any, *, factor: int, exact: bool) -> None:
        self._vae = vae
        self._factor = factor
        self._exact = exact
        if not exact:
            vae.encoder = vae.quant_conv = None
            make_single_frame(vae)

    @torch.no_grad()
    def decode(self, latents: RowLatents) -> torch.Tensor:
        packed = latents.tensor.to(next(self._vae.parameters()).device, self._vae.dtype)
        spread = unpack_latents(packed, width=latents.width, height=latents.height, factor=self._factor)
        return self.decode_raw(denormalise(spread, self._vae))[0]

    @torch.no_grad()
    def decode_raw(self, raw: torch.Tensor) -> torch.Tensor:
        """(B, channels, 1, h, w) in the VAE's own scale → (B, 3, H, W), 0 to 1; roundings as the image processor's."""
        if self._exact:
            decoded = self._vae.decode(raw, return_dict=False)[0]
        else:
            decoded = self._vae.decoder(self._vae.post_quant_conv(raw)).clamp(-1, 1)
        frame: torch.Tensor = (decoded[:, :, 0] * 0.5 + 0.5).clamp(0, 1)
        return frame


def unpack_latents(latents: torch.Tensor, *, width: int, height: int, factor: int) -> torch.Tensor:
    """(B, tokens, channels × 4) → (B, channels, 1, height / factor, width / factor)."""
    batch, _, channels = latents.shape
    rows, columns = height // factor // 2, width // factor // 2
    patches = latents.view(batch, rows, columns, channels // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return patches.reshape(batch, channels // 4, 1, 2 * rows, 2 * columns)


def denormalise(latents: torch.Tensor, vae: Any, *, inverse: bool = False) -> torch.Tensor:
    """From the transformer's scale (mean 0, deviation 1 per channel) to the VAE's, or back; (B, channels, 1, h, w)."""
    shape = (1, vae.config.z_dim, 1, 1, 1)
    mean = torch.tensor(vae.config.latents_mean).view(shape).to(latents.device, latents.dtype)
    # 1 / (1 / std) as in the pipeline: not the same number as std after rounding.
    scale = 1.0 / torch.tensor(vae.config.latents_std).view(shape).to(latents.device, latents.dtype)
    return (latents - mean) * scale if inverse else latents / scale + mean
