"""A training-time attention for the transformer: the same sums in real arithmetic, which a compiler can fuse.

diffusers rotates by complex numbers, which torch.compile leaves to slow fallbacks. The trained weights are used with
diffusers' own processor; a test holds that both agree.
"""

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor


def rotate(x: Tensor, freqs: Tensor) -> Tensor:
    """Rotate pairs of `x` (B, N, heads, D) by complex `freqs` (N, D / 2)."""
    cos, sin = freqs.real[None, :, None], freqs.imag[None, :, None]
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2).to(x.dtype)


class RealAttention:
    """`QwenDoubleStreamAttnProcessor2_0` without complex numbers."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        encoder_hidden_states_mask: Tensor,
        image_rotary_emb: tuple[Tensor, Tensor],
        attention_mask: None = None,
    ) -> tuple[Tensor, Tensor]:
        """Image (B, N, D), text (B, L, D) and the text's mask (B, L) to the attended image and text."""
        rows, text_length = encoder_hidden_states.shape[:2]
        image_freqs, text_freqs = image_rotary_emb

        def heads(x: Tensor) -> Tensor:
            split: Tensor = x.unflatten(-1, (attn.heads, -1))
            return split

        query = torch.cat(
            (
                rotate(attn.norm_added_q(heads(attn.add_q_proj(encoder_hidden_states))), text_freqs),
                rotate(attn.norm_q(heads(attn.to_q(hidden_states))), image_freqs),
            ),
            dim=1,
        )
        key = torch.cat(
            (
                rotate(attn.norm_added_k(heads(attn.add_k_proj(encoder_hidden_states))), text_freqs),
                rotate(attn.norm_k(heads(attn.to_k(hidden_states))), image_freqs),
            ),
            dim=1,
        )
        value = torch.cat((heads(attn.add_v_proj(encoder_hidden_states)), heads(attn.to_v(hidden_states))), dim=1)
        seen = torch.cat(
            (encoder_hidden_states_mask, encoder_hidden_states_mask.new_ones(rows, hidden_states.shape[1])), 1
        )
        # Written out: the backward pass of torch's fused attention took a third of every step at this size.
        bias = torch.zeros_like(seen, dtype=query.dtype).masked_fill(~seen, float("-inf"))[:, None, None]
        scores = query.transpose(1, 2) @ key.permute(0, 2, 3, 1) * query.shape[-1] ** -0.5 + bias
        out = scores.softmax(-1).to(value.dtype) @ value.transpose(1, 2)
        out = out.transpose(1, 2).flatten(2, 3)
        image: Tensor = attn.to_out[0](out[:, text_length:])
        text: Tensor = attn.to_add_out(out[:, :text_length])
        return image, text
