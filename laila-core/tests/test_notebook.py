"""What notebooks show of entries, futures and policies: bounded, escaped, and without reading anything."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

import laila


def text_of(shown: Any) -> str:
    """The text of an object's HTML, which is well formed."""
    html = shown._repr_html_()
    assert len(html) < 5000
    return " ".join(ET.fromstring(f"<div>{html}</div>").itertext())


HOSTILE = "<script>alert(1)</script>&\"'" + "x" * 1000


def test_an_entry_shows_what_it_is_and_not_its_payload() -> None:
    entry = laila.constant(np.zeros((3, 4)), nickname=HOSTILE)
    assert "(3, 4)" in text_of(entry)
    assert "<script>" not in entry._repr_html_()
    assert "password" not in text_of(laila.constant("password"))


class Curious:
    """A payload whose attributes have effects."""

    @property
    def shape(self) -> object:
        raise AssertionError


def test_no_code_of_a_payload_runs() -> None:
    assert "Curious" in text_of(laila.constant(Curious()))


def test_futures_show_how_far_they_are() -> None:
    done = laila.command.submit(int)
    done.wait()
    assert "finished" in text_of(done)
    pending = laila.Future[int]()
    assert "not_started" in text_of(pending) or "pending" in text_of(pending)
    failed = laila.command.submit(lambda: int(HOSTILE))
    with pytest.raises(ValueError, match="invalid literal"):
        failed.wait()
    assert "ValueError" in text_of(failed)
    group = laila.command.submit([int, int, int])
    group.wait()
    assert 'value="3" max="3"' in group._repr_html_()
    assert "100 % finished" in text_of(group)


def test_a_policy_shows_its_pools() -> None:
    with laila.DefaultPolicy(nickname=HOSTILE) as policy:
        policy.extend("memory://", pool_nickname="kept <here>")
        assert "kept <here>" in text_of(policy)
        assert "hits" in text_of(policy)
    assert "closed" in text_of(policy)
