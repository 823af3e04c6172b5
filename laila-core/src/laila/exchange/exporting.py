"""export(): write an entry or a manifest to a file that a colleague reads without laila."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

from laila.active import get_active_policy
from laila.errors import FileFormatError, InvalidValueError
from laila.exchange.needs import needed
from laila.exchange.record import RECORD, check_name
from laila.exchange.whole import put_in_place
from laila.showing import said, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator
    from typing import Any

    from laila.central.memory_verbs import MemoryVerbs

    Leaves = Iterator[tuple[tuple[str, ...], Any]]

__all__ = ["KINDS", "export"]

_BATCH = 64


def export(
    name: str,
    destination: str | os.PathLike[str],
    as_: str | None = None,
    memory: MemoryVerbs | None = None,
    *,
    pool_nickname: str | None = None,
    on_progress: Callable[[int, int], object] | None = None,
) -> Path:
    """Write what is stored under a name to a new file or folder. Blocks.

    Args:
        name: The nickname or global id of an entry or a manifest.
        destination: The path of the new file or folder.
        as_: One of :data:`KINDS`: ``npz``, ``safetensors``, ``hdf5``, ``zarr``, ``parquet``, ``csv``,
            ``json``, or ``folder``, a file for each leaf; by default what the suffix of ``destination`` says.
        memory: Where from: by default ``laila.memory``; or the memory of a peer.
        pool_nickname: The pool; by default the alpha pool.
        on_progress: Called with the number of leaves that are written so far, and of all.

    Returns:
        The path. Nothing is there until all of it is. Memory: 64 leaves at a time; all for safetensors.

    Raises:
        InvalidValueError: There is no such kind (a ``ValueError``).
        FileFormatError: The format cannot hold a leaf exactly; the error names the leaf (a ``ValueError``).
        EntryNotFoundError: There is nothing of that name (a ``KeyError``).
        MissingPluginError: The library that writes the format is not installed (an ``ImportError``).
        FileExistsError: The destination exists.
    """
    if memory is None:
        memory = get_active_policy().central.memory
    target = Path(destination)
    kind = as_ if as_ is not None else _SUFFIXES.get(target.suffix.lower(), "")
    write = KINDS.get(kind)
    if write is None:
        raise InvalidValueError(
            f"{shown(kind or target.suffix)} is no kind of file that can be written: {', '.join(KINDS)}"
        )
    if target.exists() or target.is_symlink():
        raise FileExistsError(
            f"{shown(str(target))} is there already: name another destination, or move it away"
        )
    with _whole(target) as temporary:
        write(temporary, _leaves(name, memory, pool_nickname, on_progress))
    return target


def _leaves(
    name: str,
    memory: MemoryVerbs,
    pool_nickname: str | None,
    on_progress: Callable[[int, int], object] | None,
) -> Leaves:
    """Read the leaves of a manifest, some at a time; of an entry its data, under no key."""
    from laila.entry import Manifest
    from laila.exchange.trees import leaves_in

    if name.startswith("LAILA:"):
        entry: Any = memory.remember(name, pool_nickname=pool_nickname).wait()
    else:
        entry = memory.remember(nickname=name, pool_nickname=pool_nickname).wait()
    if not isinstance(entry, Manifest):
        yield (), entry.data
        return
    tree = {key: child for key, child in entry.blueprint.items() if key != RECORD}
    leaves = list(leaves_in(tree))
    for start in range(0, len(leaves), _BATCH):
        part = leaves[start : start + _BATCH]
        for path, value in part:
            if not isinstance(value, str):
                raise FileFormatError(f"{_text(path)} is a list of entries, which no file has", file=name)
        read: Any = memory.remember([key for _, key in part], pool_nickname=pool_nickname).wait()
        for (path, _), leaf in zip(part, read, strict=True):
            yield path, leaf.data
        if on_progress is not None:
            on_progress(start + len(part), len(leaves))


def _text(path: tuple[str, ...]) -> str:
    return f"the leaf {shown('/'.join(path))}" if path else "the entry"


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """Give a path beside the target; what is there at the end becomes the target, or is deleted."""
    temporary = target.with_name(f".{target.name[:200]}.{token_hex(4)}.part")
    try:
        yield temporary
        put_in_place(temporary, target)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def _array(path: tuple[str, ...], value: Any, kind: str) -> Any:
    """Return a value as an array; refuse what would not come back as it is."""
    np = needed("numpy", "numpy")
    if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach"):
        try:
            value = value.detach().cpu().numpy()
        except TypeError as error:  # a dtype that numpy lacks
            raise FileFormatError(
                f"{_text(path)} does not fit into {kind}: {said(error)}", file=kind
            ) from error
    if not isinstance(value, (np.ndarray, np.generic, bool, int, float, complex)):
        raise FileFormatError(
            f"{_text(path)} is a {type(value).__name__}, and {kind} holds arrays alone; export a folder",
            file=kind,
        )
    array = np.asarray(value)
    if array.dtype.hasobject:
        raise FileFormatError(f"{_text(path)} is an array of objects, which {kind} cannot hold", file=kind)
    return array


def _key(path: tuple[str, ...], separator: str = "/") -> str:
    return separator.join(path) or "data"


def _npz(target: Path, leaves: Leaves) -> None:
    import zipfile

    np = needed("numpy", "numpy")
    with zipfile.ZipFile(target, "x", allowZip64=True) as archive:
        for path, value in leaves:
            array = _array(path, value, "npz")
            with archive.open(f"{_key(path)}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def _safetensors(target: Path, leaves: Leaves) -> None:
    np = needed("numpy", "numpy")
    arrays = {_key(path, "."): _array(path, value, "safetensors") for path, value in leaves}
    # Only memory in the order of C is written right.
    needed("safetensors.numpy", "safetensors").save_file(
        {key: np.ascontiguousarray(array).reshape(array.shape) for key, array in arrays.items()}, target
    )


def _hdf5(target: Path, leaves: Leaves) -> None:
    h5py = needed("h5py", "h5py")
    with h5py.File(target, "x") as file:
        for path, value in leaves:
            data = value if isinstance(value, (str, bytes)) else _array(path, value, "hdf5")
            try:
                file.create_dataset(_key(path), data=data)
            except (TypeError, ValueError) as error:
                raise FileFormatError(
                    f"{_text(path)} does not fit into hdf5: {said(error)}", file="hdf5"
                ) from error


def _zarr(target: Path, leaves: Leaves) -> None:
    zarr = needed("zarr", "zarr")
    group = zarr.open_group(str(target), mode="w-")
    for path, value in leaves:
        group[_key(path)] = _array(path, value, "zarr")


def _table(value: Any) -> Any:
    """Return an Arrow table of a table or frame; None for anything else."""
    arrow = needed("pyarrow", "pyarrow")
    if isinstance(value, arrow.Table):
        return value
    if isinstance(value, arrow.RecordBatch):
        return arrow.Table.from_batches([value])
    library, name = type(value).__module__.partition(".")[0], type(value).__name__
    if (library, name) == ("pandas", "DataFrame"):
        return arrow.Table.from_pandas(value)
    if (library, name) == ("polars", "DataFrame"):
        return value.to_arrow()
    return None


def _only(leaves: Leaves, kind: str) -> Any:
    """The one leaf that a format holds."""
    every = list(leaves)
    if len(every) != 1:
        raise FileFormatError(
            f"{kind} holds one entry, and there are {len(every)}; export a folder", file=kind
        )
    return every[0]


def _parquet(target: Path, leaves: Leaves) -> None:
    path, value = _only(leaves, "parquet")
    table = _table(value)
    if table is None:
        raise FileFormatError(
            f"{_text(path)} is a {type(value).__name__}, and parquet holds a table", file="parquet"
        )
    needed("pyarrow.parquet", "pyarrow").write_table(table, target)


def _csv(target: Path, leaves: Leaves) -> None:
    path, value = _only(leaves, "csv")
    table = _table(value)
    if table is None:
        raise FileFormatError(f"{_text(path)} is a {type(value).__name__}, and csv holds a table", file="csv")
    needed("pyarrow.csv", "pyarrow").write_csv(table, target)


def _json_text(path: tuple[str, ...], value: Any) -> str:
    """Write a value as JSON, if JSON gives the same value back."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        same = json.loads(text) == value
    except (TypeError, ValueError, RecursionError) as error:
        raise FileFormatError(f"{_text(path)} does not fit into JSON: {said(error)}", file="json") from error
    if not same:
        raise FileFormatError(f"{_text(path)} would come back from JSON as something else", file="json")
    return text


