"""What makes two failures of a task the same, besides its user, its name and the type of the error.

The key is the place in the code and the message without its numbers, ids and quoted values. Each pattern runs in linear
time: what it repeats is possessive, or begins where nothing of it can stand before.
"""

import re

READ_CHARACTERS = 2_000
KEY_CHARACTERS = 500
_VALUE = "?"
_QUOTES = (("'", "'"), ('"', '"'), ("`", "`"), ("“", "”"), ("‘", "’"), ("«", "»"))
# An apostrophe within a word quotes nothing.
_QUOTED = re.compile(
    "|".join(rf"(?<!\w){a}(?:[^{b}\\\n]|\\.){{0,{READ_CHARACTERS}}}+{b}(?!\w)" for a, b in _QUOTES)
)  # fmt: skip
# A word with a digit in it: a number in any notation, a UUID, an address, a name with a number.
_NUMBERED = re.compile(r"(?<![\w.+-])[\w.+-]*\d[\w.+-]*")
_JOINED = re.compile(r"\?(?:[,:/?]{1,2}\?)+")
_SPACE = re.compile(r"\s+")


def error_key(message: str | None, origin: str = "") -> str:
    """Return the key of a failure with this message, raised at `origin` (module and function)."""
    return f"{origin}\n{_without_values(message or '')}"


def _without_values(message: str) -> str:
    text = _QUOTED.sub(_VALUE, message[:READ_CHARACTERS])
    text = _JOINED.sub(_VALUE, _NUMBERED.sub(_VALUE, text))
    return _SPACE.sub(" ", text).strip()[:KEY_CHARACTERS]
