"""Files of PyTorch and zarr come in and go out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import laila
from laila.errors import FileFormatError
from laila.exchange import export, import_file

pytestmark = pytest.mark.field


class Runs:
    """An object whose pickle makes a file where it is loaded."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("it ran"),)


def test_weights_alone_come_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    model = torch.nn.Linear(3, 2)
    checkpoint = {"model": model.state_dict(), "epoch": 3, "groups": [{"lr": 0.1}]}
    torch.save(checkpoint, "c.pt")
    read: Any = laila.remember(import_file("c.pt", nickname="a torch file")).wait()
    found = read.resolve()
    assert torch.equal(found["model"]["weight"].data, model.weight)
    assert (found["epoch"].data, found["groups"].data) == (3, [{"lr": 0.1}])
    torch.save({"model": Runs()}, "bad.pth")
    with pytest.raises(FileFormatError, match="weights"):
        import_file("bad.pth")
    torch.save(model, "whole.pt")
    with pytest.raises(FileFormatError, match="state_dict"):
        import_file("whole.pt")
    assert not Path("it ran").exists()
    laila.Manifest({"w": model.weight.detach()}, nickname="torch weights", by="content").memorize().wait()
    with np.load(export("torch weights", "w.npz")) as arrays:
        np.testing.assert_array_equal(arrays["w"], model.weight.detach().numpy())


def test_zarr_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zarr = pytest.importorskip("zarr")
    monkeypatch.chdir(tmp_path)
    group = zarr.open_group("run.zarr", mode="w")
    group["a/x"] = np.arange(6.0).reshape(2, 3)
    group["y"] = np.arange(3, dtype="i2")
    gid = import_file("run.zarr", nickname="a zarr store")
    read: Any = laila.remember(gid).wait()
    found = read.resolve()
    np.testing.assert_array_equal(found["a"]["x"].data, group["a/x"][...])
    back = zarr.open_group(str(export(gid, "back.zarr")), mode="r")
    np.testing.assert_array_equal(back["a/x"][...], group["a/x"][...])
    assert back["y"].dtype == np.dtype("i2")
