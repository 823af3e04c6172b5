"""The second process of the demo: knows a name and a URL, and gets back the whole run.

It remembers the manifest, checks every value against its fingerprint, predicts with the last checkpoint, goes
on training from it, draws a picture, and prints what it found as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from checkpoints import fingerprint, manifest_of, open_tiers
from classifier import Classifier, load_digits, split
from picture import draw

import laila

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main", "recover"]


def recover(run: str, url: str, *, more: int, picture: Path) -> dict[str, Any]:
    """Do all of it; return what the first process wants to know."""
    tiers = open_tiers(url)

    # Twice: the first time from the last tier, the second time from memory.
    start = perf_counter()
    manifest = laila.remember(nickname=run, scope="MANIFEST").result
    manifest.remember().wait()
    seconds = {"remember, from the last tier": perf_counter() - start}
    start = perf_counter()
    tree = manifest.resolved
    seconds["remember, from memory"] = perf_counter() - start

    # What came back is what went in: the first process took these fingerprints from its own objects.
    expected = tree["fingerprints"].data
    parts = [entry for name, parts in tree.items() if name != "fingerprints" for entry in parts.values()]
    found = {entry.global_id: fingerprint(entry.data) for entry in parts}
    images, labels = (tree["dataset"][part].data for part in ("images", "labels"))
    shipped = load_digits()
    checks = {
        "fingerprints": found == expected,
        "dataset": bool(np.array_equal(images, shipped[0]) and np.array_equal(labels, shipped[1])),
    }

    # The recovered model, as good as it was.
    epochs = [name for name in tree if name.startswith("epoch")]
    last = {part: entry.data for part, entry in tree[epochs[-1]].items()}
    classifier = Classifier.restore(last)
    train, test = split(len(labels))
    recovered = classifier.accuracy(images[test], labels[test])
    checks["accuracy"] = recovered == last["log"]["accuracy", "test"]
    probabilities = classifier.probabilities(images[test])
    curve = [tree[name]["log"].data["accuracy", "test"] for name in epochs]

    # Training goes on where it stopped, and its checkpoints go to the same store.
    continued = []
    with laila.guarantee:
        for _ in range(more):
            loss = classifier.train_epoch(images[train], labels[train])
            continued.append(classifier.accuracy(images[test], labels[test]))
            checkpoint = classifier.checkpoint(loss=loss, accuracy=continued[-1])
            laila.memorize(manifest_of(run, f"epoch {classifier.epoch:02d}", checkpoint))

    draw(picture, images[test], labels[test], probabilities, curve, continued)
    keys = [*manifest, manifest.global_id]
    counts = [tier_facts(tier, keys) for tier in tiers]
    laila.terminate()
    return {
        "checks": checks,
        "fingerprints": found,
        "accuracy": recovered.hex(),
        "continued": continued,
        "tiers": counts,
        "seconds": seconds,
    }


def tier_facts(tier: laila.Pool, keys: Sequence[str]) -> dict[str, Any]:
    """Return the entries and bytes of the run that one tier holds, with its hits and misses."""
    heads = [head for head in map(tier.read_head, keys) if head is not None]
    return {
        "tier": tier.nickname or type(tier).__name__,
        "survives": tier.durability,
        "entries": len(heads),
        "bytes": sum(head.nbytes for head in heads),
        "hits": tier.hits,
        "misses": tier.misses,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Recover the run that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", required=True, metavar="NAME", help="the nickname of the run's manifest")
    parser.add_argument("--pool", required=True, metavar="URL", help="where it is stored")
    parser.add_argument("--more", type=int, default=3, metavar="EPOCHS", help="how far to go on training")
    parser.add_argument("--picture", type=Path, default=Path("digits.png"), metavar="FILE.png")
    options = parser.parse_args(arguments)
    try:
        found = recover(options.run, options.pool, more=options.more, picture=options.picture)
    except laila.LailaError as error:
        print(f"recover.py: {error}", file=sys.stderr)
        return 1
    print(json.dumps(found, indent=2))
    return 0 if all(found["checks"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
