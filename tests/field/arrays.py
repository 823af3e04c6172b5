"""Arrays, tensors, tables and images."""

from __future__ import annotations

from typing import Any

from field.registry import library


@library
def numpy() -> dict[str, Any]:
    import numpy as np

    rng = np.random.default_rng(7)
    structured = np.zeros(3, dtype=np.dtype([("a", "i1"), ("b", "f8"), ("c", "U3", (2,))], align=True))
    structured["b"] = [1.5, np.nan, -0.0]
    masked = np.ma.array([1.0, 2.0, 3.0], mask=[False, True, False], fill_value=-1)
    whole = np.arange(12.0).reshape(3, 4)
    record = np.rec.array([(1, "a"), (2, "b")], dtype=[("x", "i4"), ("y", "U2")])
    return {
        "float64": np.linspace(0, 1, 100),
        "big endian": np.arange(10, dtype=">i2"),
        "Fortran order": np.asfortranarray(rng.random((5, 4))),
        "negative strides": np.arange(10)[::-2],
        "zero dimensions": np.array(3.5),
        "empty": np.empty((0, 3), dtype="c8"),
        "bool": rng.random(17) > 0.5,
        "text": np.array(["a", "bc", ""]),
        "bytes": np.array([b"a", b"bc\0x"]),
        "objects": np.array([1, "a", None, [2]], dtype=object),
        "datetime64": np.array(["2020-01-01", "NaT"], dtype="M8[ns]"),
        "timedelta64": np.array([1, 2], dtype="m8[25s]"),
        "structured": structured,
        "masked": masked,
        "masked structured": np.ma.array([(1, 2.0)], mask=[(True, False)], dtype=[("a", "i4"), ("b", "f8")]),
        "recarray": record,
        "record": record[0],
        "matrix": np.matrix([[1, 2], [3, 4]]),
        "scalars": [
            np.float32(1.5),
            np.int8(-3),
            np.bool_(True),
            np.complex64(1j),
            np.datetime64("2020", "Y"),
        ],
        "str_ and bytes_": [np.str_("a\0"), np.bytes_(b"b\0")],
        "void": np.void(b"abc"),
        "dtype": np.dtype([("a", "<f4"), ("b", ">i8", 3)]),
        "array and its view": [whole, whole[1], whole.T],
        "Generator": np.random.default_rng(3),
        "RandomState": np.random.RandomState(3),
        "SeedSequence": np.random.SeedSequence(5).spawn(1)[0],
        "poly1d": np.poly1d([1, -2, 3]),
        "Chebyshev": np.polynomial.Chebyshev([1, 2], domain=[0, 1]),
        "functions and limits": [np.sin, np.add, np.iinfo("i4")],
        "Polynomial": np.polynomial.Polynomial([1, 2, 3]),
        "StringDType": np.array(["a", "longer than that"], dtype=np.dtypes.StringDType()),
        "longdouble": np.array([1, 2], dtype=np.longdouble),
    }