def _json(target: Path, leaves: Leaves) -> None:
    path, value = _only(leaves, "json")
    target.write_text(_json_text(path, value), "utf-8")


def _folder(target: Path, leaves: Leaves) -> None:
    """A file for each leaf, of the format that is right for it."""
    target.mkdir()
    for path, value in leaves:
        names = path or ("data",)
        file = target.joinpath(*map(check_name, names))
        file.parent.mkdir(parents=True, exist_ok=True)
        _write_leaf(file, path, value)


def _write_leaf(file: Path, path: tuple[str, ...], value: Any) -> None:
    def named(suffix: str) -> Path:
        named = file if file.suffix.lower() == suffix else file.with_name(file.name + suffix)
        if named.exists():
            raise FileFormatError(f"{_text(path)} would have the file name of another leaf", file=str(named))
        return named

    if isinstance(value, (bytes, bytearray, memoryview)):
        (file if not file.exists() else named(".bin")).write_bytes(value)
    elif isinstance(value, str):
        named(".txt").write_bytes(value.encode())
    elif type(value).__module__.startswith("PIL."):
        kept = file.suffix.lower() in {".png", ".tif", ".tiff", ".bmp"}  # they lose no pixel
        value.save(named(file.suffix.lower() if kept else ".png"))
    elif type(value).__name__ in {"DataFrame", "Table", "RecordBatch"}:
        needed("pyarrow.parquet", "pyarrow").write_table(_table(value), named(".parquet"))
    elif hasattr(value, "dtype") and hasattr(value, "shape"):
        array = _array(path, value, "npy")
        with named(".npy").open("xb") as opened:
            needed("numpy", "numpy").save(opened, array, allow_pickle=False)
    else:
        named(".json").write_text(_json_text(path, value), "utf-8")


KINDS: dict[str, Callable[[Path, Leaves], None]] = {
    "npz": _npz,
    "safetensors": _safetensors,
    "hdf5": _hdf5,
    "zarr": _zarr,
    "parquet": _parquet,
    "csv": _csv,
    "json": _json,
    "folder": _folder,
}
"""The kinds of files that are written."""

_SUFFIXES = {
    ".npz": "npz",
    ".safetensors": "safetensors",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".zarr": "zarr",
    ".parquet": "parquet",
    ".csv": "csv",
    ".json": "json",
    "": "folder",
}
