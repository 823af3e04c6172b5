"""Settings: the four sources and their order, strict types, secrets, and the table made from them."""

from __future__ import annotations

import enum
import json
import pickle
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest

from laila.arguments import args
from laila.central.naming import open_pool
from laila.errors import LailaError, SettingsError
from laila.provenance import options_from_data
from laila.settings import Settings, describe, option, settings_table


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


class BoxSettings(Settings):
    prefix = "box"

    path: str | None = option(default=None, help="where the box stands")
    count: int = option(default=3, help="how many", printed=True, validator=attrs.validators.ge(0))
    ratio: float = option(default=0.5, help="how much")
    fast: bool = option(default=False, help="whether to hurry")
    tags: list[str] = option(factory=list, help="labels")
    sizes: tuple[int, ...] = option(default=(1, 2), help="sizes")
    limits: dict[str, int] = option(factory=dict, help="limits")
    mode: Literal["r", "w"] = option(default="r", help="what for")
    colour: Colour = option(default=Colour.RED, help="which colour")
    home: Path = option(default=Path("/tmp"), help="a path")
    either: int | str | None = option(default=None, help="a number or a word")
    password: str | None = option(default=None, secret=True, help="what opens it")
    region: str | None = option(
        default=None, env=("LAILA_BOX_REGION", "BOX_REGION"), arg="region", help="where"
    )


class NeedySettings(Settings):
    prefix = "needy"

    url: str = option(help="where to go")
    pin: int | None = option(
        default=None, secret=True, validator=attrs.validators.optional(attrs.validators.ge(1000))
    )


class ChildSettings(BoxSettings):
    prefix = "child"

    extra: int = option(default=0)


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    args.clear()
    yield
    args.clear()


def test_the_order_of_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    assert BoxSettings.resolve().count == 3
    monkeypatch.setenv("LAILA_BOX_COUNT", "4")
    assert BoxSettings.resolve().count == 4
    args["box"] = {"count": 5}
    assert BoxSettings.resolve().count == 5
    assert BoxSettings.resolve({"count": 6}).count == 6
    assert BoxSettings.resolve({"count": None}).count == 5
    args.clear()
    args.box_count = 7
    assert BoxSettings.resolve().count == 7


def test_several_variables_are_asked_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOX_REGION", "second")
    assert BoxSettings.resolve().region == "second"
    monkeypatch.setenv("LAILA_BOX_REGION", "first")
    assert BoxSettings.resolve().region == "first"
    monkeypatch.setenv("LAILA_BOX_REGION", "")
    assert BoxSettings.resolve().region == "second"
    args.region = "argument"
    assert BoxSettings.resolve().region == "argument"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("path", "/a b", "/a b"),
        ("path", "none", None),
        ("count", " 12 ", 12),
        ("ratio", "1e-3", 0.001),
        ("ratio", "2", 2.0),
        ("fast", "Yes", True),
        ("fast", "0", False),
        ("tags", "a, b,,c", ["a", "b", "c"]),
        ("tags", '["a,b", "c"]', ["a,b", "c"]),
        ("sizes", "4,5", (4, 5)),
        ("sizes", "[6]", (6,)),
        ("limits", '{"a": 1}', {"a": 1}),
        ("mode", "w", "w"),
        ("colour", "blue", Colour.BLUE),
        ("colour", "b", Colour.BLUE),
        ("home", "/srv", Path("/srv")),
        ("either", "12", 12),
        ("either", "twelve", "twelve"),
        ("either", "null", None),
        ("password", "0123", "0123"),
    ],
)
def test_text_is_read_by_the_declared_type(
    name: str, text: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"LAILA_BOX_{name.upper()}", text)
    found = getattr(BoxSettings.resolve(), name)
    assert (found, type(found)) == (value, type(value))
    assert BoxSettings.parse_text(name, text) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("count", "3.5"),
        ("count", "many"),
        ("count", "9" * 5000),
        ("ratio", "half"),
        ("fast", "maybe"),
        ("sizes", "1,x"),
        ("sizes", "[1"),
        ("limits", "a"),
        ("limits", '{"a": "x"}'),
        ("limits", "[" * 100_000),
        ("mode", "x"),
        ("colour", "green"),
    ],
)
def test_text_of_the_wrong_type_is_refused_by_name(
    name: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"LAILA_BOX_{name.upper()}", text)
    with pytest.raises(SettingsError) as caught:
        BoxSettings.resolve()
    message = str(caught.value)
    assert caught.value.option == name
    assert f"environment variable LAILA_BOX_{name.upper()}" in message
    assert f"laila.args.box.{name}" in message
    assert len(message) < 500


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("path", Path("/x"), "/x"),
        ("count", 0, 0),
        ("ratio", 1, 1.0),
        ("tags", ("a",), ["a"]),
        ("sizes", [1], (1,)),
        ("colour", Colour.BLUE, Colour.BLUE),
        ("colour", "b", Colour.BLUE),
        ("home", "/y", Path("/y")),
        ("either", "12", "12"),
        ("limits", {"a": 2}, {"a": 2}),
    ],
)
def test_values_that_fit(name: str, value: object, kept: object) -> None:
    found = getattr(BoxSettings.resolve({name: value}), name)
    assert (found, type(found)) == (kept, type(kept))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("path", 3),
        ("path", b"/x"),
        ("count", "3"),
        ("count", True),
        ("count", 3.0),
        ("ratio", True),
        ("ratio", "1"),
        ("fast", 1),
        ("tags", "a"),
        ("tags", [1]),
        ("sizes", [1, "2"]),
        ("limits", {"a": "1"}),
        ("limits", [("a", 1)]),
        ("mode", "x"),
        ("home", 3),
    ],
)
def test_values_of_the_wrong_type_are_refused(name: str, value: object) -> None:
    with pytest.raises(SettingsError, match=rf"option '{name}' must be .* in the call it is ") as caught:
        BoxSettings.resolve({name: value})
    assert f"{name}=" in str(caught.value)
    assert "LAILA_BOX_" in str(caught.value)