@library
def pandas() -> dict[str, Any]:
    import numpy as np
    import pandas as pd

    days = pd.date_range("2024-01-01", periods=4, freq="D", tz="Europe/Berlin", name="day")
    levels = pd.MultiIndex.from_product([["b", "a"], [1, 2]], names=["x", None])
    frame = pd.DataFrame({"a": [1, 2, 3, 4], "b": [1.5, np.nan, 2, -0.0], "c": list("wxyz")}, index=days)
    frame.attrs["unit"] = "m"
    return {
        "DataFrame": frame,
        "numbered columns": pd.DataFrame(np.arange(6.0).reshape(2, 3)),
        "MultiIndex rows and columns": pd.DataFrame(
            np.arange(16).reshape(4, 4), index=levels, columns=levels
        ),
        "empty frame": pd.DataFrame(index=[1, 2]),
        "duplicate columns": pd.DataFrame([[1, 2]], columns=["a", "a"]),
        "mixed objects": pd.DataFrame({"a": [1, "x", None, (2,)]}),
        "categories": pd.Series(["a", "b", "a"], dtype=pd.CategoricalDtype(["b", "a", "z"], ordered=True)),
        "nullable": pd.DataFrame({"i": pd.array([1, None], "Int64"), "b": pd.array([True, None], "boolean")}),
        "string": pd.Series(["a", None], dtype="string"),
        "arrow backed": pd.Series([1, None], dtype="int64[pyarrow]"),
        "period": pd.Series(pd.period_range("2024-01", periods=3, freq="M")),
        "interval": pd.Series(pd.interval_range(0, 3)),
        "sparse": pd.Series(pd.arrays.SparseArray([0, 0, 1])),
        "Series named by a number": pd.Series([1, 2], name=0),
        "time zones": pd.Series(pd.to_datetime(["2024-01-01", None]).tz_localize("UTC")),
        "timedelta": pd.Series(pd.to_timedelta([1, 2], unit="s")),
        "DatetimeIndex": days,
        "RangeIndex": pd.RangeIndex(0, 10, 3, name="r"),
        "MultiIndex": levels,
        "CategoricalIndex": pd.CategoricalIndex(["a", "b"]),
        "IntervalIndex": pd.IntervalIndex.from_breaks([0, 1, 2]),
        "Timestamp": pd.Timestamp("2024-01-01 12:00", tz="US/Eastern"),
        "Timedelta": pd.Timedelta("1 day 2 ns"),
        "Period": pd.Period("2024Q1"),
        "Interval": pd.Interval(0, 1, closed="both"),
        "NaT and NA": [pd.NaT, pd.NA],
        "offsets": [pd.offsets.MonthEnd(2), pd.DateOffset(months=1), pd.offsets.BDay()],
        "Categorical": pd.Categorical(["x", "y", "x"]),
        "unstacked": frame.reset_index().pivot_table(index="c", columns="a", values="b"),
    }


@library
def pyarrow() -> dict[str, Any]:
    import pyarrow as pa

    table = pa.table({"a": [1, None, 3], "b": ["x", "y", None], "c": [[1], [], None]})
    return {
        "table": table,
        "slice": table.slice(1, 1),
        "nan": pa.table({"a": [float("nan"), 1.0]}),
        "dictionary": pa.table({"a": pa.array(["x", "y", "x"]).dictionary_encode()}),
        "metadata": table.replace_schema_metadata({"k": "v"}),
        "nested": pa.table({"s": [{"x": 1, "y": [{"z": "t"}]}]}),
        "decimal": pa.array([1, 2]).cast(pa.decimal128(25, 2)),
        "timestamps": pa.array([0, None], pa.timestamp("us", tz="UTC")),
        "array": pa.array([1.5, None]),
        "chunked array": pa.chunked_array([[1, 2], [3]]),
        "record batch": table.to_batches()[0],
        "schema": table.schema,
        "scalar": pa.scalar("x"),
        "type": pa.list_(pa.int8()),
        "map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int32())),
        "null column": pa.table({"n": pa.nulls(3)}),
    }


@library
def polars() -> dict[str, Any]:
    import polars as pl

    return {
        "frame": pl.DataFrame({"a": [1, 2, None], "b": ["x", None, "z"]}),
        "nested": pl.DataFrame({"l": [[1, 2], []], "s": [{"x": 1}, {"x": 2}]}),
        "categorical": pl.Series("c", ["a", "b", "a"], dtype=pl.Categorical),
        "dates": pl.Series("d", [1, 2]).cast(pl.Date),
        "empty": pl.DataFrame(),
        "series": pl.Series("s", [1.5, float("nan")]),
        "decimals": pl.Series([1, None]).cast(pl.Decimal(10, 2)),
        "nanoseconds": pl.Series([1, None]).cast(pl.Datetime("ns", "Asia/Tokyo")),
        "enum": pl.Series(["b", None, "a"], dtype=pl.Enum(["b", "a"])),
        "array": pl.Series([[1, 2], None], dtype=pl.Array(pl.Int8, 2)),
        "lists of lists": pl.Series([[[1], []], None, [None, [2, None]]]),
        "structs": pl.Series([{"a": [1]}, None, {"a": None}]),
        "wide ints": pl.Series([2**100, None], dtype=pl.Int128),
        "rows without columns": pl.DataFrame(height=3),
        "slice": pl.DataFrame({"a": range(9)}).slice(2, 3),
        "schema and types": [pl.Schema({"a": pl.List(pl.Int8)}), pl.Datetime("us", "UTC"), pl.Int8],
        "lazy": pl.DataFrame({"a": [1]}).lazy(),
    }


