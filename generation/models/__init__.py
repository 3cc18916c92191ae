"""What: models on offer, generations, images, workers. `docs/data.md` describes every table."""

from generation.models.generation import Failure, Generation, Idempotency
from generation.models.image import Image, Receipt
from generation.models.model import Model, ModelGrant
from generation.models.queue import Cost, FairClock, Pool, Worker

__all__ = [
    "Cost",
    "Failure",
    "FairClock",
    "Generation",
    "Idempotency",
    "Image",
    "Model",
    "ModelGrant",
    "Pool",
    "Receipt",
    "Worker",
]
