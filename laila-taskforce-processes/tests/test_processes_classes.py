"""Classes that the submitter registered, in tasks: of a script, of a module, with a codec."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SETUP = """
import enum, sys
from dataclasses import dataclass
from typing import NamedTuple
import laila

kind = sys.argv[1]
def force(**options):
    if kind == "dask":
        from laila.taskforce import DaskTaskForce as Force
    else:
        from laila.taskforce import ProcessTaskForce as Force
    return laila.command.add_taskforce(Force(workers=1, **options))

laila.memory.extend("file:store", pool_nickname="data")
def keep(name, value):
    return laila.memorize(laila.constant(value, nickname=name), pool_nickname="data").wait()
def get(name):
    return laila.remember(nickname=name, pool_nickname="data").data
name = force()
def task(fn):
    return laila.command.submit(fn, taskforce_id=name).wait(150)
"""

PROGRAMS = {
    "registered in the script": """
@laila.register_type
@dataclass
class Point:
    x: int
    def twice(self):
        return 2 * self.x
@laila.register_type
class Color(enum.Enum):
    RED = 1
@laila.register_type
class Pair(NamedTuple):
    a: object
    b: object
class Outer:
    @laila.register_type
    @dataclass
    class Inner:
        y: int
value = [Point(1), Color.RED, Pair(Point(2), 3), Outer.Inner(4)]
keep("v", value)
def look():
    point, color, pair, inner = get("v")
    return point.twice(), color is Color.RED, pair.a.x, inner.y
assert task(look) == (2, True, 2, 4)
task(lambda: keep("v", [Point(1), Color.RED, Pair(Point(2), 3), Outer.Inner(4)]))
task(lambda: keep("made there", Point(7)))
assert get("made there") == Point(7)
""",
    "registered under another name, and changed since": """
@laila.register_type
@dataclass
class Old:
    a: int
keep("old", Old(1))
@laila.register_type
@dataclass
class Old:
    b: int
    c: int
laila.register_type(Old, renamed_from={"b": "a"}, defaults={"c": lambda: 5})
assert get("old") == Old(1, 5)
assert task(lambda: (get("old").b, get("old").c)) == (1, 5)
@laila.register_type
@dataclass
class Old:
    b: int
    c: int
    def more(self):
        return "younger"
laila.register_type(Old, renamed_from={"b": "a"}, defaults={"c": lambda: 6})
assert task(lambda: (get("old").more(), get("old").c)) == ("younger", 6)
""",
    "a codec of the script": """
from laila.codec import register_codec
class Odd:
    __slots__ = ("n",)
    def __init__(self, n): self.n = n
    def __reduce__(self): raise TypeError("no")
register_codec(Odd, name="script.odd", encode=lambda odd: odd.n, decode=Odd)
keep("odd", Odd(3))
assert task(lambda: get("odd").n) == 3
task(lambda: keep("odd", Odd(3)))
""",
    "a module that only the submitter has imported": """
import vehicles
keep("car", vehicles.Car(4))
assert task(lambda: get("car").wheels) == 4
def other():
    import sys
    from vehicles import Car
    keep("car", Car(4))
    return Car.__module__
assert task(other) == "vehicles"
""",
    "a library's class, registered by the script": """
import vehicles
laila.register_type(vehicles.Bike, name="bike")
keep("bike", vehicles.Bike())
assert task(lambda: type(get("bike")).__name__) == "Bike"
def again():
    import vehicles
    keep("bike", vehicles.Bike())
task(again)
""",
    "threads and tasks of a task": """
import threading
@laila.register_type
@dataclass
class Point:
    x: int
keep("p", Point(3))
def outer():
    seen = []
    thread = threading.Thread(target=lambda: seen.append(Point))
    thread.start(); thread.join()
    inner = laila.command.submit([lambda: get("p").x for _ in range(3)]).wait(150)
    return inner
assert task(outer) == [3, 3, 3]
""",
    "a class that cannot be sent is in nobody's way": """
import threading
@laila.register_type
@dataclass
class Holder:
    x: object = threading.Lock()
@laila.register_type
@dataclass
class Point:
    x: int
keep("p", Point(3))
assert task(lambda: 5) == 5
def point():
    return laila.remember(nickname="p", pool_nickname="data").data.x
