"""How many examples, rounds or rows a test takes: few by day, as many as it may at night, with `--full`."""

import itertools
from collections.abc import Iterable
from typing import TypeVar

NIGHT = False  # set by `tests/support/selection.py`, before a test file is read
PART_OF_PAIRS = 11
First = TypeVar("First")
Second = TypeVar("Second")


def amount(*, day: int, night: int) -> int:
    return night if NIGHT else day


def some_of(ones: Iterable[First], others: Iterable[Second], part: int = PART_OF_PAIRS) -> list[tuple[First, Second]]:
    """Return all pairs at night, by day one of so many, spread over both."""
    pairs = itertools.product(enumerate(ones), enumerate(others))
    step = amount(day=part, night=1)
    return [(one, other) for (at, one), (other_at, other) in pairs if (at + other_at) % step == 0]
