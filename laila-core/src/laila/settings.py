"""Options of pools, task forces, protocols and of laila itself: declared once, taken from four places.

A settings class lists its options; nothing else is needed::

    class BoxSettings(Settings):
        prefix = "box"
        path: str | None = option(default=None, help="where the box stands")
        retries: int = option(default=3, help="how often to try again")
        password: str | None = option(default=None, secret=True, help="what opens it")

    settings = BoxSettings.resolve({"path": path})

Each option takes the first of: what the caller gave (and is not ``None``); ``laila.args`` (``box.path``, or
``box_path``); the environment (``LAILA_BOX_PATH``); its default. The documentation is made from the same
declaration. Conversion of text and the checking of types are in :mod:`laila.conversion`.

URLs and environment dicts are data: they may come from somebody else. What names a program, or stands for the
user, is not taken from them (``from_data=False``), and the user's own secrets go only to the place that the
user's own configuration names (``binds=``). See :mod:`laila.provenance`.
"""

from __future__ import annotations

import os
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    NoReturn,
    Self,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

import attrs

from laila.calling import unknown_option
from laila.conversion import Mismatch, check_value, parse_text, plain, type_name
from laila.errors import SettingsError
from laila.provenance import Data, current_data
from laila.showing import said, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["OptionRow", "Settings", "describe", "option", "settings_table"]


def option(
    default: Any = attrs.NOTHING,
    *,
    factory: Callable[[], object] | None = None,
    help: str = "",
    shown: str | None = None,
    secret: bool = False,
    printed: bool = False,
    from_data: bool = True,
    binds: Callable[[Any], object] | None = None,
    env: str | Sequence[str] | None = None,
    arg: str | None = None,
    validator: Callable[[Any, Any, Any], object] | None = None,
) -> Any:
    """Declare one option of a :class:`Settings` class.

    Args:
        default: taken when nothing else gives a value; without it and ``factory`` the option is required.
        factory: called for a default that must be fresh each time, such as a list.
        help: one sentence for the documentation.
        shown: what the documentation says of a default that is computed, such as from the machine's size.
        secret: never shown in ``repr``, errors, ``public()`` or the environment snapshot.
        printed: whether errors may show a wrong value. Without it only its type is shown: a value may hold
            a password that was meant for another option.
        from_data: False for what names a program, a file to execute or a secret: never taken from a URL's
            query or an environment dict, only from code, ``laila.args`` and the environment.
        binds: for an option that says where secrets go, or how they are protected on the way. Called with
            its value, it returns what must be equal for two values to mean the same place.
        env: environment variables in order of precedence, in place of ``LAILA_<PREFIX>_<NAME>``.
        arg: the name in ``laila.args``, in place of ``<prefix>.<name>``.
        validator: an attrs validator, called as ``validator(settings, attribute, value)``.

    Returns:
        The declaration, for the body of the class.
    """
    names = None if env is None else (env,) if isinstance(env, str) else tuple(env)
    metadata = {
        "help": help,
        "shown": shown,
        "secret": secret,
        "printed": printed and not secret,
        "from_data": from_data,
        "binds": binds,
        "own_env": names,
        "own_arg": arg,
    }
    if factory is not None:
        return attrs.field(factory=factory, metadata=metadata, repr=not secret, validator=validator)
    return attrs.field(default=default, metadata=metadata, repr=not secret, validator=validator)


_PLAIN: dict[str, Any] = {
    "help": "",
    "secret": False,
    "printed": False,
    "from_data": True,
    "binds": None,
    "own_env": None,
    "own_arg": None,
}


