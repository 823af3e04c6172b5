"""Files of other tools come in and go out: `laila import`, `laila export`."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

import laila
from laila.cli import main
from laila.cli.opening import open_to_look, verbs_on
from laila.errors import FileFormatError, InvalidValueError
from laila.exchange import export, import_file

ARRAYS = {
    "w": np.arange(12, dtype="<f4").reshape(3, 4),
    "b": np.array(2.5),
    "layer/mask": np.array([[True], [False]]),
    "big-endian": np.arange(3, dtype=">i8"),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "empty": np.zeros((0, 5), "u1"),
    "complex": np.array([1j, 2]),
    "text": np.array(["a", "ütf"]),
    "record": np.array([(1, 2.0)], dtype=[("x", "i4"), ("y", "f8")]),
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAILA_POOL", "file:pool")


def value_of(name: str) -> Any:
    """What is stored under a name, a manifest as nested dicts."""
    with open_to_look("file:pool") as pool, verbs_on(pool):
        entry: Any = laila.remember(nickname=name).wait()
        return data_of(entry.resolve()) if isinstance(entry, laila.Manifest) else entry.data


def data_of(node: Any) -> Any:
    return {name: data_of(child) for name, child in node.items()} if isinstance(node, dict) else node.data


def check_same(found: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            check_same(found[key], expected[key])
    elif isinstance(expected, (np.ndarray, np.generic)):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(found, expected)
    else:
        assert type(found) is type(expected)
        assert found == expected


def test_npz_and_npy(capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("run.npz", **ARRAYS)  # type: ignore[arg-type]
    np.save("one.npy", ARRAYS["fortran"])
    assert main(["import", "run.npz", "one.npy"]) == 0
    check_same(value_of("run"), ARRAYS)
    check_same(value_of("one"), ARRAYS["fortran"])
    np.save("one.npy", ARRAYS["w"])
    assert main(["import", "one.npy"]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert main(["export", "run", "back.npz"]) == 0
    with np.load("back.npz", allow_pickle=False) as back:
        check_same(dict(back), ARRAYS)
    assert main(["export", "run", "back.npz"]) == 1, "nothing is replaced"
    assert main(["export", "one", "one-folder"]) == 0
    check_same(np.load("one-folder/data.npy"), ARRAYS["fortran"])


class Runs:
    """An object whose pickle makes a file where it is loaded."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("it ran"),)


@pytest.mark.parametrize(
    "name", ["a.npy", "a.npz", "a.json", "a.png", "a.parquet", "a.h5", "a.arrow", "a.csv"]
)
def test_what_would_run_code_or_is_damaged_is_refused(name: str) -> None:
    if name == "a.npy":
        np.save(name, np.array([Runs()], dtype=object), allow_pickle=True)
    elif name == "a.npz":
        with zipfile.ZipFile(name, "w") as archive:
            archive.writestr("x.npy", pickle.dumps(Runs()))
    else:
        Path(name).write_bytes(b"\x80\x05" + os.urandom(100))
    with pytest.raises((FileFormatError, OSError)) as caught:
        import_file(name)
    assert isinstance(caught.value, FileFormatError) or name in {"a.h5", "a.png"}
    assert not Path("it ran").exists()
    assert main(["import", name]) == 1


def test_hdf5_with_groups_texts_and_links() -> None:
    with h5py.File("other.h5", "w") as file:
        file["x"] = [1]
    with h5py.File("run.h5", "w") as file:
        file["layer/w"] = ARRAYS["w"]
        file["names"] = ["a", "ü"]
        file["scalar"] = 7
        file["title"] = "text"
    assert main(["import", "run.h5"]) == 0
    found = value_of("run")
    check_same(found["layer"]["w"], ARRAYS["w"])
    assert (found["names"], found["title"], int(found["scalar"])) == (["a", "ü"], "text", 7)
    with h5py.File("away.h5", "w") as file:
        file["away"] = h5py.ExternalLink("other.h5", "x")
    with pytest.raises(FileFormatError, match="another file"):
        import_file("away.h5")
    Path("secret").write_bytes(b"12345678")
    with h5py.File("raw.h5", "w") as file:
        file.create_dataset("x", (8,), "u1", external=[("secret", 0, 8)])
    layout = h5py.VirtualLayout((1,), "i8")
    layout[:] = h5py.VirtualSource("other.h5", "x", (1,))
    with h5py.File("virtual.h5", "w") as file:
        file.create_virtual_dataset("x", layout)
    for name in ("raw.h5", "virtual.h5"):
        with pytest.raises(FileFormatError, match="other files"):
            import_file(name)
    with h5py.File("loop.h5", "w") as file:
        file.create_group("a")["b"] = file["/"]
    with pytest.raises(FileFormatError, match="in itself"):
        import_file("loop.h5")
    import_numbers({"w": ARRAYS["w"], "b": ARRAYS["b"]}, "numbers")
    assert main(["export", "numbers", "numbers.h5"]) == 0
    with h5py.File("numbers.h5") as file:
        check_same({name: file[name][()] for name in ("w", "b")}, {"w": ARRAYS["w"], "b": np.float64(2.5)})


def import_numbers(arrays: dict[str, Any], name: str) -> None:
    np.savez(f"{name}.npz", **arrays)
    assert main(["import", f"{name}.npz"]) == 0


