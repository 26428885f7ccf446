"""The nearest of some names to one that is none of them, for errors and warnings."""

import difflib
from collections.abc import Iterable

MAX_CHARACTERS = 100  # of a name that is compared: the time grows with the square


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the most similar of the `known` names, without regard to case; None if none is similar."""
    by_lower = {each.lower(): each for each in known}
    found = difflib.get_close_matches(name[:MAX_CHARACTERS].lower(), by_lower, n=1)
    return by_lower[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `, did you mean X`, or nothing if no known name is similar."""
    found = nearest(name, known)
    return "" if found is None else f", did you mean {found}"