def test_a_value_of_an_arguments_file_is_checked_too() -> None:
    args["box"] = {"count": "3"}
    with pytest.raises(SettingsError, match=r"in laila\.args\.box\.count it is '3'"):
        BoxSettings.resolve()


def test_an_unknown_option_suggests_the_known_one() -> None:
    with pytest.raises(SettingsError, match="no option 'cuont'; did you mean 'count'"):
        BoxSettings.resolve({"cuont": 3})
    with pytest.raises(SettingsError, match="no option 'prefix'"):
        BoxSettings.resolve({"prefix": "x"})


def test_a_required_option_says_where_it_may_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"needs 'url'.*laila\.args\.needy\.url.*LAILA_NEEDY_URL"):
        NeedySettings.resolve()
    monkeypatch.setenv("LAILA_NEEDY_URL", "x://y")
    assert NeedySettings.resolve().url == "x://y"


def test_a_validator_names_the_option() -> None:
    with pytest.raises(SettingsError, match=r"option 'count' is wrong.*LAILA_BOX_COUNT") as caught:
        BoxSettings.resolve({"count": -1})
    assert isinstance(caught.value.__cause__, ValueError)


def test_secrets_never_show(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = BoxSettings.resolve({"password": "hunter2"})
    assert settings.password == "hunter2"
    assert "hunter2" not in repr(settings) + str(settings) + json.dumps(settings.public())
    assert BoxSettings.secret_names() == ["password"]
    assert "password" not in settings.public()
    with pytest.raises(SettingsError) as caught:
        BoxSettings.resolve({"password": ["hunter2"]})
    assert "hunter2" not in str(caught.value)
    with pytest.raises(SettingsError) as caught:
        NeedySettings.resolve({"url": "u", "pin": 777})
    assert "777" not in str(caught.value)
    assert caught.value.__cause__ is None
    monkeypatch.setenv("LAILA_NEEDY_PIN", "sesame")
    with pytest.raises(SettingsError) as caught:
        NeedySettings.resolve({"url": "u"})
    assert "sesame" not in str(caught.value)


def test_public_options_are_json_and_build_equal_settings() -> None:
    given: Mapping[str, object] = {
        "path": "/x", "tags": ["t"], "sizes": (7,), "colour": Colour.BLUE, "home": Path("/h"),
        "limits": {"a": 1},
    }  # fmt: skip
    settings = BoxSettings.resolve(given)
    public = json.loads(json.dumps(settings.public()))
    assert public["colour"] == "b"
    assert BoxSettings.resolve(public) == settings


def test_settings_cannot_change_and_compare_by_value() -> None:
    settings = BoxSettings.resolve()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        settings.count = 9  # type: ignore[misc]
    assert settings == BoxSettings.resolve() != BoxSettings.resolve({"count": 1})
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_a_subclass_takes_the_options_under_its_own_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {row.name: row for row in describe(ChildSettings)}
    assert list(rows) == [row.name for row in describe(BoxSettings)] + ["extra"]
    assert rows["count"].env == "LAILA_CHILD_COUNT"
    assert rows["region"].env == "LAILA_BOX_REGION, BOX_REGION"
    monkeypatch.setenv("LAILA_CHILD_COUNT", "8")
    assert ChildSettings.resolve().count == 8
    assert BoxSettings.resolve().count == 3
    with pytest.raises(SettingsError, match="option 'count' is wrong"):
        ChildSettings.resolve({"count": -1})


def test_types_hidden_from_run_time_are_an_authors_error() -> None:
    class HiddenSettings(Settings):
        thing: NotImported = option(default=None)  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(TypeError, match="importable at run time"):
        HiddenSettings.resolve()


def test_what_json_cannot_hold_is_refused_when_it_is_written_down() -> None:
    class AnySettings(Settings):
        thing: Any = option(default=None)

    assert AnySettings.resolve({"thing": {1}}).public() == {"thing": [1]}
    with pytest.raises(TypeError, match="cannot be written as JSON"):
        AnySettings.resolve({"thing": object()}).public()


def test_describe_and_the_table_come_from_the_declaration() -> None:
    rows: Sequence[tuple[str, ...]] = describe(BoxSettings)
    assert rows[1] == ("count", "int", "`3`", "box.count", "LAILA_BOX_COUNT", "how many")
    table = settings_table(BoxSettings)
    assert (
        "| `path` | `str \\| None` | none | `box.path` | `LAILA_BOX_PATH` | where the box stands |" in table
    )
    assert "| `password` | `str \\| None` | none |" in table
    assert "what opens it (secret) |" in table
    assert "`LAILA_BOX_REGION`, `BOX_REGION`" in table
    assert len(table.splitlines()) == 2 + len(rows)


def first_party_settings() -> list[tuple[str, type[Settings]]]:
    """Every settings class of laila's that is installed here, by the component that has it."""
    from laila.errors import PluginError
    from laila.plugins import pools, protocols, taskforces
    from laila.plugins.first_party import FIRST_PARTY
    from laila.plugins.settings import PluginSettings

    found: list[tuple[str, type[Settings]]] = [("plugins", PluginSettings)]
    registries = {"laila.pools": pools(), "laila.taskforces": taskforces(), "laila.protocols": protocols()}
    for party in FIRST_PARTY:
        if party.name not in registries[party.group].names():
            continue
        try:
            component = registries[party.group].get(party.name)
        except PluginError as error:  # pragma: no cover - only while a sibling is half built
            pytest.fail(str(error))
        module = __import__(component.__module__, fromlist=["*"])
        found += [
            (party.name, value)
            for value in vars(module).values()
            if isinstance(value, type) and issubclass(value, Settings) and value.prefix  # none: a base
        ]
    return found


def test_every_first_party_setting_is_documented() -> None:
    docs = Path(__file__).parents[2] / "docs" / "reference"
    text = "\n".join(page.read_text("utf-8") for page in sorted(docs.glob("**/*.md")))
    for name, settings in first_party_settings():
        for line in settings_table(settings).splitlines()[2:]:
            assert line in text, f"docs/reference lacks a row of {name}: {line}"


def told(error: BaseException | None) -> str:
    """All that a traceback says of an error, but for the lines of code."""
    if error is None:
        return ""
    context = None if error.__suppress_context__ else error.__context__
    return f"{error!r} {error} {told(error.__cause__ or context)}"


class DoorSettings(Settings):
    prefix = "door"

    url: str | None = option(default=None, binds=lambda url: url and url.partition("/")[0])
    check: bool = option(default=True, binds=bool)
    program: str | None = option(default=None, from_data=False)
    password: str | None = option(default=None, secret=True)


def test_what_names_a_program_is_not_taken_from_data(monkeypatch: pytest.MonkeyPatch) -> None:
    assert DoorSettings.resolve({"program": "/bin/x"}).program == "/bin/x"
    reads: list[Callable[[], object]] = [
        lambda: DoorSettings.parse_query("program=/bin/x"),
        lambda: DoorSettings.parse_text("program", "/bin/x"),
    ]
    for read in reads:
        with pytest.raises(SettingsError, match=r"'program' is not taken from a URL.*LAILA_DOOR_PROGRAM"):
            read()
    with options_from_data():
        with pytest.raises(SettingsError, match="'program' is not taken from an environment"):
            DoorSettings.resolve({"program": "/bin/x"})
        monkeypatch.setenv("LAILA_DOOR_PROGRAM", "/bin/mine")
        assert DoorSettings.resolve({"url": "h/1"}).program == "/bin/mine"
        assert DoorSettings.resolve({"program": "/bin/mine"}).program == "/bin/mine"
    with options_from_data(["program"]):
        assert DoorSettings.resolve({"program": "/bin/x"}).program == "/bin/x"
    assert DoorSettings.resolve({"program": "/bin/x"}).program == "/bin/x"


@pytest.mark.parametrize(
    ("given", "own_place"),
    [
        ({}, True),
        ({"url": "mine"}, True),
        ({"url": "mine/other"}, True),
        ({"url": "theirs"}, False),
        ({"url": "mine", "check": False}, False),
        ({"check": True}, True),
    ],
)
@pytest.mark.parametrize("source", ["environment", "args"])
def test_secrets_go_to_the_place_that_the_user_names(
    given: dict[str, Any], own_place: bool, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source == "args":
        args["door"] = {"url": "mine", "password": "hunter2"}
    else:
        monkeypatch.setenv("LAILA_DOOR_URL", "mine")
        monkeypatch.setenv("LAILA_DOOR_PASSWORD", "hunter2")
    assert DoorSettings.resolve(given).password == "hunter2"
    with options_from_data() as data:
        settings = DoorSettings.resolve(given)
        assert settings.password == ("hunter2" if own_place else None)
        assert settings.at_own_place is own_place
        withheld = [] if own_place else ["laila.args.door.password", "LAILA_DOOR_PASSWORD"]
        assert set(data.withheld) <= set(withheld)
        assert bool(data.withheld) is not own_place
        assert DoorSettings.resolve({**given, "password": "theirs"}).password == "theirs"
    with options_from_data(["url", "check"]):
        assert DoorSettings.resolve(given).password == "hunter2"


@pytest.mark.parametrize(
    "given", [{"path": 3}, {"tags": "hunter2"}, {"region": ["hunter2"]}, {"colour": "hunter2"}]
)
def test_no_value_is_shown_unless_its_option_says_so(given: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="not shown") as caught:
        BoxSettings.resolve(given)
    assert "hunter2" not in told(caught.value)


def test_a_validator_shows_no_value_either() -> None:
    class Lid(Settings):
        prefix = "lid"
        word: str = option(default="a", validator=attrs.validators.in_(["a", "b"]))
        shown: str = option(default="a", validator=attrs.validators.in_(["a", "b"]), printed=True)

    with pytest.raises(SettingsError, match="'word' is wrong") as caught:
        Lid.resolve({"word": "hunter2"})
    assert "hunter2" not in told(caught.value)
    with pytest.raises(SettingsError, match="hunter2"):
        Lid.resolve({"shown": "hunter2"})


@pytest.mark.parametrize(
    "url",
    [
        ":hunter2@h/0", "redis//:hunter2@h/0", "redis:/:hunter2@h/0", "redos://:hunter2@h/0", "//:hunter2@h",
        "redis ://:hunter2@h/0", "file://me:hunter2@h/x", "hdf5://hunter2@h", "memory://x?password=hunter2",
        "memory://me:hunter2@h#", "s3:x#hunter2@", "s3://b?secret_access_key=hunter2",  "me:hunter2@h",
        "rediss://:hunter2@[/0", "unix://:hunter2@h/x", "redis://?password=hunter2&timeout=x",
    ],
)  # fmt: skip
def test_no_error_shows_what_a_url_holds(url: str) -> None:
    with pytest.raises((LailaError, ImportError)) as caught:
        open_pool(url)
    assert "hunter2" not in told(caught.value)


def test_the_page_of_settings_lists_every_variable_that_is_read() -> None:
    """Those without a table of options too; names that are no variables are listed here."""
    root = Path(__file__).resolve().parents[2]
    none = {"LAILA_DEFAULT_DIRECTORIES", "LAILA_UNIVERSAL_NAMESPACE", "LAILA_UNIVERSAL_NAMESPACE_TEXT"}
    none |= {"LAILA_BOX_PATH", "LAILA_BOX_PASSWORD"}  # of an example
    none |= {"LAILA_PLUGIN", "LAILA_PLUGINS_PREFER"}  # the start of a name, and a mistaken one
    page = (root / "docs/reference/settings.md").read_text()
    read = {
        name
        for source in root.glob("laila-*/src/**/*.py")
        for name in re.findall(r"\bLAILA_[A-Z0-9_]*[A-Z0-9]\b", source.read_text())
        if not name.startswith(("LAILA_TEST_", "LAILA_BENCH_", "LAILA_STORE_EVERYTHING"))
    }
    assert "LAILA_STRICT" in read
    assert {name for name in read - none if f"`{name}`" not in page} == set()
