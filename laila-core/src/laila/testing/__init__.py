"""Suites that prove a plugin: subclass one, say how to open the plugin, and run pytest.

    import pytest
    from laila.testing import PoolConformance


    class TestBoxPool(PoolConformance):
        @pytest.fixture
        def open_pool(self, tmp_path):
            return lambda **options: BoxPool(tmp_path / "box", **options)

Every test is about one promise of the contract, and a failure says which one is broken. Needs the extra
``testing`` (pytest and hypothesis) and nothing else: no numpy, no server. The suites are versioned as the
contract is: within one major version a suite may find more faults, and asks for nothing new.
"""

from __future__ import annotations

from laila.lazy import lazily

TYPE_CHECKING = False
if TYPE_CHECKING:
    from laila.testing.pools import PoolConformance
    from laila.testing.protocols import ProtocolConformance
    from laila.testing.taskforces import TaskForceConformance

__all__ = ["PoolConformance", "ProtocolConformance", "TaskForceConformance"]

_HOMES = {
    "PoolConformance": "laila.testing.pools",
    "ProtocolConformance": "laila.testing.protocols",
    "TaskForceConformance": "laila.testing.taskforces",
}

if not TYPE_CHECKING:
    __getattr__ = lazily(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