@library
def scipy() -> dict[str, Any]:
    import numpy as np
    from scipy import interpolate, optimize, signal, sparse, spatial, stats

    dense = np.diag([1.0, 2.0, 0.0])
    return {
        **{
            f"{kind}_array": sparse.coo_array(dense).asformat(kind)
            for kind in ("coo", "csr", "csc", "bsr", "dia", "lil", "dok")
        },
        "csr_matrix": sparse.csr_matrix(dense),
        "CubicSpline": interpolate.CubicSpline([0, 1, 2], [0, 1, 4]),
        "frozen distribution": stats.norm(1, 2),
        "OptimizeResult": optimize.OptimizeResult(x=np.ones(2), fun=1.5, message="done"),
        "bounds": optimize.Bounds([0.0, 1.0], [2.0, 3.0]),
        "linprog": optimize.linprog([1, 2], bounds=[(0, 1), (1, 3)]),
        "ttest_ind": stats.ttest_ind([1.0, 2.0, 4.0], [2.0, 3.0, 3.5]),
        "linregress": stats.linregress([1.0, 2.0, 4.0], [2.0, 3.0, 3.5]),
        "pearsonr": stats.pearsonr([1.0, 2.0, 4.0], [2.0, 3.0, 3.5]),
        "chi2_contingency": stats.chi2_contingency([[1, 2], [3, 4]]),
        "describe": stats.describe([1.0, 2.0, 4.0]),
        "mannwhitneyu": stats.mannwhitneyu([1, 2, 2], [2, 3, 4]),
        "KDTree": spatial.KDTree(np.arange(6.0).reshape(3, 2)),
        "Rotation": spatial.transform.Rotation.from_euler("z", 90, degrees=True),
        "TransferFunction": signal.TransferFunction([1], [1, 2]),
    }


@library
def torch() -> dict[str, Any]:
    import torch

    torch.manual_seed(7)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    model(torch.ones(4, 3)).sum().backward()
    optimizer = torch.optim.Adam(model.parameters())
    optimizer.step()
    whole = torch.arange(12.0).reshape(3, 4)
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.sum().backward()
    return {
        "float32": torch.linspace(0, 1, 5),
        "bfloat16": torch.ones(3, dtype=torch.bfloat16),
        "float8": torch.ones(3).to(torch.float8_e4m3fn),
        "bool": torch.tensor([True, False]),
        "complex": torch.tensor([1 + 2j]).conj(),
        "transposed": whole.T,
        "row of a batch": whole[1],
        "shared storage": [whole, whole[0], whole[:, 1]],
        "parameter with gradient": parameter,
        "sparse": torch.eye(3).to_sparse(),
        "quantized": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(2.5, dtype=torch.float64),
        "Size": whole.shape,
        "dtype and device": [torch.float16, torch.device("cpu")],
        "state dict": model.state_dict(),
        "module": model,
        "optimizer state": optimizer.state_dict(),
        "model and optimizer": {"model": model, "optimizer": optimizer},
        "Generator": torch.Generator().manual_seed(3).get_state(),
        "TensorDataset": torch.utils.data.TensorDataset(torch.ones(2, 2), torch.zeros(2)),
        "packed sequence": torch.nn.utils.rnn.pack_sequence([torch.ones(2), torch.ones(1)]),
    }


@library
def PIL() -> dict[str, Any]:
    import io

    from PIL import Image, PngImagePlugin

    def opened(image: Image.Image, kind: str, **options: Any) -> Image.Image:
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        return Image.open(io.BytesIO(stream.getvalue()))

    rgb = Image.linear_gradient("L").convert("RGB").resize((8, 6))
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", "Ada")
    exif = Image.Exif()
    exif[0x010E] = "described"
    lab = rgb.convert("LAB")
    del lab.info["icc_profile"]  # which says in what second it was made
    return {
        **{mode: rgb.convert(mode) for mode in ("1", "L", "RGB", "RGBA", "CMYK", "YCbCr", "I", "F", "HSV")},
        "LAB": lab,
        "palette": rgb.quantize(8),
        "PNG with text": opened(rgb, "PNG", pnginfo=text),
        "JPEG with EXIF": opened(rgb, "JPEG", exif=exif),
        "GIF of frames": opened(rgb, "GIF", save_all=True, append_images=[rgb.rotate(90), rgb.rotate(180)]),
        "TIFF": opened(rgb, "TIFF", compression="tiff_deflate"),
        "WEBP": opened(rgb, "WEBP", lossless=True),
        "BMP": opened(rgb, "BMP"),
    }


