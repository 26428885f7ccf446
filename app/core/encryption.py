"""Encrypts secrets that the database keeps: AES-256-GCM with a key derived from SECRET_KEY (HKDF, RFC 5869).

Whoever reads the database, a backup or a replica alone cannot use them. The context, such as a user's id, is
authenticated, so that a value cannot be moved to another row.

`cryptography` is imported by the functions: it takes 8 MiB of each process, and few users have a second factor.
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

VERSION = b"\x01"
NONCE_BYTES = 12


class Undecryptable(Exception):
    """None of the given keys decrypts the value in this context."""


class Decrypted(NamedTuple):
    """`is_current`: the first key encrypted the value. Otherwise encrypt it again before that key is dropped."""

    plain: bytes
    is_current: bool


def encrypt(plain: bytes, keys: Sequence[str], context: str) -> bytes:
    """Return the value encrypted with the first of the keys."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(NONCE_BYTES)
    return VERSION + nonce + AESGCM(_derive(keys[0])).encrypt(nonce, plain, context.encode())


def decrypt(encrypted: bytes, keys: Sequence[str], context: str) -> Decrypted:
    """Return the value, which any of the keys has encrypted. Raises Undecryptable."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    head, nonce, rest = encrypted[:1], encrypted[1 : 1 + NONCE_BYTES], encrypted[1 + NONCE_BYTES :]
    for key in keys if head == VERSION else ():
        try:
            return Decrypted(AESGCM(_derive(key)).decrypt(nonce, rest, context.encode()), key == keys[0])
        except (InvalidTag, ValueError):  # ValueError: too short
            continue
    raise Undecryptable


def _derive(key: str) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), length=32, salt=None, info=b"task-service: secrets in the database").derive(key.encode())