assert task(point) == 3
""",
}


@pytest.mark.parametrize("what", list(PROGRAMS))
def test_tasks_know_what_their_submitter_registered(what: str, tmp_path: Path) -> None:
    """Stored by the script, read in a task, stored there as the same content."""
    (tmp_path / "vehicles.py").write_text(
        "import laila\nfrom dataclasses import dataclass\n"
        "@laila.register_type\n@dataclass\nclass Car:\n    wheels: int\n"
        "class Bike:\n    pass\n"
    )
    (tmp_path / "script.py").write_text(SETUP + PROGRAMS[what])
    done = subprocess.run(
        [sys.executable, "script.py", "processes"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


UNREGISTERED = """
import abc, typing
T = typing.TypeVar("T")
class Plain:
    seen = []
    def __init__(self): self.x, self.y = 1, "x"
    def hop(self): return super().__init__, Plain, add(self.x)
    @property
    def prop(self): return self.x
def add(number): return number + 1
class Slotted:
    __slots__ = ("a", "__b")
    def __init__(self, a): self.a, self.__b = a, [a]
    def both(self): return self.a, self.__b
@dataclass(slots=True)
class Point:
    x: int
class Box(typing.Generic[T]):
    def __init__(self, value): self.value = value
class Color(enum.Enum):
    RED = 1
class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self): ...
class Square(Shape):
    def area(self): return {1, 2, "a", "b"}
class Outer:
    class Inner:
        pass
def values():
    data = [Plain(), Slotted(1), Point(2), Box[int](3), Color.RED, Square(), Outer.Inner()]
    return [*data, Plain, Slotted, Outer.Inner, T, lambda x: x + 1]
def keep_all():
    for number, value in enumerate(values()):
        keep(f"value {number}", value)
if kind == "first":  # pickled before anything was memorized
    kind = "processes"
    task(values)
keep_all()
task(keep_all)  # the same contents, else an ImmutableEntryError
assert task(lambda: get("value 1").both()) == (1, [1])
slotted = task(lambda: Slotted(5))
assert type(slotted) is Slotted and slotted.both() == (5, [5]) and not hasattr(slotted, "__dict__")
assert task(lambda: [Point(6)]) == [Point(6)]
there = task(lambda: [(kind.__qualname__, hasattr(kind, "__slots__")) for kind in (Slotted, Outer.Inner)])
assert there == [("Slotted", True), ("Outer.Inner", False)]
"""


@pytest.mark.parametrize("kind", ["processes", "first"])
def test_classes_of_a_script_are_the_same_in_tasks(kind: str, tmp_path: Path) -> None:
    """Also classes that are not registered: with slots, and as the same content."""
    (tmp_path / "script.py").write_text(SETUP + UNREGISTERED)
    done = subprocess.run(
        [sys.executable, "script.py", kind],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_class_of_another_script_is_called_so(tmp_path: Path) -> None:
    """It was not registered: the error says where it was defined."""
    common = "import laila\nlaila.memory.extend('file:store', pool_nickname='data')\n"
    programs = (
        """
class Point:
    pass
laila.memorize(laila.constant(Point(), nickname='p'), pool_nickname='data').wait()
""",
        """
try:
    laila.remember(nickname='p', pool_nickname='data').data
except laila.errors.PayloadError as error:
    print(error)
""",
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", common + program],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=200,
            check=True,
        ).stdout
        for program in programs
    ]
    assert "__main__:Point, a class that a script or a notebook defined, and this program has not" in said[1]


@pytest.mark.parametrize("kind", ["processes", "dask"])
def test_modules_come_from_where_the_submitter_has_them(kind: str, tmp_path: Path) -> None:
    """A file of the current folder takes the place of no module in a worker; the script's folder counts."""
    place, here = tmp_path / "place", tmp_path / "here"
    place.mkdir()
    here.mkdir()
    (place / "vehicles.py").write_text("WHEELS = 4\n")
    # Of the last two, helpers beside the workers are made.
    for name in ("fractions", "shelve", "vehicles", "multiprocessing", "loky"):
        (here / f"{name}.py").write_text(f"open({str(tmp_path / 'RAN')!r}, 'a').write({name!r})\n")
    (place / "script.py").write_text(
        SETUP
        + """
def work():
    import fractions, os, shelve, vehicles
    return vehicles.WHEELS, os.environ.get("PYTHONSAFEPATH")
assert task(work) == (4, None), task(work)
"""
    )
    done = subprocess.run(
        [sys.executable, str(place / "script.py"), kind],
        cwd=here,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (tmp_path / "RAN").exists()
