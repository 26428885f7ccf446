"""The text of an API key: `tsk_` + 8 characters that may be shown + `_` + 43 secret ones + 6 of a checksum.

The prefix tells people and secret scanners what they have found; the checksum tells a key from what only looks like
one, here without a question to the database. Neither is a secret: that is the 256 bits between them.
"""

import hashlib
import re
import secrets
import string
import zlib

MARK = "tsk_"
# Letters and digits alone: a double click takes the whole key, and nothing in it needs escaping anywhere.
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_PUBLIC, _SECRET, _CHECKSUM = 8, 43, 6  # 43 of 62 characters are 256 bits
_SHAPE = re.compile(rf"{MARK}[0-9A-Za-z]{{{_PUBLIC}}}_[0-9A-Za-z]{{{_SECRET + _CHECKSUM}}}")


def new_api_key() -> str:
    body = f"{MARK}{_random(_PUBLIC)}_{_random(_SECRET)}"
    return body + _checksum(body)


def looks_like_api_key(token: str) -> bool:
    """What kind of token it means to be; access tokens never begin so."""
    return token.startswith(MARK)


def is_well_formed(token: str) -> bool:
    return _SHAPE.fullmatch(token) is not None and token.endswith(_checksum(token[:-_CHECKSUM]))


def shown_prefix(key: str) -> str:
    """What lists show, so that the owner recognises the key."""
    return key[: len(MARK) + _PUBLIC]


def api_key_digest(key: str) -> bytes:
    """What is stored. The key is random, so a plain digest is as good as a slow one."""
    return hashlib.sha256(key.encode()).digest()


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _checksum(body: str) -> str:
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(_CHECKSUM):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
