"""The format of an API key: `tsk_`, 8 public characters, `_`, 43 secret characters, 6 characters of a checksum.

The prefix identifies the key for people and secret scanners. The checksum refuses malformed keys without a database
query. Only the 43 characters (256 bits) are secret.
"""

import hashlib
import re
import secrets
import string
import zlib

MARK = "tsk_"
# Only letters and digits: a double click selects the whole key, and it never needs escaping.
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_PUBLIC, _SECRET, _CHECKSUM = 8, 43, 6  # 43 characters of 62 are 256 bits
_SHAPE = re.compile(rf"{MARK}[0-9A-Za-z]{{{_PUBLIC}}}_[0-9A-Za-z]{{{_SECRET + _CHECKSUM}}}")


def new_api_key() -> str:
    body = f"{MARK}{_random(_PUBLIC)}_{_random(_SECRET)}"
    return body + _checksum(body)


def looks_like_api_key(token: str) -> bool:
    """Return whether a token has the prefix of API keys. Access tokens never have it."""
    return token.startswith(MARK)


def is_well_formed(token: str) -> bool:
    """Return whether a token has the format of an API key and a correct checksum."""
    return _SHAPE.fullmatch(token) is not None and token.endswith(_checksum(token[:-_CHECKSUM]))


def shown_prefix(key: str) -> str:
    """Return the public part of a key, by which its owner recognises it in lists."""
    return key[: len(MARK) + _PUBLIC]


def api_key_digest(key: str) -> bytes:
    """Return the digest that is stored. The key is random, so a fast hash is as safe as a slow one."""
    return hashlib.sha256(key.encode()).digest()


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _checksum(body: str) -> str:
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(_CHECKSUM):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