def _name_sources(cls: type, fields: list[attrs.Attribute[Any]]) -> list[attrs.Attribute[Any]]:
    """Write into each field's metadata the argument and the variables it is taken from."""
    prefix: str = getattr(cls, "prefix", "")
    named = []
    for field in fields:
        meta = {**_PLAIN, **field.metadata}
        meta["arg"] = meta["own_arg"] or (f"{prefix}.{field.name}" if prefix else field.name)
        parts = [part for part in ("LAILA", prefix, field.name) if part]
        meta["env"] = meta["own_env"] or ("_".join(parts).replace(".", "_").replace("-", "_").upper(),)
        validator = field.validator and _reporting(field.validator)
        named.append(field.evolve(metadata=meta, validator=validator))
    return named


def _reporting(validator: Callable[[Any, Any, Any], object]) -> Callable[[Any, Any, Any], None]:
    """Return ``validator`` with its ``ValueError`` or ``TypeError`` turned into a SettingsError."""

    def validate(settings: object, field: attrs.Attribute[Any], value: object) -> None:
        try:
            validator(settings, field, value)
        except SettingsError:
            raise
        except (ValueError, TypeError) as error:
            # A validator's message quotes the value, which must not get out, not even as a cause.
            printed = field.metadata["printed"]
            reason = said(error)
            if not printed:
                reason = _without(reason, value, field.metadata["secret"])
            raise SettingsError(
                f"option {shown(field.name)} is wrong: {reason}; {_where(field)}", option=field.name
            ) from (error if printed else None)

    return validate


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(option,))
class Settings:
    """The base of every group of options. Subclasses become frozen attrs classes with keyword arguments.

    Instances are immutable, comparable, and safe to share between threads.
    """

    prefix: ClassVar[str] = ""
    """Stands before each option's name in ``laila.args`` and in the environment."""

    at_own_place: ClassVar[bool] = True
    """False in an instance whose place was named by data: the user's own secrets must not go there."""

    if TYPE_CHECKING:
        # Hidden from get_type_hints, which would have to evaluate them.
        __attrs_attrs__: ClassVar[tuple[attrs.Attribute[Any], ...]]
        _resolved_types: ClassVar[dict[str, Any]]
    else:
        __attrs_attrs__ = ()

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        # Without slots attrs works on the class in place, which is what lets a plain subclass be enough.
        attrs.define(
            cls, auto_attribs=True, slots=False, frozen=True, kw_only=True, field_transformer=_name_sources
        )

    @classmethod
    def resolve(cls, given: Mapping[str, object] | None = None) -> Self:
        """Build the settings from ``given``, ``laila.args``, the environment and the defaults, in this order.

        A value of ``None`` in ``given`` counts as not given; so does an empty environment variable. Raises
        :class:`~laila.errors.SettingsError` for an unknown option, a missing one or a value of a wrong type,
        naming the option, its argument and its variable (and never a secret's value).

        Args:
            given: Options from code, by name.

        Raises:
            SettingsError: an option is unknown, missing or of a wrong type.
        """
        given = given or {}
        fields = cls._fields()
        for name in given:
            if name not in fields:
                _refuse_unknown(cls, name, fields)
        types = cls._types()
        values: dict[str, Any] = {}
        data = current_data()
        own_place = data is None or cls._is_own_place(given, data)
        for name, field in fields.items():
            value = _find(field, given.get(name), types[name])
            if data is not None and not own_place and field.metadata["secret"] and given.get(name) is None:
                if value is not attrs.NOTHING:
                    data.withheld.append(_source(field))
                value = attrs.NOTHING
            if value is not attrs.NOTHING:
                values[name] = value
            elif field.default is attrs.NOTHING:
                raise SettingsError(f"{_title(cls)} needs {shown(name)}: {_where(field)}", option=name)
        settings = cls(**values)
        if not own_place:
            object.__setattr__(settings, "at_own_place", False)  # it is frozen
        return settings

    @classmethod
    def _is_own_place(cls, values: Mapping[str, object], data: Data) -> bool:
        """Whether ``data`` sends secrets nowhere but where they would go without it.

        Raises :class:`~laila.errors.SettingsError` where an option was given that is not taken from data.
        """
        own_place = True
        types = cls._types()
        for name, field in cls._fields().items():
            value, meta = values.get(name), field.metadata
            if value is None or name in data.trusted or (meta["from_data"] and meta["binds"] is None):
                continue
            own = _find(field, None, types[name])
            if own is attrs.NOTHING:
                own = _default(field)
            if not meta["from_data"] and value != own:
                _refuse_data(field, "an environment, or a URL from elsewhere")
            if meta["binds"] is not None and meta["binds"](value) != meta["binds"](own):
                own_place = False
        return own_place

    @classmethod
    def parse_text(cls, name: str, text: str) -> object:
        """Convert ``text`` (of a URL's query, say) to the type of option ``name``.

        Args:
            name: The name of the option.
            text: The text.

        Returns:
            The value.
        """
        fields = cls._fields()
        if name not in fields:
            _refuse_unknown(cls, name, fields)
        if not fields[name].metadata["from_data"]:
            _refuse_data(fields[name], "a URL")
        return _from_text(fields[name], text, cls._types()[name], "in the URL")

    @classmethod
    def parse_query(cls, query: str) -> dict[str, object]:
        """Convert a URL's query (``durable=process&lock=error``) to options, which :meth:`resolve` takes.

        Args:
            query: The query of a URL.

        Returns:
            Options and their values.
        """
        from urllib.parse import parse_qsl

        return {name: cls.parse_text(name, text) for name, text in parse_qsl(query, keep_blank_values=True)}

    def public(self) -> dict[str, object]:
        """Return the options that are no secrets as a JSON-able dict, which ``resolve`` takes.

        Returns:
            Names and values that JSON can hold.
        """
        return {
            name: plain(getattr(self, name))
            for name, field in self._fields().items()
            if not field.metadata["secret"]
        }

    @classmethod
    def secret_names(cls) -> list[str]:
        """Return the names of the options that :meth:`public` leaves out.

        Returns:
            The names.
        """
        return [name for name, field in cls._fields().items() if field.metadata["secret"]]

    @classmethod
    def _fields(cls) -> dict[str, attrs.Attribute[Any]]:
        return {field.name: field for field in cls.__attrs_attrs__ if field.init}

    @classmethod
    def _types(cls) -> dict[str, Any]:
        cached = cls.__dict__.get("_resolved_types")
        if cached is None:
            try:
                cached = cls._resolved_types = get_type_hints(cls)
            except NameError as error:
                raise TypeError(
                    f"the types of {cls.__qualname__}'s options must be importable at run time, "
                    f"not only under TYPE_CHECKING: {error}"
                ) from error
        types: dict[str, Any] = cached
        return types


