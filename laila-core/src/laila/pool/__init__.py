"""The namespace of pools: where entries are kept.

Siblings install their parts beside what the core brings; a class is found here by its name once its
distribution is installed, and the error names the distribution while it is not.
"""

from __future__ import annotations

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)

TYPE_CHECKING = False
if not TYPE_CHECKING:

    def __getattr__(name):
        from laila.plugins import class_by_name

        value = globals()[name] = class_by_name("laila.pools", name)
        return value
