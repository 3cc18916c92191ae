"""The Qwen-Image VAE on one frame is a 2-D VAE: the same weights as 2-D convolutions, several times faster to train.

A causal 3-D convolution pads two frames of zeros in front, so one frame meets only the last temporal slice of the
kernel. Temporal resampling does nothing on the first frame.
"""

import copy

import torch
from diffusers import AutoencoderKLQwenImage
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import (
    QwenImageAttentionBlock,
    QwenImageCausalConv3d,
    QwenImageResample,
    QwenImageRMS_norm,
)
from torch import Tensor, nn
from torch.nn import functional as F


class FlatNorm(nn.Module):
    """RMS norm over the channels of (B, C, H, W)."""

    def __init__(self, gamma: Tensor) -> None:
        super().__init__()
        self.gamma = nn.Parameter(gamma.detach().reshape(-1, 1, 1).clone())
        self.scale = float(self.gamma.shape[0]) ** 0.5

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = F.normalize(x.float(), dim=1).to(x.dtype) * self.scale * self.gamma
        return normed


class FlatAttention(nn.Module):
    """Single-head self-attention over the pixels of (B, C, H, W)."""

    def __init__(self, block: QwenImageAttentionBlock) -> None:
        super().__init__()
        self.norm, self.to_qkv, self.proj = FlatNorm(block.norm.gamma), block.to_qkv, block.proj

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        qkv = self.to_qkv(self.norm(x)).reshape(batch, 1, channels * 3, -1).transpose(-1, -2)
        q, k, v = qkv.chunk(3, dim=-1)
        out = F.scaled_dot_product_attention(q, k, v)
        attended: Tensor = self.proj(out.squeeze(1).transpose(1, 2).reshape(batch, channels, height, width))
        return x + attended


class FlatVae(nn.Module):
    """Encoder and decoder of `vae` on (B, 3, H, W) pictures in [-1, 1]; a copy, written back by `write_back`."""

    def __init__(self, vae: AutoencoderKLQwenImage) -> None:
        super().__init__()
        vae = copy.deepcopy(vae)
        self.z_dim: int = vae.config.z_dim
        self.encoder = _flatten(vae.encoder)
        self.quant_conv = _flatten(vae.quant_conv)
        self.post_quant_conv = _flatten(vae.post_quant_conv)
        self.decoder = _flatten(vae.decoder)

    def encode(self, pixels: Tensor) -> Tensor:
        """The posterior's mean, (B, z_dim, H / 16, W / 16)."""
        moments: Tensor = self.quant_conv(self.encoder(pixels))
        return moments[:, : self.z_dim]

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels before the clamp of `AutoencoderKLQwenImage.decode`, which would kill the gradient."""
        pixels: Tensor = self.decoder(self.post_quant_conv(latents))
        return pixels


def _flatten(module: nn.Module) -> nn.Module:
    """`module` with every 3-D layer replaced by its 2-D equal; in place, returns the replacement."""
    if isinstance(module, QwenImageCausalConv3d):
        return _flat_conv(module)
    if isinstance(module, QwenImageRMS_norm):
        return FlatNorm(module.gamma)
    if isinstance(module, QwenImageResample):
        return nn.Sequential(*module.resample)
    if isinstance(module, QwenImageAttentionBlock):
        return FlatAttention(module)
    for name, child in module.named_children():
        setattr(module, name, _flatten(child))
    return module


def _flat_conv(conv: QwenImageCausalConv3d) -> nn.Conv2d:
    # `_padding` holds (width, width, height, height, front, back); spatial padding is symmetric.
    flat = nn.Conv2d(
        conv.in_channels, conv.out_channels, conv.kernel_size[1:], stride=conv.stride[1:], padding=conv._padding[2]
    )
    with torch.no_grad():
        flat.weight.copy_(conv.weight[:, :, -1])
        if conv.bias is not None and flat.bias is not None:
            flat.bias.copy_(conv.bias)
    return flat


@torch.no_grad()
def write_back(flat: FlatVae, vae: AutoencoderKLQwenImage) -> None:
    """Copy the weights of `flat` into `vae`; kernel slices that no single frame meets become zero."""
    source = dict(flat.state_dict())
    for name, target in vae.state_dict().items():
        value = source.pop(name.replace(".resample.", "."), None)
        if value is None:
            target.zero_()
        elif target.dim() == 5:
            target.zero_()
            target[:, :, -1].copy_(value)
        else:
            target.copy_(value.reshape(target.shape))
    if source:
        raise ValueError(f"the flat VAE has weights that the 3-D one has not: {', '.join(sorted(source))}")
