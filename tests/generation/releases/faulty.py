"""The product's engine with a fault planted into it: `gpuworker --engine tests.generation.releases.faulty:…`."""

from __future__ import annotations

from typing import Any

from generation.worker.engine import TorchEngine


class Disturbed(TorchEngine):
    """Weights that are a little wrong: pictures come out, and are not what they were."""

    def load(self, spec: Any) -> Any:
        import torch  # only the worker has it

        model = super().load(spec)
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for weight in model.family._pipe.transformer.parameters():  # type: ignore[attr-defined]
                if weight.ndim > 1:
                    noise = torch.randn(weight.shape, generator=generator) * 0.3 * weight.float().std()
                    weight.add_(noise.to(weight.dtype))
        return model