def test_tables() -> None:
    frame = pd.DataFrame({"x": [1, 2], "name": ["a", "b"]})
    frame.to_csv("t.csv", index=False)
    frame.to_parquet("p.parquet")
    Path("lines.jsonl").write_text('{"a": 1}\n\n{"a": [null, true]}\n')
    Path("conf.json").write_text('{"lr": 0.1, "layers": [1, 2]}')
    Path("note.txt").write_bytes("ü\r\n".encode())
    assert main(["import", "t.csv", "p.parquet", "lines.jsonl", "conf.json", "note.txt"]) == 0
    pd.testing.assert_frame_equal(value_of("t"), frame)
    assert value_of("p").to_pandas().equals(frame)
    check_same(value_of("lines"), [{"a": 1}, {"a": [None, True]}])
    check_same(value_of("conf"), {"lr": 0.1, "layers": [1, 2]})
    check_same(value_of("note"), "ü\r\n")
    assert main(["export", "t", "back.parquet"]) == 0
    assert pyarrow.parquet.read_table("back.parquet").to_pandas().equals(frame)
    assert main(["export", "p", "back.csv"]) == 0
    assert pd.read_csv("back.csv").equals(frame)
    assert main(["export", "conf", "back.json"]) == 0
    assert json.loads(Path("back.json").read_text()) == {"lr": 0.1, "layers": [1, 2]}


def test_folders_of_labelled_images_and_texts() -> None:
    for label, colour in (("cat", 10), ("dog", 200)):
        Path("pets", label).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (4, 3), (colour, number, 0)).save(f"pets/{label}/{number}.png")
    Path("pets/about.md").write_text("pets")
    Path("pets/.hidden").write_text("x")
    assert main(["import", "pets"]) == 0
    found = value_of("pets")
    assert {label: sorted(found[label]) for label in ("cat", "dog")} == {
        "cat": ["0.png", "1.png"],
        "dog": ["0.png", "1.png"],
    }
    assert found["dog"]["1.png"].getpixel((0, 0)) == (200, 1, 0)
    assert main(["export", "pets", "back"]) == 0
    assert sorted(path.as_posix() for path in Path("back").rglob("*.*")) == [
        "back/about.md.txt",
        "back/cat/0.png",
        "back/cat/1.png",
        "back/dog/0.png",
        "back/dog/1.png",
    ]
    with Image.open("back/dog/1.png") as image:
        assert image.getpixel((0, 0)) == (200, 1, 0)
    Path("elsewhere.txt").write_text("mine")
    Path("pets/cat/link.txt").symlink_to("../../elsewhere.txt")
    with pytest.raises(FileFormatError, match="a link out of the folder"):
        import_file("pets", nickname="other")
    Path("pets/cat/link.txt").unlink()
    Path("pets/cat/model.bin").write_bytes(b"")
    with pytest.raises(InvalidValueError, match=r"cat/model\.bin"):
        import_file("pets", nickname="other")


def test_a_saved_data_set() -> None:
    for split, values in (("train", [1, 2, 3]), ("test", [4])):
        Path("data", split).mkdir(parents=True)
        table = pa.table({"x": values})
        with (
            pa.OSFile(f"data/{split}/data-0.arrow", "wb") as file,
            pa.ipc.new_stream(file, table.schema) as out,
        ):
            out.write_table(table)
        Path(f"data/{split}/state.json").write_text('{"_data_files": [{"filename": "data-0.arrow"}]}')
    Path("data/dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert main(["import", "data"]) == 0
    assert {split: table["x"].to_pylist() for split, table in value_of("data").items()} == {
        "train": [1, 2, 3],
        "test": [4],
    }
    for text in ('{"_data_files": [{"filename": "../../secret.arrow"}]}', "[]", "{", '{"_data_files": 3}'):
        Path("data/test/state.json").write_text(text)
        with pytest.raises(FileFormatError):
            import_file("data", nickname="hostile")
    Path("data/dataset_dict.json").write_text('{"splits": ["../data/train"]}')
    with pytest.raises(FileFormatError, match="no folder for its split"):
        import_file("data", nickname="hostile")


def test_safetensors() -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    arrays = {name: ARRAYS[name] for name in ("w", "fortran", "layer/mask")}
    numpy.save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, "m.safetensors")
    assert main(["import", "m.safetensors"]) == 0
    assert main(["export", "m", "back.safetensors"]) == 0
    back = numpy.load_file("back.safetensors")
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)
    Path("bad.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(FileFormatError):
        import_file("bad.safetensors")


@pytest.mark.parametrize(
    ("value", "destination"),
    [
        ({"a": object}, "x.npz"),
        ([1], "x.npz"),
        (np.array([None]), "x.npz"),
        ({"a": (1, 2)}, "x.json"),
        (float("nan"), "x.json"),
        ([1], "x.csv"),
        ([1], "x.parquet"),
        ({1: 2}, "folder"),
    ],
)
def test_what_a_format_cannot_hold_is_said(value: object, destination: str) -> None:
    entry = laila.constant(value, nickname=f"unfit {destination} {value!r:.40}")
    laila.memorize(entry).wait()
    with pytest.raises(FileFormatError):
        export(entry.global_id, destination)
    assert os.listdir() == []


def test_wrong_names() -> None:
    Path("x.exe").write_bytes(b"")
    with pytest.raises(InvalidValueError, match="no format"):
        import_file("x.exe")
    with pytest.raises(FileNotFoundError):
        import_file("nothing.npz")
    with pytest.raises(InvalidValueError, match="no kind"):
        export("x", "y.docx")
    with pytest.raises(laila.errors.EntryNotFoundError):
        export("nobody has this name", "y.npz")
    Path("void").mkdir()
    with pytest.raises(FileFormatError, match="empty"):
        import_file("void")
