"""What an account may have for an address and a password: addresses in ASCII, and passwords that are hard to guess.

Which new passwords are refused: NIST SP 800-63B-4 §3.1.1.2, OWASP ASVS 5.0 V6.2. 15 characters at least, since a
password may be the only factor, and zxcvbn's score of 3 at least, where the words of its user count as known. There are
no rules of composition. Stored passwords are not checked again.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import partial, reduce
from pathlib import Path
from typing import NamedTuple

from email_validator import validate_email

from app.errors import Text

MIN_LENGTH = 15
MIN_SCORE = 3
# Beyond any honest check, which takes 0.1 s on an idle machine: see MOST_LOOKUPS of `password_guesses.py`.
CHECK_LIMIT_SECONDS = 30.0
SERVICE_WORDS = ("task", "service", "taskservice", "task-service", "task service")

_TOO_SHORT = "Use at least {} characters: several words that have nothing to do with each other are best"
_PROGRAM = Path(__file__).with_name("password_guesses.py")


class Weakness(NamedTuple):
    """Why a password is refused. `advice` says what would be better and repeats no part of the password."""

    kind: str
    advice: str


def weakness(password: str, names: Iterable[str]) -> Weakness | None:
    """Return what is weak about a new password, or None.

    `names` are the names and e-mail addresses of its user. The check takes about 0.1 s, in a process of its own.

    Raises subprocess.SubprocessError or OSError if that process cannot run: no password is taken unchecked.
    """
    if len(password) < MIN_LENGTH:
        return Weakness("password_too_short", Text("{}.", Text(_TOO_SHORT, MIN_LENGTH)))
    given = json.dumps({"password": password, "own_words": sorted({*SERVICE_WORDS, *own_words(names)})})
    done = subprocess.run(  # noqa: S603 (nothing of the request is in the command)
        [sys.executable, "-P", _PROGRAM],  # -P: beside the program, modules have names of the standard library
        input=given,
        capture_output=True,
        text=True,
        check=True,
        timeout=CHECK_LIMIT_SECONDS,
    )
    judged = json.loads(done.stdout)
    if judged["score"] >= MIN_SCORE:
        return None
    return Weakness("password_guessable", _sentences(judged["advice"]))


def _sentences(advice: str) -> Text:
    """Return what zxcvbn says: each of its sentences has a translation of its own."""
    return Text("{}.", reduce(partial(Text, "{}. {}"), advice.removesuffix(".").split(". ")))


def own_words(names: Iterable[str]) -> set[str]:
    """Return the names, the halves of e-mail addresses, and the words in them."""
    texts = {part for name in names for part in (name, *name.split("@"))}
    words = {word for text in texts for word in re.split(r"[^\w]+|_|\d+", text)}
    return {word for word in texts | words if len(word) > 2}  # noqa: PLR2004 (shorter ones are found by chance)


# -- Normalises e-mail addresses to ASCII, so that no two accounts have look-alike addresses ---------------------------


def ascii_address(email: str) -> str:
    """Return the address in ASCII, with an international domain in its `xn--` form.

    Raises ValueError for an invalid address, and for a local part outside ASCII: with a Cyrillic «а» there could be a
    second anna@example.com.
    """
    ascii_form = validate_email(email, allow_smtputf8=False, check_deliverability=False).ascii_email
    if ascii_form is None:
        raise ValueError("no ASCII form")
    return ascii_form


def login_spellings(login: str) -> set[str]:
    """Return the lower-case names under which this login may be registered: itself, or its address in ASCII.

    Returns an empty set for a name outside ASCII, and drops look-alikes whose lower case is ASCII (the Kelvin sign).
    """
    small = login.lower()
    if login.isascii() or "@" not in login:
        return {small} if login.isascii() else set()
    names = set() if small.isascii() else {small}
    with suppress(ValueError):
        names.add(ascii_address(login).lower())
    return names
