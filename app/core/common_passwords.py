"""Passwords that are too easy to guess: the common ones, and the user's own name.

The words are those of zxcvbn; its function is of no use here, since it fails above 72 characters.
"""

import unicodedata
from collections.abc import Iterable
from functools import lru_cache

MIN_LENGTH = 8  # shorter ones are refused anyway, and are most of the lists


def is_common(password: str) -> bool:
    """Whether attackers try it first: a common password, word or name, in whatever case or width of letters."""
    return _folded(password) in _common()


def is_one_of(password: str, names: Iterable[str]) -> bool:
    """Whether it is one of these names or e-mail addresses, or what stands before the @ of one."""
    own = {_folded(part) for name in names for part in (name, name.partition("@")[0])}
    return _folded(password) in own


def _folded(password: str) -> str:
    return unicodedata.normalize("NFKC", password).casefold().strip()


@lru_cache(maxsize=1)
def _common() -> frozenset[str]:
    """Loaded when the first password is set: it takes a tenth of a second that no start, and no worker, should pay."""
    from zxcvbn.frequency_lists import FREQUENCY_LISTS

    return frozenset(word for words in FREQUENCY_LISTS.values() for word in words if len(word) >= MIN_LENGTH)