class OptionRow(NamedTuple):
    """One row of a settings class's documentation."""

    name: str
    type: str
    default: str
    arg: str
    env: str
    help: str


def describe(settings_cls: type[Settings]) -> list[OptionRow]:
    """Return one row per option, in the order of declaration. A secret's default is not shown."""
    return list(_rows(settings_cls))


def settings_table(settings_cls: type[Settings]) -> str:
    """Return the rows of :func:`describe` as a Markdown table."""
    lines = [
        "| option | type | default | `laila.args` | environment | meaning |",
        "|---|---|---|---|---|---|",
    ]
    for row in _rows(settings_cls):
        variables = ", ".join(f"`{name}`" for name in row.env.split(", "))
        kind = row.type.replace("|", "\\|")
        lines.append(f"| `{row.name}` | `{kind}` | {row.default} | `{row.arg}` | {variables} | {row.help} |")
    return "\n".join(lines) + "\n"


def _rows(cls: type[Settings]) -> Iterator[OptionRow]:
    types = cls._types()
    for name, field in cls._fields().items():
        meta = field.metadata
        default = _default(field)
        if meta["shown"] is not None:
            shown_text = meta["shown"]
        elif default is attrs.NOTHING:
            shown_text = "required"
        elif default is None:
            shown_text = "none"
        elif meta["secret"]:
            shown_text = "not shown"
        else:
            shown_text = f"`{shown(plain(default))}`"
        text = f"{meta['help']} (secret)".strip() if meta["secret"] else meta["help"]
        yield OptionRow(name, type_name(types[name]), shown_text, meta["arg"], ", ".join(meta["env"]), text)


