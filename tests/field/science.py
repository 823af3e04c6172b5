"""Objects of libraries for science, learning and drawing."""

from __future__ import annotations

from typing import Any

from field.registry import library


@library
def sklearn() -> dict[str, Any]:
    import numpy as np
    from sklearn import (
        datasets,
        decomposition,
        ensemble,
        linear_model,
        model_selection,
        pipeline,
        preprocessing,
    )

    x, y = datasets.load_iris(return_X_y=True)
    search = model_selection.GridSearchCV(linear_model.Ridge(), {"alpha": [0.1, 1.0]}, cv=2).fit(x, y)
    repr(search.cv_results_)
    results = {name: value for name, value in search.cv_results_.items() if "time" not in name}
    return {
        "iris": datasets.load_iris(),
        "digits as frame": datasets.load_wine(as_frame=True).frame,
        "diabetes": datasets.load_diabetes(return_X_y=True),
        "LinearRegression": linear_model.LinearRegression().fit(x, y),
        "RandomForest": ensemble.RandomForestClassifier(n_estimators=3, random_state=0).fit(x, y),
        "PCA": decomposition.PCA(2, random_state=0).fit(x),
        "pipeline": pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.Ridge()).fit(x, y),
        "cv_results_ printed once": results,
        "folds": list(model_selection.KFold(3, shuffle=True, random_state=0).split(np.arange(30))),
        "ParameterGrid": model_selection.ParameterGrid({"a": [1, 2]}),
    }


@library
def astropy() -> dict[str, Any]:
    import numpy as np
    from astropy import coordinates, table, time, units, wcs
    from astropy.utils.masked import Masked

    place = coordinates.EarthLocation.from_geodetic(10, 20, 30)
    return {
        "Quantity": np.arange(3.0) * units.m / units.s,
        "EarthLocation": place,
        "Time at a place": time.Time("2024-01-01", location=place),
        "masked Time": time.Time(np.ma.masked_array([1.0, 2.0], [True, False]), format="jd"),
        "seen at a time": coordinates.SkyCoord(1 * units.deg, 2 * units.deg, obstime=time.Time("2024-01-01")),
        "unit": units.km / units.hour,
        "Masked": Masked(np.arange(3.0), mask=[True, False, False]),
        "masked quantity": Masked([1.0, 2.0] * units.m, mask=[False, True]),
        "Time": time.Time(["2024-01-01", "2024-01-02"], scale="utc"),
        "composite unit": units.kg * units.m**2 / units.s,
        "angles": [
            coordinates.Angle(3, "deg"),
            coordinates.Longitude(370, "deg"),
            coordinates.Latitude(1, "deg"),
        ],
        "modified Julian date": time.Time(59000.123456789, format="mjd", scale="tdb"),
        "TimeDelta": time.TimeDelta([1.5, 2.5], format="sec"),
        "galactic": coordinates.SkyCoord(l=1 * units.deg, b=2 * units.deg, frame="galactic"),
        "masked column": table.Table({"a": table.MaskedColumn([1, 2], mask=[True, False])}, meta={"k": [1]}),
        "masked table": table.Table({"a": [1, 2]}, masked=True),
        "table of times": table.QTable({"t": time.Time(["2024-01-01", "2024-01-02"])}),
        "SkyCoord": coordinates.SkyCoord([1, 2] * units.deg, [3, 4] * units.deg),
        "Table": table.Table({"a": [1, 2], "b": ["x", "y"]}),
        "QTable": table.QTable({"a": [1, 2] * units.m}),
        "WCS": wcs.WCS(naxis=2).to_header().tostring(),
    }


@library
def networkx() -> dict[str, Any]:
    import networkx as nx

    graph = nx.karate_club_graph()
    return {
        "graph": graph,
        "directed": nx.DiGraph([("a", "b"), ("b", "c")]),
        "frozen": nx.freeze(nx.path_graph(3)),
        "multi": nx.MultiGraph([(1, 2), (1, 2)]),
        "keys are tuples": nx.grid_2d_graph(2, 3),
        "les miserables": nx.les_miserables_graph(),
        "view": nx.DiGraph([(1, 2)]).copy(),
    }


@library
def sympy() -> dict[str, Any]:
    import sympy

    x, y = sympy.symbols("x y", positive=True)
    return {
        "expression": sympy.sin(x) ** 2 + sympy.sqrt(y) / 3,
        "matrix": sympy.Matrix([[x, 1], [0, y]]),
        "rational": sympy.Rational(3, 7),
        "integral": sympy.Integral(sympy.exp(-(x**2)), (x, 0, sympy.oo)),
        "set": sympy.Interval(0, 1),
        "function": sympy.Function("f")(x).diff(x),
    }


@library
def mpmath() -> dict[str, Any]:
    import mpmath

    return {"mpf": mpmath.mpf("0.1"), "mpc": mpmath.mpc(1, 2), "matrix": mpmath.matrix([[1, 2], [3, 4]])}


