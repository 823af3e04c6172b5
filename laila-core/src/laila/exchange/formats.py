"""The formats that files are imported from: what each gives, and which library reads it.

A reader returns a tree: nested dicts of names, whose leaves are what laila stores as data. No reader runs
code from the file: pickles are refused, and PyTorch files are read as weights only.
"""

from __future__ import annotations

import json
from contextlib import contextmanager

from laila.errors import FileFormatError, InvalidValueError, LailaError
from laila.exchange.needs import needed
from laila.showing import said, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    Tree = dict[str, Any]
    """Nested dicts with text keys. A leaf is an object of any other type."""

__all__ = ["FORMATS", "format_of", "is_tree", "read"]


_PICKLES = "an array of Python objects is a pickle, which could run code"
_WEIGHTS = "weights are imported and no other objects: save model.state_dict()"


@contextmanager
def _advice(path: Path, advice: str) -> Iterator[None]:
    """Add to what a library says of a file that it refuses."""
    try:
        yield
    except (OSError, LailaError):
        raise
    except Exception as error:
        raise FileFormatError(
            f"{shown(str(path))} cannot be imported: {said(error)}; {advice}", file=str(path)
        ) from error


def _npy(path: Path) -> Any:
    with _advice(path, _PICKLES):
        return needed("numpy", "numpy").load(path, allow_pickle=False)


def _npz(path: Path) -> Tree:
    with _advice(path, _PICKLES), needed("numpy", "numpy").load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
        odd = [name for name, array in arrays.items() if not hasattr(array, "dtype")]
        if odd:
            raise ValueError(f"{shown(odd[0])} is no array")
        return arrays


def _safetensors(path: Path) -> Tree:
    numpy = needed("safetensors.numpy", "safetensors")
    tree: Tree = numpy.load_file(path)
    return tree


def _torch(path: Path) -> Any:
    torch = needed("torch", "torch")
    with _advice(path, _WEIGHTS):
        return torch.load(path, map_location="cpu", weights_only=True)


def _csv(path: Path) -> Any:
    return needed("pandas", "pandas").read_csv(path)


def _parquet(path: Path) -> Any:
    return needed("pyarrow.parquet", "pyarrow").read_table(path)


def _arrow(path: Path) -> Any:
    arrow = needed("pyarrow", "pyarrow")
    with arrow.OSFile(str(path)) as file:
        try:
            return arrow.ipc.open_file(file).read_all()
        except arrow.ArrowInvalid:
            file.seek(0)
            with _advice(path, "an Arrow file or stream is imported"):
                try:
                    return arrow.ipc.open_stream(file).read_all()  # what Hugging Face datasets write
                except OSError as error:  # Arrow's word for a damaged stream
                    raise ValueError(said(error)) from error


def _json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def _json_lines(path: Path) -> Any:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8")


def _image(path: Path) -> Any:
    image = needed("PIL.Image", "pillow").open(path)
    image.load()  # what is no image fails here, before anything is stored
    return image


def _hdf5(path: Path) -> Tree:
    h5py = needed("h5py", "h5py")
    with h5py.File(path, "r") as file:
        return _hdf5_group(h5py, file, "", set())


def _hdf5_group(h5py: Any, group: Any, place: str, above: set[Any]) -> Tree:
    """Read a group. A file may refer to a group from within it, and to other files: neither is followed."""
    if group.id.__hash__() in above:
        raise FileFormatError(f"the group {shown(place)} lies in itself", file=place)
    tree: Tree = {}
    for name in group:
        path = f"{place}/{name}"
        if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
            raise FileFormatError(f"{shown(path)} lies in another file: import that file", file=path)
        child = group[name]
        if isinstance(child, h5py.Group):
            tree[name] = _hdf5_group(h5py, child, path, above | {group.id.__hash__()})
        elif child.external or child.is_virtual:
            raise FileFormatError(
                f"{shown(path)} takes its values out of other files: import those", file=path
            )
        elif child.dtype.hasobject:
            text = h5py.check_string_dtype(child.dtype)
            if text is None:
                raise FileFormatError(f"{shown(path)} holds references or rows of several lengths", file=path)
            values = child.asstr()[()] if text.encoding == "utf-8" else child[()]
            tree[name] = values.tolist() if hasattr(values, "tolist") else values
        else:
            tree[name] = child[()]
    return tree


def _zarr(path: Path) -> Any:
    zarr = needed("zarr", "zarr")
    return _zarr_node(zarr, zarr.open(str(path), mode="r"))


def _zarr_node(zarr: Any, node: Any) -> Any:
    if isinstance(node, zarr.Array):
        return node[...]
    return {name: _zarr_node(zarr, child) for name, child in node.members()}


FORMATS: dict[str, Callable[[Path], Any]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".safetensors": _safetensors,
    ".pt": _torch,
    ".pth": _torch,
    ".csv": _csv,
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".feather": _arrow,
    ".json": _json,
    ".jsonl": _json_lines,
    ".txt": _text,
    ".md": _text,
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp"), _image),
    **dict.fromkeys((".h5", ".hdf5"), _hdf5),
    ".zarr": _zarr,
}
"""The reader of each suffix, in small letters."""


_TREES = frozenset({".npz", ".safetensors", ".pt", ".pth", ".h5", ".hdf5", ".zarr"})


def is_tree(path: Path) -> bool:
    """Whether a file has named parts that become an entry each; ``.json`` stays one entry."""
    return format_of(path) in _TREES


def format_of(path: Path) -> str:
    """Return the suffix that says how a path is read; ``.zarr`` for a folder that is a zarr store."""
    suffix = path.suffix.lower()
    if path.is_dir() and any((path / name).exists() for name in (".zgroup", ".zarray", "zarr.json")):
        return ".zarr"
    return suffix


def read(path: Path) -> Any:
    """Read a file, whole.

    Args:
        path: The file; of zarr the folder.

    Returns:
        A dict with text keys for what has parts, else the object.

    Raises:
        InvalidValueError: No format has this suffix (a ``ValueError``).
        FileFormatError: The file holds what could run code, or is damaged (a ``ValueError``).
        MissingPluginError: The library that reads it is not installed (an ``ImportError``).
        OSError: The file cannot be read.
    """
    suffix = format_of(path)
    reader = FORMATS.get(suffix)
    if reader is None:
        raise InvalidValueError(
            f"{shown(path.name)} is of no format that can be imported ({' '.join(FORMATS)}); laila put "
            "stores any file as it is"
        )
    try:
        return reader(path)
    except (OSError, LailaError):
        raise
    except Exception as error:
        raise FileFormatError(
            f"{shown(str(path))} cannot be imported: {said(error)}", file=str(path)
        ) from error
