"""Passwords that are too easy to guess: the common ones, and the user's own name.

The words are those of zxcvbn; its function is of no use here, since it fails above 72 characters.
"""

import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from importlib import util
from pathlib import Path
from typing import Any

MIN_LENGTH = 8  # shorter ones are refused anyway, and are most of the lists


def is_common(password: str) -> bool:
    """Whether attackers try it first: a common password, word or name, in whatever case or width of letters."""
    word = _folded(password)
    return "\n" not in word and f"\n{word}\n" in _common()


def is_one_of(password: str, names: Iterable[str]) -> bool:
    """Whether it is one of these names or e-mail addresses, or what stands before the @ of one."""
    own = {_folded(part) for name in names for part in (name, name.partition("@")[0])}
    return _folded(password) in own


def _folded(password: str) -> str:
    return unicodedata.normalize("NFKC", password).casefold().strip()


@lru_cache(maxsize=1)
def _common() -> str:
    """A word a line: half a megabyte, where the lists are fifteen.

    Loaded when the first password is set: it takes a tenth of a second that no start, and no worker, should pay.
    """
    return "\n".join(["", *{word for words in _lists().values() for word in words if len(word) >= MIN_LENGTH}, ""])


def _lists() -> dict[str, list[str]]:
    """From a module that nobody keeps, or all of it would stay in memory for good."""
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
