"""The hooks that are listened to: loading hook modules, registering them, telling them what happens.

:func:`listeners` is what laila asks before it tells anything, and costs one look into a dict. pluggy is
imported with the first implementation; where there is none it never is.
"""

from __future__ import annotations

from laila.errors import InvalidValueError, PluginError
from laila.locks import long_lock
from laila.plugins.importing import deadline, within
from laila.showing import said, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pluggy import HookImpl, PluginManager

    from laila.futures import Future
    from laila.plugins.plugin import Plugin

__all__ = ["Hooks", "call_hook", "hooks", "listeners", "load_hooks", "watch"]

# Hook name to implementations, in the order of calling. Replaced as a whole: readers need no lock.
_listening: dict[str, tuple[HookImpl, ...]] = {}


class _Watch:
    """Whether anybody listens to anything: one attribute to read on the paths where nobody does."""

    __slots__ = ("anybody",)

    anybody: bool


watch = _Watch()
watch.anybody = False
_lock = long_lock()
_hooks: Hooks | None = None
_loaded = False
_complained: set[tuple[str, str]] = set()

_REGISTER = {
    "laila_register_codecs": "laila.codec.registry",
    "laila_register_transformations": "laila.transform",
}


def listeners(name: str) -> bool:
    """Whether anything implements the hook ``name``."""
    return name in _listening


def call_hook(name: str, **arguments: object) -> None:
    """Call every implementation of the hook ``name``. An error is logged, once, and hurts nobody."""
    for impl in _listening.get(name, ()):
        try:
            impl.function(*[arguments[argument] for argument in impl.argnames])
        except Exception as error:  # noqa: BLE001 - an observer's failure is its own; it is logged
            _complain(impl.plugin_name, name, error)


class Hooks:
    """The implementations that are registered in this process."""

    def __init__(self) -> None:
        from pluggy import PluginManager

        from laila.contract import hookspecs

        self.manager: PluginManager = PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)

    def register(self, plugin: object, name: str | None = None) -> str:
        """Register a module or object with ``@hookimpl`` functions; let it register what it brings.

        Returns the name it is registered under. The same object again replaces what it had. Raises
        :class:`~laila.errors.PluginError`, and registers nothing, for a hook that is not there, arguments
        that it does not have, a wrapper, an ``async`` function, a name that is taken, or a registration that
        raises.
        """
        label = name or getattr(plugin, "__name__", None) or type(plugin).__name__
        self._check(plugin, label)
        with _lock:
            try:
                if self.manager.get_plugin(label) is plugin:  # its cell or module is run again
                    self.manager.unregister(plugin)
                registered = self.manager.register(plugin, name)
            except Exception as error:
                # pluggy may stop half-way through a plugin's hooks: take back what it did.
                if self.manager.has_plugin(label) and self.manager.get_plugin(label) is plugin:
                    self.manager.unregister(plugin)
                raise PluginError(
                    f"the hooks of {shown(label)} break their contract: {said(error)}",
                    plugin=label,
                    distribution=None,
                ) from error
            if registered is None:
                raise PluginError(f"the plugin {shown(label)} is blocked", plugin=label, distribution=None)
            self._refresh()
        try:
            self._hand_over(registered)
        except Exception as error:
            self.unregister(plugin)
            raise PluginError(
                f"the plugin {shown(label)} failed to register what it brings: {type(error).__name__}: "
                f"{said(error)}",
                plugin=label,
                distribution=None,
            ) from error
        return registered

    def unregister(self, plugin: object) -> None:
        """Take a plugin's implementations out. Raises ``ValueError`` where it is not registered."""
        with _lock:
            if not self.manager.is_registered(plugin):
                raise InvalidValueError(f"{shown(plugin)} is not registered")
            self.manager.unregister(plugin)
            self._refresh()

    def names(self) -> list[str]:
        """Return the names of the registered plugins."""
        return sorted(name for name, plugin in self.manager.list_name_plugin() if plugin is not None)

    def _check(self, plugin: object, label: str) -> None:
        from inspect import iscoroutinefunction

        from laila.contract import hookspecs

        for attribute in dir(plugin):
            options = self.manager.parse_hookimpl_opts(plugin, attribute)
            if options is None:
                continue
            hook = options["specname"] or attribute
            fault = ""
            if options["wrapper"] or options["hookwrapper"]:
                fault = "is a wrapper; hooks observe and take no wrappers"
            elif iscoroutinefunction(getattr(plugin, attribute)):
                fault = "is async; hooks are plain functions"
            elif not hasattr(hookspecs, hook) and not options["optionalhook"]:
                fault = "is no hook of this laila"
            if fault:
                raise PluginError(
                    f"the hooks of {shown(label)} break their contract: {hook} {fault}",
                    plugin=label,
                    distribution=None,
                )

    def _hand_over(self, name: str) -> None:
        """Call the registering hooks of one plugin, whose errors, unlike an observer's, leave it out."""
        import importlib

        for hook, module in _REGISTER.items():
            for impl in _listening.get(hook, ()):
                if impl.plugin_name == name:
                    values = {"registry": importlib.import_module(module)}
                    impl.function(*[values[argument] for argument in impl.argnames])

    def _refresh(self) -> None:
        global _listening
        callers = vars(self.manager.hook)
        # pluggy calls the last registered first, and keeps them the other way round.
        _listening = {
            name: tuple(reversed(caller.get_hookimpls()))
            for name, caller in callers.items()
            if name.startswith("laila_") and caller.get_hookimpls()
        }
        watch.anybody = bool(_listening)
        from laila.futures import set_observer

        set_observer(_tell_settled if listeners("laila_future_settled") else None)


def _tell_settled(future: Future[Any]) -> None:
    call_hook("laila_future_settled", future=future)


def hooks() -> Hooks:
    """Return this process's hooks; imports pluggy on first use, and loads no plugin."""
    global _hooks
    if _hooks is None:
        with _lock:
            if _hooks is None:
                _hooks = Hooks()
    return _hooks


def load_hooks() -> None:
    """Import and register the modules of the entry-point group ``laila.plugins``, once a process.

    Called when a policy is initialized. A module that raises, takes longer than the deadline
    (``LAILA_PLUGINS_DEADLINE``) or breaks its contract is left out and reported through ``logging``.
    """
    global _loaded
    with _lock:
        if _loaded:
            return
        _loaded = True
    from laila.plugins.registry import hook_plugins

    plugins = [plugin for plugin in hook_plugins() if plugin.error is None]
    if not plugins:
        return
    seconds = deadline()
    for plugin in plugins:
        _load_module(plugin, seconds)


def _load_module(plugin: Plugin, seconds: float) -> None:
    claim = plugin.candidate.claim
    try:
        outcome = within(seconds, claim.entry_point.load, f"laila-plugin-{claim.name}")
        module = plugin.imported(outcome, seconds)
    except PluginError:
        return  # kept in the plugin, and logged
    try:
        hooks().register(module, claim.name)
    except PluginError as refusal:
        plugin.fail(f"cannot be used: {refusal}", refusal.__cause__)
    except Exception as failure:  # noqa: BLE001 - a plugin never stops a policy; it is kept and reported
        plugin.fail(f"cannot be used: {type(failure).__name__}: {said(failure)}", failure)
    else:
        plugin.loaded = module


def _complain(plugin: str, hook: str, error: Exception) -> None:
    if (plugin, hook) in _complained:
        return
    _complained.add((plugin, hook))
    from laila.showing import logger, said

    logger("laila.plugins").warning(
        "the plugin %s raised in %s, and will not be reported again: %s",
        shown(plugin),
        hook,
        said(error),
        exc_info=error,
    )