def _default(field: attrs.Attribute[Any]) -> object:
    default: Any = field.default
    return default.factory() if isinstance(default, attrs.Factory) else default  # type: ignore[arg-type]


def _find(field: attrs.Attribute[Any], passed: object, kind: Any) -> object:
    """Return the option's value from the first place that has one, or ``NOTHING``."""
    if passed is not None:
        return _checked(field, passed, kind, "in the call")
    from laila.arguments import args

    argument = args.find(field.metadata["arg"])
    if argument is not None and argument.value is not None:
        where = f"in laila.args.{field.metadata['arg']}"
        if argument.text is not None:
            # A quoted text counts without its quotes.
            read = argument.value if isinstance(argument.value, str) else argument.text
            return _from_text(field, read, kind, where)
        return _checked(field, argument.value, kind, where)
    for variable in field.metadata["env"]:
        text = os.environ.get(variable)
        if text:
            return _from_text(field, text, kind, f"in the environment variable {variable}")
    return attrs.NOTHING


def _checked(field: attrs.Attribute[Any], value: object, kind: Any, where: str) -> object:
    try:
        return check_value(value, kind)
    except Mismatch as error:
        _refuse_value(field, value, kind, where, error)


def _from_text(field: attrs.Attribute[Any], text: str, kind: Any, where: str) -> object:
    try:
        return parse_text(text, kind)
    except Mismatch as error:
        _refuse_value(field, text, kind, where, error)


def _refuse_value(
    field: attrs.Attribute[Any], value: object, kind: Any, where: str, error: Mismatch
) -> NoReturn:
    if field.metadata["printed"]:
        text = shown(value, 80)
        reason = f" ({error})" if str(error) else ""
    else:
        why = "a secret: not shown" if field.metadata["secret"] else "not shown, as it may hold a secret"
        text, reason = f"of type {type(value).__name__} ({why})", ""
    raise SettingsError(
        f"option {shown(field.name)} must be {_named(kind)}, but {where} it is {text}{reason}; "
        f"{_where(field)}",
        option=field.name,
    )


def _named(kind: Any) -> str:
    """How an error says what a value must be: the texts themselves where it is one of some."""
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    return type_name(kind)


def _refuse_data(field: attrs.Attribute[Any], source: str) -> NoReturn:
    raise SettingsError(
        f"option {shown(field.name)} is not taken from {source}, which is data and may come from "
        "somebody else: "
        f"the option names what is run here, or what stands for you; {_where(field)}",
        option=field.name,
    )


def _without(text: str, value: object, secret: bool) -> str:
    """``text`` without the value that it is about, as far as it says anything then."""
    if secret:
        return "its value is refused"
    for form in (shown(value, 1000), shown(value, 1000)[1:-1], value if isinstance(value, str) else ""):
        text = text.replace(form, "its value") if form else text
    return text


def _source(field: attrs.Attribute[Any]) -> str:
    """Where the user's own configuration has a value."""
    from laila.arguments import args

    argument = args.find(field.metadata["arg"])
    if argument is not None and argument.value is not None:
        return f"laila.args.{field.metadata['arg']}"
    return next((name for name in field.metadata["env"] if os.environ.get(name)), field.name)


def _refuse_unknown(cls: type[Settings], name: str, fields: Mapping[str, object]) -> NoReturn:
    raise unknown_option(_title(cls), name, fields)


def _title(cls: type[Settings]) -> str:
    return cls.prefix or cls.__name__


def _where(field: attrs.Attribute[Any]) -> str:
    variables = " or ".join(field.metadata["env"])
    return f"give it as {field.name}=, as laila.args.{field.metadata['arg']}, or in {variables}"
