"""What a bag of words makes of the moods: the least that a model must beat.

Logistic regression over the words of a text (for Chinese its characters and their pairs), trained on the same
sentences as the model. `pieces` adds all runs of three to five letters, so that it knows a word's relatives too.
Neither knows order.
"""

import random
import re
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from generation.engine.chatdemo.moods import Sentence, sample_sentence
from generation.engine.chatdemo.vocabulary import MOODS

_WORD = re.compile(r"[a-z']+|[\u3400-\u9fff]+")


def words_in(text: str) -> list[str]:
    """English words; Chinese characters and pairs of them."""
    found: list[str] = []
    for word in _WORD.findall(text.lower()):
        if word[0] < "\u3400":
            found.append(word)
        else:
            found += [*word, *(word[at : at + 2] for at in range(len(word) - 1))]
    return found


def pieces_in(text: str) -> list[str]:
    """Words, and runs of three to five letters of the English ones."""
    found = words_in(text)
    for word in [word for word in found if word[0] < "\u3400"]:
        found += [f"~{word[at : at + n]}" for n in (3, 4, 5) for at in range(len(word) - n + 1)]
    return found


class BagOfWords:
    """A linear model over a bag of features; what training never saw counts nothing."""

    def __init__(self, features: Callable[[str], list[str]], *, sentences: int = 20000, seed: int = 0) -> None:
        self._features = features
        rng = random.Random(f"baseline {seed}")
        examples = [sample_sentence(rng, more=number % 2 == 1) for number in range(sentences)]
        names = sorted({name for example in examples for name in features(example.text)})
        self._ids = {name: number for number, name in enumerate(names)}
        torch.manual_seed(seed)
        self._bag = nn.EmbeddingBag(len(names), len(MOODS), mode="sum")
        nn.init.zeros_(self._bag.weight)
        self._bias = nn.Parameter(torch.zeros(len(MOODS)))
        self._train(examples)

    def _train(self, examples: Sequence[Sentence]) -> None:
        optimizer = torch.optim.AdamW([*self._bag.parameters(), self._bias], lr=0.03, weight_decay=1e-3)
        for start in range(0, 3 * len(examples), 500):
            part = examples[start % len(examples) :][:500]
            wanted = torch.tensor([MOODS.index(one.mood) for one in part])
            F.cross_entropy(self._score([one.text for one in part]), wanted).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def _score(self, texts: Sequence[str]) -> torch.Tensor:
        ids: list[int] = []
        offsets: list[int] = []
        for text in texts:
            offsets.append(len(ids))
            ids += [self._ids[name] for name in self._features(text) if name in self._ids]
        found: torch.Tensor = self._bag(torch.tensor(ids, dtype=torch.long), torch.tensor(offsets)) + self._bias
        return found

    @torch.no_grad()
    def judge(self, texts: Sequence[str]) -> list[str]:
        """The likeliest mood of each text."""
        return [MOODS[k] for k in self._score(texts).argmax(1).tolist()]