@library
def shapely() -> dict[str, Any]:
    import shapely

    return {
        "point": shapely.Point(1, 2),
        "polygon": shapely.box(0, 0, 1, 1),
        "collection": shapely.GeometryCollection([shapely.Point(0, 0), shapely.LineString([(0, 0), (1, 1)])]),
    }


@library
def geopandas() -> dict[str, Any]:
    import geopandas
    import shapely

    points = [shapely.Point(0, 0), shapely.Point(1, 1)]
    return {
        "frame": geopandas.GeoDataFrame({"a": [1, 2]}, geometry=points, crs="EPSG:4326"),
        "series": geopandas.GeoSeries(points),
    }


@library
def uncertainties() -> dict[str, Any]:
    import uncertainties

    x = uncertainties.ufloat(1, 0.1)
    return {"variable": x, "expression": x * 2 + 1}


@library
def pint() -> dict[str, Any]:
    import numpy as np
    import pint

    ureg = pint.get_application_registry()
    return {"quantity": 3.5 * ureg.meter, "array": np.arange(3) * ureg.second, "unit": ureg.kilogram}


@library
def unyt() -> dict[str, Any]:
    import unyt

    return {"array": unyt.unyt_array([1.0, 2.0], "km"), "quantity": unyt.unyt_quantity(3, "s")}


@library
def statsmodels() -> dict[str, Any]:
    import numpy as np
    import statsmodels.api as sm

    x = sm.add_constant(np.arange(10.0))
    fitted = sm.OLS(np.arange(10.0) * 2 + 1, x).fit()
    return {
        "fitted model": fitted,
        "parameters": fitted.params,
        "data set": sm.datasets.longley.load_pandas().data,
    }


@library
def skimage() -> dict[str, Any]:
    import skimage.data
    import skimage.transform

    return {
        "camera": skimage.data.camera()[::8, ::8],
        "coins": skimage.data.coins()[::8, ::8],
        "transform": skimage.transform.AffineTransform(scale=(2, 1)),
    }


@library
def boost_histogram() -> dict[str, Any]:
    import boost_histogram as bh

    hist = bh.Histogram(bh.axis.Regular(4, 0, 1), storage=bh.storage.Weight())
    hist.fill([0.1, 0.5, 0.5])
    return {"histogram": hist, "axis": bh.axis.Regular(4, 0, 1)}


@library
def Bio() -> dict[str, Any]:
    from Bio.Seq import Seq
    from Bio.SeqRecord import SeqRecord

    return {"sequence": Seq("ACGT"), "record": SeqRecord(Seq("AC"), id="x")}


@library
def ase() -> dict[str, Any]:
    from ase.build import bulk, molecule

    return {"molecule": molecule("H2O"), "crystal": bulk("Cu")}


@library
def nibabel() -> dict[str, Any]:
    import nibabel
    import numpy as np

    return {
        "header": nibabel.Nifti1Header(),
        "image": nibabel.Nifti1Image(np.zeros((2, 2, 2), "f4"), np.eye(4)),
    }


@library
def pydicom() -> dict[str, Any]:
    from pydicom.dataset import Dataset

    data = Dataset()
    data.PatientName = "A^B"
    data.Rows = 2
    return {"data set": data}


@library
def trimesh() -> dict[str, Any]:
    import trimesh

    mesh = trimesh.creation.box()
    return {"vertices and faces": (mesh.vertices.view(), mesh.faces.view()), "mesh": mesh}


@library
def gymnasium() -> dict[str, Any]:
    from gymnasium import spaces

    return {"box": spaces.Box(0, 1, (2,)), "dict": spaces.Dict({"a": spaces.Discrete(3)})}


@library
def simpy() -> dict[str, Any]:
    import simpy

    return {"event priorities": [simpy.events.URGENT, simpy.events.NORMAL]}


@library
def plotly() -> dict[str, Any]:
    import plotly.graph_objects as go

    return {"figure": go.Figure(go.Scatter(x=[1, 2], y=[3, 4]))}


@library
def altair() -> dict[str, Any]:
    import altair as alt
    import pandas as pd

    return {"chart": alt.Chart(pd.DataFrame({"a": [1]})).mark_point().encode(x="a")}


@library
def matplotlib() -> dict[str, Any]:
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import cm, colors, path, transforms
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots()
    axes.plot([1, 2], [3, 4])
    plt.close(figure)
    return {
        "colormap": cm.viridis,
        "normalize": colors.Normalize(0, 1),
        "path": path.Path([[0, 0], [1, 1]]),
        "transform": transforms.Affine2D().rotate(1),
        "figure": figure,
    }


@library
def lmfit() -> dict[str, Any]:
    import lmfit

    parameters = lmfit.Parameters()
    parameters.add("a", value=1, min=0)
    return {"parameters": parameters}


@library
def tokenizers() -> dict[str, Any]:
    from tokenizers import Tokenizer, models

    return {"tokenizer": Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))}


@library
def rdkit() -> dict[str, Any]:
    from rdkit import Chem

    return {"molecule": Chem.MolFromSmiles("CCO")}
