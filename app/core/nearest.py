"""The nearest of some names to one that is none of them, for errors and warnings."""

import difflib
from collections.abc import Iterable

from app.errors import Text

MAX_CHARACTERS = 100  # of a name that is compared: the time grows with the square


SIMILAR = 0.65  # of 1: more than `sort` and `cursor` are, less than `state` and `status`


def nearest(name: str, known: Iterable[str], similar: float = SIMILAR) -> str | None:
    """Return the most similar of the `known` names, whatever their case; None if none is `similar` (1: equal)."""
    by_lower = {each.lower(): each for each in known}
    found = difflib.get_close_matches(name[:MAX_CHARACTERS].lower(), by_lower, n=1, cutoff=similar)
    return by_lower[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str], similar: float = SIMILAR) -> str:
    """Return `, did you mean X`, or nothing if no known name is `similar`."""
    found = nearest(name, known, similar)
    return "" if found is None else Text(", did you mean {}", found)


def edits(one: str, other: str, most: int) -> int:
    """Return how many characters have to be inserted, deleted or replaced to make `other` of `one`, or `most` + 1.

    V. Levenshtein, Binary codes capable of correcting deletions, insertions and reversals (1966).
    """
    if abs(len(one) - len(other)) > most:
        return most + 1
    row = list(range(len(other) + 1))
    for at, character in enumerate(one, 1):
        before, row = row, [at]
        for to, wanted in enumerate(other, 1):
            row.append(min(before[to] + 1, row[-1] + 1, before[to - 1] + (character != wanted)))
        if min(row) > most:
            return most + 1
    return row[-1]
