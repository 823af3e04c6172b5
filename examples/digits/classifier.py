"""A small neural network for 8 × 8 digits, and what a checkpoint of it consists of.

One hidden layer, trained by stochastic gradient descent with momentum. Everything that decides how training
goes on is in the checkpoint, the random generator included, so that a restored classifier continues exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn import datasets

import laila

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Labels = NDArray[np.int64]

__all__ = ["Classifier", "Recipe", "load_digits", "split"]


@laila.register_type  # so that any process that imports this module may rebuild one, without a signing key
@dataclass(frozen=True)
class Recipe:
    """The options of the training."""

    hidden: int = 32
    learning_rate: float = 0.02
    momentum: float = 0.9
    batch: int = 64
    seed: int = 7


def load_digits() -> tuple[Floats, Labels]:
    """The 1,797 digits that scikit-learn ships: images of 64 grey values from 0 to 16, and their labels."""
    images, labels = datasets.load_digits(return_X_y=True)
    return images, labels.astype(np.int64)


def split(count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Positions to train with and, every fourth, to test with."""
    every = np.arange(count)
    return every[every % 4 != 0], every[every % 4 == 0]


class Classifier:
    """64 grey values in, ten probabilities out. For one thread at a time."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.epoch = 0
        self.random = np.random.Generator(np.random.PCG64(recipe.seed))
        sizes = [("hidden", 64, recipe.hidden), ("output", recipe.hidden, 10)]
        self.weights: dict[str, Floats] = {}
        for name, inputs, outputs in sizes:
            self.weights[name] = self.random.normal(0.0, (2 / inputs) ** 0.5, (inputs, outputs))
            self.weights[f"{name} bias"] = np.zeros(outputs)
        self.velocity = {name: np.zeros_like(array) for name, array in self.weights.items()}

    # -- learning and predicting --------------------------------------------------------------------------

    def _forward(self, images: Floats) -> tuple[Floats, Floats, Floats]:
        scaled = images / 16 - 0.3
        active: Floats = np.maximum(scaled @ self.weights["hidden"] + self.weights["hidden bias"], 0)
        scores = active @ self.weights["output"] + self.weights["output bias"]
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return scaled, active, scores / scores.sum(axis=1, keepdims=True)

    def probabilities(self, images: Floats) -> Floats:
        """Probability of each digit (columns) for each image (rows)."""
        return self._forward(images)[2]

    def train_epoch(self, images: Floats, labels: Labels) -> float:
        """Go once through the images in random order; return the mean loss."""
        order = self.random.permutation(len(images))
        loss = 0.0
        for start in range(0, len(order), self.recipe.batch):
            batch = order[start : start + self.recipe.batch]
            scaled, active, guessed = self._forward(images[batch])
            loss -= float(np.log(guessed[np.arange(len(batch)), labels[batch]] + 1e-12).sum())
            error = guessed
            error[np.arange(len(batch)), labels[batch]] -= 1
            error /= len(batch)
            back = (error @ self.weights["output"].T) * (active > 0)
            slopes = {
                "hidden": scaled.T @ back,
                "hidden bias": back.sum(axis=0),
                "output": active.T @ error,
                "output bias": error.sum(axis=0),
            }
            for name, slope in slopes.items():
                self.velocity[name] *= self.recipe.momentum
                self.velocity[name] -= self.recipe.learning_rate * slope
                self.weights[name] += self.velocity[name]
        self.epoch += 1
        return loss / len(order)

    def accuracy(self, images: Floats, labels: Labels) -> float:
        """The share of images whose most probable digit is the right one."""
        return float((self.probabilities(images).argmax(axis=1) == labels).mean())

    # -- checkpoints --------------------------------------------------------------------------------------

    def checkpoint(self, *, loss: float, accuracy: float) -> dict[str, object]:
        """Everything it takes to go on from here, as parts to store: arrays, a tuple, odd keys, an object."""
        return {
            "weights": self.weights,
            "velocity": self.velocity,
            "layers": (64, self.recipe.hidden, 10),
            "log": {
                ("loss", "train"): loss,
                ("accuracy", "test"): accuracy,
                self.epoch: "epochs so far",
                None: "no key is too odd",
                b"rng": self.random.bit_generator.state,  # holds integers of 128 bits
            },
            "recipe": self.recipe,
        }

    @classmethod
    def restore(cls, parts: Mapping[str, Any]) -> Self:
        """The classifier that :meth:`checkpoint` described."""
        self = cls(parts["recipe"])
        self.weights, self.velocity = parts["weights"], parts["velocity"]
        log = parts["log"]
        self.epoch = next(key for key, meaning in log.items() if meaning == "epochs so far")
        self.random.bit_generator.state = log[b"rng"]
        return self
