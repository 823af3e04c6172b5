"""Preprocess a data set on a Dask cluster: the data stays in pools, the work goes to where the workers are.

    python examples/cluster/preprocess.py [--images URL] [--features URL] [--scheduler ADDRESS] [--run NAME]
        [--batch IMAGES] [--retries TIMES]

scikit-learn's 1,797 handwritten digits are stored in batches in one pool. Each batch is a task: a worker
fetches it, straightens its digits and describes them by the directions of their strokes, and stores what it
made in the other pool; only ids pass through Dask. A last task fetches all of it and trains a classifier, to
show that nothing is missing or mixed up. With `s3://…` and `redis://…` as the URLs, any number of machines
can take part; without a scheduler a local cluster of two processes is begun. A task may run twice without
harm, so that those of a worker that died are started again, ``--retries`` times.
"""

from __future__ import annotations

import argparse
import json
import os
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import laila
from laila.taskforce.dask import DaskTaskForce

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Array = npt.NDArray[np.float64]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it, and print what came of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", default="hdf5:images.h5", help="the pool for the images")
    parser.add_argument("--features", default="hdf5:features.h5", help="the pool for what is made of them")
    parser.add_argument("--scheduler", help="the address of a Dask scheduler; a local cluster without it")
    parser.add_argument("--run", default="digits", help="begins the nicknames of what is stored")
    parser.add_argument("--batch", type=int, default=100, help="how many images are one task")
    parser.add_argument("--retries", type=int, default=3, help="how often a task is started again")
    options = parser.parse_args(arguments)

    laila.memory.extend(options.images, pool_nickname="images")
    laila.memory.extend(options.features, pool_nickname="features")
    laila.command.add_taskforce(DaskTaskForce(options.scheduler, workers=2, retries=options.retries))

    batches = store_images(options.run, options.batch)
    tasks = [partial(preprocess, batch) for batch in batches]
    made = laila.command.submit(tasks, memorize_to="features").wait()
    accuracy, images = laila.command.submit(partial(evaluate, made), wait=True)
    workers = {
        entry.metadata["user"]["worker"] for entry in laila.remember(made, pool_nickname="features").wait()
    }
    summary = {"batches": len(made), "images": images, "accuracy": accuracy, "workers": sorted(workers)}
    print(json.dumps({**summary, "submitter": os.getpid(), "features": made}))
    laila.terminate()


def store_images(run: str, size: int) -> list[laila.Entry]:
    """Memorize the data set in batches; the entries that this returns go to tasks as references."""
    digits = load_digits()
    batches = [
        laila.constant(
            {"images": digits.images[at : at + size], "labels": digits.target[at : at + size]},
            nickname=f"{run} images {at}",
        )
        for at in range(0, len(digits.images), size)
    ]
    laila.memorize(batches, pool_nickname="images").wait()
    return batches


def preprocess(batch: laila.Entry) -> laila.Entry:
    """Describe a batch of images; runs in a worker, which fetches the batch and stores what this returns."""
    images = np.stack([straightened(image / 16) for image in batch.data["images"]])
    made = {"features": strokes(images), "labels": batch.data["labels"]}
    return laila.constant(
        made, nickname=f"{batch.nickname} features", metadata={"worker": os.getpid(), "of": batch.global_id}
    )


def straightened(image: Array) -> Array:
    """Undo the slant of a digit: each row moves by what the centre of mass leans to one side in it."""
    rows, columns = np.indices(image.shape)
    mass = image.sum()
    y, x = (rows * image).sum() / mass, (columns * image).sum() / mass
    slant = ((rows - y) * (columns - x) * image).sum() / ((rows - y) ** 2 * image).sum()
    moved = columns + slant * (rows - y)
    left = np.clip(np.floor(moved).astype(int), 0, image.shape[1] - 2)
    part = np.clip(moved - left, 0, 1)
    straight: Array = image[rows, left] * (1 - part) + image[rows, left + 1] * part
    return straight


def strokes(images: Array) -> Array:
    """Return for each image how much ink runs in each of eight directions, in each of sixteen places."""
    down, right = np.gradient(images, axis=(1, 2))
    strength = np.hypot(down, right)
    direction = np.floor((np.arctan2(down, right) + np.pi) / (2 * np.pi) * 8).astype(int) % 8
    apart = strength[..., None] * (direction[..., None] == np.arange(8))
    places = apart.reshape(len(images), 4, 2, 4, 2, 8).sum(axis=(2, 4))
    found: Array = np.concatenate([places.reshape(len(images), -1), images.reshape(len(images), -1)], axis=1)
    return found


def evaluate(made: list[str]) -> tuple[float, int]:
    """Train on two thirds of the images and return the accuracy on the rest; runs in a worker, too."""
    batches: list[dict[str, Any]] = [
        entry.data for entry in laila.remember(made, pool_nickname="features").wait()
    ]
    features = np.concatenate([batch["features"] for batch in batches])
    labels = np.concatenate([batch["labels"] for batch in batches])
    train = np.arange(len(labels)) % 3 != 0
    model = LogisticRegression(max_iter=2000).fit(features[train], labels[train])
    return round(float(model.score(features[~train], labels[~train])), 3), len(labels)


if __name__ == "__main__":
    main()
