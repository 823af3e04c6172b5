"""Store an instance of every class that can be imported and made cheaply; print what broke a promise.

Run by ``test_store_everything.py`` in a process of its own, since importing and calling whatever is installed
may do anything: ``python everything.py SEED COUNT [MODULE …]``. A COUNT of 0 means all. What is stored is
compared without laila's own means: by each class's own equality, by its ``repr``, and by its attributes, each
where a copy made by pickle passes the same test.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import importlib.metadata
import inspect
import io
import json
import os
import pickle
import pkgutil
import random
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"
# Modules that do something when they are imported, need a display, or test themselves.
SKIPPED = re.compile(
    r"^(antigravity|this|idlelib|turtle|tkinter|test|tests|lib2to3|laila|pip|setuptools|pkg_resources|_pytest"
    r"|pytest|xdist|mypy|ruff|ensurepip|venv|_.*|pty|tty|crypt|nis|ossaudiodev|msilib|winreg|winsound)$"
)
SKIPPED_PARTS = re.compile(r"(^|\.)(_|test|conftest|setup|__main__|f2py|distutils|examples?|benchmarks?)")
# Classes whose constructors reach out: processes, sockets, files, signals.
UNSAFE = re.compile(
    r"Popen|Process|Server|Client|Daemon|Pool|Manager|Listener|Debugger|Pdb|Signal|Fork|Reloader"
)
SECONDS = 0.5
ARGUMENTS: tuple[tuple[Any, ...], ...] = (
    (),
    (1,),
    ("a",),
    ([1, 2],),
    ("a", "b"),
    (2, 3),
    (len,),
    ({"a": 1},),
)


class TooLong(BaseException):
    """A constructor, or what was stored, takes its time."""


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise TooLong

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def module_names(only: list[str]) -> list[str]:
    """The modules of the standard library and of what is installed, packages walked through."""
    tops = set(only) or {*sys.stdlib_module_names, *importlib.metadata.packages_distributions()}
    found: set[str] = set()
    for top in tops:
        if SKIPPED.match(top):
            continue
        found.add(top)
        with contextlib.suppress(BaseException), limited(20):
            module = importlib.import_module(top)
            for info in pkgutil.walk_packages(
                getattr(module, "__path__", []), f"{top}.", onerror=lambda name: None
            ):
                if not SKIPPED_PARTS.search(info.name):
                    found.add(info.name)
    return sorted(found)


def classes_of(name: str) -> list[type]:
    try:
        with limited(10):
            module = importlib.import_module(name)
    except BaseException:  # noqa: BLE001 - whatever an import raises, there is nothing to store
        return []
    found = []
    for thing in list(vars(module).values()):
        if isinstance(thing, type) and getattr(thing, "__module__", None) == name:
            if not UNSAFE.search(thing.__name__):
                found.append(thing)
    return found


def data_sets(name: str) -> Iterator[tuple[str, Any]]:
    """The data sets that a module ships: what its functions ``load_…`` give without arguments."""
    module = sys.modules.get(name)
    if module is None or not name.endswith("datasets"):
        return
    for label, function in list(vars(module).items()):
        if label.startswith("load_") and inspect.isfunction(function):
            with contextlib.suppress(BaseException), limited(10):
                yield f"{name}.{label}()", function()


def instances(cls: type) -> Iterator[Any]:
    members = getattr(cls, "__members__", None)
    if isinstance(members, dict) or type(members).__name__ == "mappingproxy":
        yield from list(members.values())[:1]  # type: ignore[union-attr]
        return
    for arguments in ARGUMENTS:
        try:
            with limited(SECONDS):
                made = cls(*copy.deepcopy(arguments))
        except BaseException:  # noqa: BLE001 - this constructor wants something else
            continue
        if type(made) is cls:
            yield made
            return


def _quietly(compute: Callable[[], Any]) -> Any:
    try:
        return compute()
    except Exception:  # noqa: BLE001 - a test that cannot be made says nothing
        return None


def _passes(test: Callable[[Any, Any], Any], a: Any, b: Any) -> bool:
    return bool(_quietly(lambda: test(a, b)))


def attributes(thing: Any) -> Any:
    return sorted(map(str, vars(thing))) if hasattr(thing, "__dict__") else None


def _own_methods(thing: Any) -> set[str]:
    return {name for base in type(thing).__mro__ if base is not object for name in base.__dict__}


TESTS: tuple[tuple[str, Callable[[Any, Any], Any]], ...] = (
    ("type", lambda a, b: type(a) is type(b)),
    ("equality", lambda a, b: "__eq__" not in _own_methods(a) or bool(a == b)),
    ("repr", lambda a, b: re.search(r" at 0x|0x[0-9a-f]{6}", repr(a)) is not None or repr(a) == repr(b)),
    ("attributes", lambda a, b: attributes(a) == attributes(b)),
    ("length", lambda a, b: not hasattr(type(a), "__len__") or len(a) == len(b)),
)


def fault_of(thing: Any) -> str | None:
    """What promise was broken about ``thing``; None where it came back, or was refused with its place."""
    from laila.blob.blob import Blob
    from laila.codec import decode, encode
    from laila.errors import PayloadError

    tests = dict(TESTS)
    # What a copy by pickle does not keep, nobody can ask of laila. Looking may change a thing: do so first.
    wanted = {name for name in tests if _passes(tests[name], thing, thing)}
    pickled = _quietly(lambda: pickle.loads(pickle.dumps(thing)))
    _ = [_passes(test, pickled, pickled) for test in tests.values()]
    wanted = {name for name in wanted if name == "type" or _passes(tests[name], thing, pickled)}
    try:
        blob = bytes(encode({"it": [thing]}, key=KEY))
    except PayloadError as error:
        return None if error.path.startswith("payload") else f"refused without a place: {error}"
    except Exception as error:  # noqa: BLE001 - that is the fault
        return f"a bare {type(error).__name__} from memorize: {error!s:.200}"
    try:
        found: Any = decode(Blob.from_bytes(blob, key=KEY))
    except Exception as error:  # noqa: BLE001 - that is the fault
        return f"stored, and {type(error).__name__} when read: {error!s:.300}"
    back = found["it"][0]
    _ = [_passes(test, back, back) for test in tests.values()]
    for name, test in TESTS:
        if name in wanted and not _passes(test, thing, back):
            return f"its {name} changed: {thing!r:.100} became {back!r:.100}"
    return None


def main(seed: int, count: int, only: list[str]) -> None:
    os.environ["LAILA_SECRET_KEY"] = "a key for this process only, which nobody else has"
    warnings.simplefilter("ignore")
    import logging

    logging.disable(logging.CRITICAL)
    out = os.fdopen(os.dup(1), "w")
    quiet = open(os.devnull, "w")  # noqa: SIM115 - until the process ends
    sys.stdout = sys.stderr = quiet
    sys.stdin = io.StringIO()
    chooser = random.Random(seed)
    names = module_names(only)
    chooser.shuffle(names)
    tried = stored = 0
    faults: list[str] = []
    for name in names:
        if count and tried >= count:
            break
        classes = classes_of(name)
        things: list[tuple[str, Any]] = [(f"{cls.__module__}.{cls.__qualname__}", cls) for cls in classes]
        made: list[tuple[str, Any]] = []
        for label, cls in chooser.sample(things, min(len(things), 6)) if count else things:
            made.extend((label, thing) for thing in instances(cls))
            made.append((f"the class {label}", cls))
        made.extend(data_sets(name))
        for label, thing in made:
            tried += 1
            try:
                with limited(20):
                    fault = fault_of(thing)
            except TooLong:
                fault = "takes more than 20 seconds"
            except BaseException as error:  # noqa: BLE001 - that is the fault
                fault = f"{type(error).__name__}: {error!s:.200}"
            stored += fault is None
            if fault is not None:
                faults.append(f"{label}: {fault}")
    json.dump({"tried": tried, "stored": stored, "faults": faults}, out)
    out.flush()
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
