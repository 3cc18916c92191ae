"""What: models on offer, generations, images, workers. `docs/data.md` describes every table."""

from generation.models.chat import ChatCall, ChatGrant, ChatModel, ChatTarget, PromptRule, Upstream
from generation.models.generation import Failure, Generation, Idempotency
from generation.models.golden import ComparedCase, Comparison, GoldenCase
from generation.models.image import Image, Receipt
from generation.models.inputfile import InputFile, InputUse
from generation.models.lora import Lora, LoraCost, LoraGrant
from generation.models.model import Model, ModelGrant
from generation.models.queue import Cost, FairClock, Pool, Worker
from generation.models.release import Lane, Release
from generation.models.selection import Selection
from generation.models.style import Style

__all__ = [
    "ChatCall",
    "ChatGrant",
    "ChatModel",
    "ChatTarget",
    "ComparedCase",
    "Comparison",
    "Cost",
    "Failure",
    "FairClock",
    "Generation",
    "GoldenCase",
    "Idempotency",
    "Image",
    "InputFile",
    "InputUse",
    "Lane",
    "Lora",
    "LoraCost",
    "LoraGrant",
    "Model",
    "ModelGrant",
    "Pool",
    "PromptRule",
    "Receipt",
    "Release",
    "Selection",
    "Style",
    "Upstream",
    "Worker",
]
