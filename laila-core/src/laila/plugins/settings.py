"""What an operator may say about plugins: which to use, which not, and how long to wait for one."""

from __future__ import annotations

import attrs

from laila.plugins.importing import DEADLINE
from laila.settings import Settings, option

__all__ = ["PluginSettings"]


class PluginSettings(Settings):
    """Read when plugins are looked for, and again by ``rescan()``. What laila-core brings always stays."""

    prefix = "plugins"

    block: tuple[str, ...] = option(
        default=(), help="plugins to leave out, by name or distribution; `*` leaves out all"
    )
    allow: tuple[str, ...] | None = option(
        default=None, help="the only plugins to use, by name or distribution; unset, all are"
    )
    prefer: dict[str, str] = option(
        factory=dict,
        env="LAILA_PLUGIN_PREFER",
        help="whose plugin to use if two distributions claim one name: `s3=some-dist`",
    )
    deadline: float = option(
        printed=True,
        default=DEADLINE,
        help="seconds that the import of a plugin may go on without any module being imported",
        validator=attrs.validators.gt(0),
    )
