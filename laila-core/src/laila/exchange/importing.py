"""import_file(): store what a file of another tool holds, as arrays, tables, texts and images.

A file that has named parts (``.npz``, ``.safetensors``, ``.h5``, zarr, a PyTorch state dict) becomes a
manifest, any other file an entry. A folder becomes a manifest of its files: a folder of labelled images is a
dict of labels. A data set that Hugging Face ``datasets`` saved becomes its tables.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from laila.active import get_active_policy
from laila.errors import FileFormatError, InvalidValueError
from laila.exchange.formats import FORMATS, format_of, is_tree, read
from laila.exchange.needs import needed
from laila.exchange.trees import TreeWriter, is_branch, leaves_in
from laila.showing import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from laila.central.memory_verbs import MemoryVerbs

__all__ = ["import_file"]


def import_file(
    path: str | os.PathLike[str],
    memory: MemoryVerbs | None = None,
    *,
    nickname: str | None = None,
    pool_nickname: str | None = None,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> str:
    """Store what a file or folder holds. Blocks. Memory: one file, and 64 MiB.

    Nothing in a file is run: arrays of Python objects and pickled objects are refused.

    Args:
        path: A file of one of :data:`laila.exchange.formats.FORMATS`, or a folder of such files.
        memory: Where to: by default ``laila.memory``; or the memory of a peer.
        nickname: The name of the entry or manifest; by default the name of the file without its suffix.
        pool_nickname: The pool; by default the alpha pool.
        overwrite: Replace what has the name already. By default other content is refused.
        on_progress: Called with the number of leaves and of bytes that are stored so far.

    Returns:
        The global id of the entry or manifest.

    Raises:
        InvalidValueError: No format has this suffix (a ``ValueError``).
        FileFormatError: A file holds what could run code, or is damaged (a ``ValueError``).
        MissingPluginError: The library that reads the format is not installed (an ``ImportError``).
        ImmutableEntryError: The name is taken by other content (a ``RuntimeError``).
        OSError: A file could not be read.
    """
    from laila.entry import Entry, Manifest

    if memory is None:
        memory = get_active_policy().central.memory
    root = Path(os.path.abspath(path))
    name = nickname if nickname is not None else root.stem
    if not root.exists():
        raise FileNotFoundError(f"there is no file {shown(str(root))}")
    if format_of(root) in FORMATS and not is_tree(root):
        entry = Entry.constant(read(root), nickname=name)
        memory.memorize(entry, pool_nickname=pool_nickname, overwrite=overwrite).wait()
        return entry.global_id
    writer = TreeWriter(memory, pool_nickname)
    for keys, value in _parts(root):
        if writer.add(keys, value) and on_progress is not None:
            on_progress(writer.leaves, writer.nbytes)
    if not writer.leaves:
        raise FileFormatError(f"{shown(str(root))} is empty: nothing was stored", file=str(root))
    writer.flush()
    manifest = Manifest(writer.tree, nickname=name)
    memory.memorize_manifest(manifest, pool_nickname=pool_nickname, overwrite=overwrite).wait()
    return manifest.global_id


def _parts(root: Path) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Give the keys and the value of each leaf of a file or folder."""
    if format_of(root) in FORMATS:
        tree = read(root)
        yield from leaves_in(tree) if is_branch(tree) else [(("data",), tree)]
    elif (root / "dataset_dict.json").is_file():
        for split in _splits(root):
            yield (split,), _dataset(root / split)
    elif (root / "state.json").is_file():
        yield ("data",), _dataset(root)
    elif root.is_dir():
        yield from _folder(root)
    else:
        read(root)  # says which formats there are


def _folder(root: Path) -> Iterator[tuple[tuple[str, ...], Any]]:
    files = sorted(path for path in root.rglob("*") if path.is_file() and not _is_hidden(path, root))
    real = root.resolve()
    for path in files:
        if not path.resolve().is_relative_to(real):
            raise FileFormatError(
                f"{shown(str(path.relative_to(root)))} is a link out of the folder: cp -rL makes files of "
                "links",
                file=str(path),
            )
        if format_of(path) not in FORMATS:
            raise InvalidValueError(
                f"{shown(str(path.relative_to(root)))} is of no format that can be imported; laila put "
                "stores a folder as it is"
            )
    for path in files:
        value = read(path)
        keys = path.relative_to(root).parts
        if is_tree(path) and is_branch(value):
            yield from (((*keys, *rest), leaf) for rest, leaf in leaves_in(value))
        else:
            yield keys, value


def _is_hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _splits(root: Path) -> list[str]:
    """The splits of a data set, by its own list, which anybody may have written: each is a folder here."""
    splits = _object(root / "dataset_dict.json").get("splits")
    folders = {path.name for path in root.iterdir() if path.is_dir()}
    if not isinstance(splits, list) or not all(isinstance(split, str) for split in splits):
        raise FileFormatError(
            f"{shown(str(root / 'dataset_dict.json'))} has no list of splits", file=str(root)
        )
    missing = [split for split in splits if split not in folders]
    if missing:
        raise FileFormatError(f"the data set has no folder for its split {shown(missing[0])}", file=str(root))
    return splits


def _dataset(folder: Path) -> Any:
    """Read the Arrow files that ``state.json`` of a saved data set lists, as one table."""
    listed = _object(folder / "state.json").get("_data_files")
    listed = listed if isinstance(listed, list) else []
    there = {path.name for path in folder.iterdir() if path.is_file()}
    names = [file.get("filename") if isinstance(file, dict) else None for file in listed]
    if not names or not all(name in there for name in names):
        raise FileFormatError(
            f"{shown(str(folder / 'state.json'))} lists no files of this folder", file=str(folder)
        )
    arrow = needed("pyarrow", "pyarrow")
    return arrow.concat_tables([read(folder / str(name)) for name in names])


def _object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise FileFormatError(f"{shown(str(path))} is no JSON", file=str(path)) from error
    return value if isinstance(value, dict) else {}
