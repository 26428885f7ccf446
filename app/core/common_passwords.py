"""Detects passwords that are easy to guess: common passwords, and the user's own name.

The word lists are zxcvbn's. Its own function cannot be used, because it fails above 72 characters.
"""

import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from importlib import util
from pathlib import Path
from typing import Any

MIN_LENGTH = 8  # shorter passwords are refused anyway, and they are most of the lists


def is_common(password: str) -> bool:
    """Return whether the password is a common password, word or name, in any case or width of letters."""
    word = _folded(password)
    return "\n" not in word and f"\n{word}\n" in _common()


def is_one_of(password: str, names: Iterable[str]) -> bool:
    """Return whether the password is one of these names or e-mail addresses, or the local part of an address."""
    own = {_folded(part) for name in names for part in (name, name.partition("@")[0])}
    return _folded(password) in own


def _folded(password: str) -> str:
    return unicodedata.normalize("NFKC", password).casefold().strip()


@lru_cache(maxsize=1)
def _common() -> str:
    """Return all words, one a line. This takes half a megabyte, the original lists fifteen.

    Loaded when the first password is set: loading takes time that no start and no worker should spend.
    """
    return "\n".join(["", *{word for words in _lists().values() for word in words if len(word) >= MIN_LENGTH}, ""])


def _lists() -> dict[str, list[str]]:
    """Return zxcvbn's lists from a temporary module, so that they do not stay in memory."""
    package = util.find_spec("zxcvbn")
    assert package is not None
    assert package.origin is not None
    spec = util.spec_from_file_location("frequency_lists", Path(package.origin).with_name("frequency_lists.py"))
    assert spec is not None
    assert spec.loader is not None
    module: Any = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    lists: dict[str, list[str]] = module.FREQUENCY_LISTS
    return lists
