"""Classes of the standard library, and of scipy, that are data: they need neither registration nor signature.

A fixed list. Only its own modules are ever imported, whatever a blob says.
"""

from __future__ import annotations

import builtins
import sys
from functools import lru_cache

from laila.errors import MissingPluginError
from laila.showing import said

__all__ = ["known_class", "name_of_known"]

_EXCEPTIONS = tuple(
    name
    for name, held in vars(builtins).items()
    if isinstance(held, type) and issubclass(held, BaseException)
)
_CLASSES: dict[str, tuple[str, ...]] = {
    "builtins": _EXCEPTIONS,
    "collections": ("ChainMap", "UserDict", "UserList", "UserString"),
    "argparse": ("Namespace",),
    "decimal": (
        *("DecimalTuple", "DecimalException", "InvalidOperation", "DivisionByZero", "Overflow", "Inexact"),
    ),
    "difflib": ("Match",),
    "http": ("HTTPStatus", "HTTPMethod"),
    "re": ("RegexFlag",),
    "signal": ("Signals", "Handlers"),
    "socket": ("AddressFamily", "SocketKind", "gaierror", "herror"),
    "statistics": ("NormalDist", "LinearRegression", "StatisticsError"),
    "string": ("Template",),
    "urllib.parse": (
        *("ParseResult", "ParseResultBytes", "SplitResult", "SplitResultBytes"),
        *("DefragResult", "DefragResultBytes"),
    ),
    "uuid": ("SafeUUID",),
    # exceptions
    "asyncio.exceptions": ("CancelledError", "InvalidStateError"),
    "binascii": ("Error",),
    "concurrent.futures._base": ("CancelledError", "InvalidStateError", "BrokenExecutor"),
    "csv": ("Error",),
    "queue": ("Empty", "Full"),
    "struct": ("error",),
    "subprocess": ("CalledProcessError", "TimeoutExpired"),
    "zlib": ("error",),
    "zipfile": ("BadZipFile",),
}
_LIBRARIES: dict[str, tuple[str, ...]] = {
    "scipy.integrate._ivp.ivp": ("OdeResult",),
    "scipy.integrate._quadrature": ("QMCQuadResult",),
    "scipy.optimize._constraints": ("Bounds", "LinearConstraint"),
    "scipy.optimize._optimize": ("OptimizeResult",),
    "scipy.optimize._zeros_py": ("RootResults",),
    "scipy.stats._binned_statistic": (
        *("BinnedStatisticResult", "BinnedStatistic2dResult", "BinnedStatisticddResult"),
    ),
    "scipy.stats._binomtest": ("BinomTestResult",),
    "scipy.stats._common": ("ConfidenceInterval",),
    "scipy.stats._crosstab": ("CrosstabResult",),
    "scipy.stats._fit": ("GoodnessOfFitResult",),
    "scipy.stats._hypotests": (
        *("BarnardExactResult", "BoschlooExactResult", "CramerVonMisesResult", "Epps_Singleton_2sampResult"),
        *("SomersDResult", "TukeyHSDResult"),
    ),
    "scipy.stats._mannwhitneyu": ("MannwhitneyuResult",),
    "scipy.stats._mgc": ("MGCResult",),
    "scipy.stats._morestats": (
        *("AnsariResult", "BartlettResult", "FlignerResult", "LeveneResult", "Mean", "MedianTestResult"),
        *("ShapiroResult", "Std_dev", "Variance", "WilcoxonResult"),
    ),
    "scipy.stats._multicomp": ("DunnettResult",),
    "scipy.stats._odds_ratio": ("OddsRatioResult",),
    "scipy.stats._page_trend_test": ("PageTrendTestResult",),
    "scipy.stats._relative_risk": ("RelativeRiskResult",),
    "scipy.stats._resampling": ("BootstrapResult", "MonteCarloTestResult", "PermutationTestResult"),
    "scipy.stats._stats_mstats_common": ("SiegelslopesResult", "TheilslopesResult"),
    "scipy.stats._stats_py": (
        *("AlexanderGovernResult", "KstestResult", "LinregressResult", "PearsonRResult"),
        *("QuantileTestResult", "SignificanceResult", "TtestResult"),
        *("BrunnerMunzelResult", "ConfidenceInterval", "CumfreqResult", "DescribeResult", "F_onewayResult"),
        *("FriedmanchisquareResult", "HistogramResult", "KruskalResult", "KurtosistestResult", "ModeResult"),
        *("NormaltestResult", "Power_divergenceResult", "RanksumsResult", "RelfreqResult"),
        *("SigmaclipResult", "SkewtestResult", "Ttest_indResult"),
    ),
    "scipy.stats.contingency": ("Chi2ContingencyResult",),
}
"""By module, which must be importable where a blob with such a row is read."""
_CLASSES |= _LIBRARIES
_MODULES = {f"{module}:{name}": (module, name) for module, names in _CLASSES.items() for name in names}


@lru_cache(maxsize=4096)
def name_of_known(cls: type) -> str | None:
    """How a blob names ``cls``, when it is one of these; else None."""
    place = _MODULES.get(f"{cls.__module__}:{cls.__qualname__}")
    if place is None or getattr(sys.modules.get(place[0]), place[1], None) is not cls:
        return None
    return ":".join(place)


def known_class(name: str) -> type | None:
    """The class of that name, when it is one of these; else None."""
    place = _MODULES.get(name)
    if place is None:
        return None
    try:
        __import__(place[0])  # a name of the list above, never one out of a blob
    except ImportError as error:
        if place[0] not in _LIBRARIES:
            raise
        library = place[0].partition(".")[0]
        raise MissingPluginError(
            f"the payload holds a {name}, which needs {library}, and that cannot be imported here "
            f"({type(error).__name__}: {said(error)}), or is of another version: pip install '{library}'",
            plugin=library,
            distribution=library,
        ) from error
    found = getattr(sys.modules[place[0]], place[1], None)
    return found if isinstance(found, type) else None
