"""What a check found: counts, and what was wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["Options", "Report"]


@dataclass(frozen=True)
class Options:
    """How long a check goes on, and with which seed."""

    seed: int
    rounds: int
    seconds: float


@dataclass
class Report:
    """The counts of one check on one pool. ``wrong`` is empty where every promise held."""

    check: str
    pool: str
    seed: int
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = ", ".join(f"{count:,} {what}" for what, count in self.counts.items())
        found = (
            "nothing wrong" if not self.wrong else f"WRONG ({len(self.wrong)}): {'; '.join(self.wrong[:5])}"
        )
        return f"{self.check:8} {self.pool:8} seed {self.seed}: {counts}: {found}"
