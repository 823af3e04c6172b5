"""Steps that are all done."""

from __future__ import annotations

import pytest

from laila.trying import do_all


def test_every_step_is_done_and_the_first_error_raised() -> None:
    done: list[int] = []

    def step(number: int) -> None:
        done.append(number)
        if number % 2:
            raise ValueError(number)

    with pytest.raises(ValueError, match=r"^1$"):
        do_all(lambda number=number: step(number) for number in range(5))  # type: ignore[misc]
    assert done == [0, 1, 2, 3, 4]
    do_all([])


def test_an_interrupt_ends_it() -> None:
    done: list[int] = []

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        do_all([lambda: done.append(1), interrupt, lambda: done.append(2)])
    assert done == [1]
