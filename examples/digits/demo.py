"""laila's main job, on real data: train, store every epoch while training goes on, and recover it elsewhere.

    python examples/digits/demo.py [--pool URL] [--run NAME]

The first process trains a small network on scikit-learn's 1,797 handwritten digits and memorizes the data set
and every epoch's checkpoint through two tiers: memory, and the pool at URL. A second, fresh process, which is
told the run's name and the URL and nothing else, recovers all of it (see recover.py).
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from checkpoints import fingerprint, manifest_of, open_tiers
from classifier import Classifier, Recipe, load_digits, split
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import laila

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main", "train_and_store"]

HERE = Path(__file__).resolve().parent
SURVIVES = {"none": "–", "process": "process end", "power": "power loss"}


def train_and_store(run: str, epochs: int, progress: Progress) -> tuple[dict[str, str], float]:
    """Train, memorizing as it goes; return the fingerprint of each stored value, and the final accuracy."""
    images, labels = load_digits()
    train, test = split(len(labels))
    classifier = Classifier(Recipe())
    accuracy = 0.0

    trained = progress.add_task("train", total=epochs, note="")
    stored = progress.add_task("store", total=0, note="entries")
    fingerprints: dict[str, str] = {}

    def memorize(part: laila.Manifest) -> None:
        """Store a manifest with its entries, as they are now; the writing goes on beside the training."""
        fingerprints.update({entry.global_id: fingerprint(entry.data) for entry in part.pending()})
        written = laila.memorize(part)
        progress.update(stored, total=(progress.tasks[stored].total or 0) + len(written))
        written.add_callback("finished", lambda _: progress.advance(stored, len(written)))

    with laila.guarantee:  # waits at its end for whatever is still being written
        dataset = manifest_of(run, "dataset", {"images": images, "labels": labels})
        memorize(dataset)
        tree = {**dataset.blueprint}
        for _ in range(epochs):
            loss = classifier.train_epoch(images[train], labels[train])
            accuracy = classifier.accuracy(images[test], labels[test])
            parts = classifier.checkpoint(loss=loss, accuracy=accuracy)
            checkpoint = manifest_of(run, f"epoch {classifier.epoch:02d}", parts)
            memorize(checkpoint)
            tree |= checkpoint.blueprint
            progress.update(trained, advance=1, note=f"loss {loss:.4f}, test accuracy {accuracy:.2%}")

    # One manifest over all of it, under the one name that another process needs to know.
    facts = laila.Manifest({"fingerprints": laila.constant(fingerprints, nickname=f"{run}/fingerprints")})
    laila.memorize(facts).wait()
    laila.memorize(laila.Manifest({**tree, **facts.blueprint}, nickname=run)).wait()
    return fingerprints, accuracy


def recover_elsewhere(run: str, url: str, picture: Path) -> dict[str, Any]:
    """Run recover.py in a fresh process; return what it reports. It gets the name and the URL."""
    command = [
        sys.executable,
        str(HERE / "recover.py"),
        "--run",
        run,
        "--pool",
        url,
        "--picture",
        str(picture),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if not done.stdout:
        raise SystemExit(done.returncode or 1)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def show(console: Console, report: dict[str, Any], seconds: dict[str, float]) -> None:
    """Print the tables."""
    tiers = Table(title="the tiers, as the second process used them", title_justify="left")
    tiers.add_column("tier", style="bold")
    for column in ("entries", "bytes", "hits", "misses"):
        tiers.add_column(column, justify="right")
    tiers.add_column("survives")
    for tier in report["tiers"]:
        numbers = [f"{tier[column]:,}" for column in ("entries", "bytes", "hits", "misses")]
        tiers.add_row(tier["tier"], *numbers, SURVIVES[tier["survives"]])
    times = Table(title="time", title_justify="left")
    times.add_column("step", style="bold")
    times.add_column("ms", justify="right")
    for step, taken in {**seconds, **report["seconds"]}.items():
        times.add_row(step, f"{taken * 1000:,.1f}")
    console.print(tiers, times, sep="\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo that the command line describes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--pool", metavar="URL", help="where to store (default: digits.h5 in the output folder)"
    )
    parser.add_argument(
        "--run", default="digits", metavar="NAME", help="what to call the run (default: digits)"
    )
    parser.add_argument("--epochs", type=int, default=10, metavar="N", help="how long to train (default: 10)")
    parser.add_argument(
        "--output", type=Path, default=HERE / "out", metavar="FOLDER", help="for file and picture"
    )
    options = parser.parse_args(arguments)
    if options.epochs < 1:
        parser.error("--epochs takes 1 or more")
    output = options.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    url = options.pool or (output / "digits.h5").as_uri().replace("file", "hdf5", 1)
    picture = output / f"{Path(options.run).name}.png"
    console = Console()

    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    ]
    try:
        if open_tiers(url)[-1].durability == "none":
            print(
                f"demo.py: what {url} holds ends with this process; the second one needs to see it",
                file=sys.stderr,
            )
            return 1
        shown = re.sub(r"//[^/@]*@", "//…@", url)  # without a password
        console.print(f"run {options.run}, stored in memory and {shown}", soft_wrap=True, markup=False)
        start = perf_counter()
        with Progress(*columns, console=console) as progress:
            fingerprints, accuracy = train_and_store(options.run, options.epochs, progress)
        laila.terminate()
    except laila.LailaError as error:
        print(f"demo.py: {error}", file=sys.stderr)
        if isinstance(error, laila.errors.ImmutableEntryError):
            print(f"The store has another run {options.run!r}: choose a name with --run.", file=sys.stderr)
        return 1
    seconds = {"train and store": perf_counter() - start}

    start = perf_counter()
    report = recover_elsewhere(options.run, url, picture)
    seconds["the second process, in all"] = perf_counter() - start
    checks = {
        "every value is back, bit for bit": report["checks"]["fingerprints"]
        and report["fingerprints"] == fingerprints,
        "the data set is the one that scikit-learn ships": report["checks"]["dataset"],
        f"the recovered model is right as often: {accuracy!r}": report["checks"]["accuracy"]
        and report["accuracy"] == accuracy.hex(),
    }
    show(console, report, seconds)
    for check, passed in checks.items():
        console.print("[green]✔[/]" if passed else "[red]✘[/]", check)
    console.print(f"  and went on learning: {', '.join(f'{value:.2%}' for value in report['continued'])}")
    console.print(f"picture: {picture}", soft_wrap=True, markup=False, highlight=False)
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
