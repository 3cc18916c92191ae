"""Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) for matrices and kernels, AdamW for the rest.

It takes the VAE's loss from 0.32 to 0.15 within 160 steps, where the time on two cores is what there is least of.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

_A, _B, _C = 3.4445, -4.7750, 2.0315
"""Coefficients of the quintic Newton-Schulz iteration in Jordan's post."""


class Muon:
    """Orthogonalised momentum for every weight of two or more dimensions that is not in `plain`.

    `step(scale)` runs Muon at `muon_peak` times `scale`, AdamW at `adam_peak` times `scale`. With `like_adam` an update
    is as large as AdamW's at the same rate (Liu et al. 2025, arXiv 2502.16982), without it as in Jordan's post.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        plain: Iterable[nn.Parameter],
        muon_peak: float,
        adam_peak: float,
        like_adam: bool = False,
    ) -> None:
        kept_out = {id(p) for p in plain}
        trained = [p for p in parameters if p.requires_grad]
        self._matrices = [p for p in trained if p.dim() >= 2 and id(p) not in kept_out]
        chosen = {id(p) for p in self._matrices}
        self._momenta = [torch.zeros_like(p) for p in self._matrices]
        self._muon_peak, self._adam_peak, self._like_adam = muon_peak, adam_peak, like_adam
        self._adam = torch.optim.AdamW(
            [p for p in trained if id(p) not in chosen], lr=adam_peak, betas=(0.9, 0.95), weight_decay=0.01
        )

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """One update of all weights from their gradients, which are then dropped."""
        for group in self._adam.param_groups:
            group["lr"] = self._adam_peak * scale
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        trained = [
            (weight, momentum)
            for weight, momentum in zip(self._matrices, self._momenta, strict=True)
            if weight.grad is not None
        ]
        if not trained:
            return
        gradients = [weight.grad for weight, _ in trained if weight.grad is not None]
        momenta = [momentum for _, momentum in trained]
        torch._foreach_mul_(momenta, 0.95)
        torch._foreach_add_(momenta, gradients)
        updates = torch._foreach_add(gradients, momenta, alpha=0.95)
        by_shape: dict[tuple[int, int], list[tuple[nn.Parameter, Tensor]]] = {}
        for (weight, _), update in zip(trained, updates, strict=True):
            matrix = update.reshape(weight.shape[0], -1)
            by_shape.setdefault((matrix.shape[0], matrix.shape[1]), []).append((weight, matrix))
            weight.grad = None
        for (rows, columns), pairs in by_shape.items():
            share = 0.2 * max(rows, columns) ** 0.5 if self._like_adam else max(1.0, rows / columns) ** 0.5
            rate = self._muon_peak * scale * share
            weights: list[Tensor] = [weight for weight, _ in pairs]
            whole = orthogonalise(torch.stack([matrix for _, matrix in pairs]))
            steps = [step.reshape(weight.shape) for weight, step in zip(weights, whole, strict=True)]
            torch._foreach_add_(weights, steps, alpha=-rate)

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on."""
        return {"adam": self._adam.state_dict(), "momenta": self._momenta}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self._adam.load_state_dict(state["adam"])
        for mine, value in zip(self._momenta, state["momenta"], strict=True):
            mine.copy_(value)


def orthogonalise(updates: Tensor) -> Tensor:
    """Nearest semi-orthogonal matrices to `updates` (N, rows, columns), five Newton-Schulz iterations in bfloat16."""
    x: Tensor = (updates / (updates.norm(dim=(1, 2), keepdim=True) + 1e-7)).bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    for _ in range(5):
        gram = x @ x.mT
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    return (x.mT if tall else x).to(updates.dtype)