@library
def xarray() -> dict[str, Any]:
    import numpy as np
    import pandas as pd
    import xarray as xr

    array = xr.DataArray(
        np.arange(6.0).reshape(2, 3),
        dims=("x", "t"),
        coords={"t": pd.date_range("2024", periods=3)},
        attrs={"u": "m"},
    )
    data = xr.Dataset({"a": array, "b": ("x", [1, 2])})
    return {
        "DataArray": array,
        "Dataset": data,
        "Variable": array.variable,
        "DataTree": xr.DataTree.from_dict({"/": data, "/child": data}),
        "MultiIndex": array.stack(z=("x", "t")),
    }


@library
def ml_dtypes() -> dict[str, Any]:
    import ml_dtypes
    import numpy as np

    names = (
        "bfloat16",
        "float8_e5m2",
        "float8_e4m3fn",
        "int4",
        "uint4",
        "float8_e8m0fnu",
        "float6_e2m3fn",
        "int2",
    )
    return {name: np.array([0, 1, 2]).astype(getattr(ml_dtypes, name)) for name in names}


@library
def jax() -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    return {
        "array": jnp.arange(6.0).reshape(2, 3),
        "bfloat16": jnp.ones(3, dtype=jnp.bfloat16),
        "key": jax.random.PRNGKey(0),
        "tree": {"w": jnp.ones(2), "b": (jnp.zeros(1),)},
    }


@library
def h5py() -> dict[str, Any]:
    import h5py
    import numpy as np

    return {
        "text": np.array(["a", "bc"], dtype=h5py.string_dtype()),
        "enum": np.array([0, 1], dtype=h5py.enum_dtype({"no": 0, "yes": 1})),
        "opaque": np.array([1], "M8[s]").astype(h5py.opaque_dtype("M8[s]")),
        "version": h5py.version.version_tuple[:2],
    }


@library
def dask() -> dict[str, Any]:
    import dask.array
    import dask.dataframe
    import pandas as pd

    return {
        "array": dask.array.ones((4, 4), chunks=2),
        "frame": dask.dataframe.from_pandas(pd.DataFrame({"a": [1, 2]}), npartitions=1),  # type: ignore[no-untyped-call]
    }


@library
def tensordict() -> dict[str, Any]:
    import torch
    from tensordict import TensorDict

    return {"TensorDict": TensorDict({"a": torch.ones(2, 3)}, batch_size=[2])}


@library
def awkward() -> dict[str, Any]:
    import awkward

    return {"jagged": awkward.Array([[1, 2], [], [3]]), "records": awkward.Array([{"x": 1, "y": [1.5]}])}


@library
def sparse() -> dict[str, Any]:
    import numpy as np
    import sparse

    return {"COO": sparse.COO.from_numpy(np.eye(3)), "GCXS": sparse.GCXS.from_numpy(np.eye(3))}


@library
def zarr() -> dict[str, Any]:
    import numcodecs

    return {"codec configuration": numcodecs.Zstd(level=3).get_config(), "codec": numcodecs.Zstd(level=3)}


@library
def imageio() -> dict[str, Any]:
    import imageio.v3
    import numpy as np

    written = imageio.v3.imwrite("<bytes>", np.arange(12, dtype="u1").reshape(3, 4), extension=".png")
    return {
        "array with metadata": imageio.v3.imread(written),
        "properties": tuple(imageio.v3.improps(written).shape),
    }


@library
def tifffile() -> dict[str, Any]:
    import io

    import numpy as np
    import tifffile

    stream = io.BytesIO()
    tifffile.imwrite(stream, np.arange(6, dtype="u2").reshape(2, 3))
    stream.seek(0)
    return {"pages": tifffile.imread(stream)}


@library
def cv2() -> dict[str, Any]:
    import cv2
    import numpy as np

    image = cv2.GaussianBlur(np.eye(8, dtype="f4"), (3, 3), 0)
    return {"image": image, "contours": list(cv2.findContours((image > 0.2).astype("u1"), 0, 2)[0])}
