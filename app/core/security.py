"""Passwords, access tokens, refresh tokens, API keys, and the encryption of secrets that the database keeps.

The only module that imports passlib (libpass) and python-jose. python-jose accepts too much, so `read_access_token`
checks each token before it reaches python-jose. `ecdsa`, which python-jose depends on, is never imported. All three and
`cryptography` are imported at their first use: a worker, which checks no login, has none of them.
"""

import base64
import hashlib
import json
import os
import re
import secrets
import string
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID, uuid4

from app.core.config import get_settings
from app.errors import InvalidToken

if TYPE_CHECKING:
    from passlib.context import CryptContext

ISSUER = "task-service"
AUDIENCE = "task-service-api"
# Of the cookie of the pages. Neither kind of token is accepted in the place of the other.
PAGES_AUDIENCE = "task-service-pages"
ALGORITHM = "HS256"

_TOKEN_SHAPE = re.compile(r"[A-Za-z0-9_-]{10,256}\.[A-Za-z0-9_-]{10,1024}\.[A-Za-z0-9_-]{43}")
_HEADER_KEYS = frozenset({"alg", "typ", "kid"})
_REQUIRED = ("exp", "iat", "nbf", "iss", "aud", "sub", "jti")
# The clocks of the hosts may differ a little. The database's clock decides about expiry (`authenticate`).
_LEEWAY_SECONDS = 60
# The number of verified tokens that are remembered, because python-jose is slow.
_REMEMBERED_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """The claims of a verified access token. Only the database knows whether its login is still valid."""

    user_id: UUID
    session_id: UUID
    expires_at: datetime


@cache
def _passwords() -> "CryptContext":
    """Return the hasher, imported here: where only programs call, with keys and tokens, none hashes a password."""
    from passlib.context import CryptContext

    # OWASP's second choice of Argon2id parameters: 19 MiB for each hash, so that several fit in memory at once.
    return CryptContext(
        schemes=["argon2"], argon2__type="ID", argon2__memory_cost=19456, argon2__time_cost=2, argon2__parallelism=1
    )


@cache
def _jwt() -> Any:
    """Return python-jose, imported by the first token: with `cryptography` 8 MiB and a twentieth of the start."""
    from jose import jwt

    return jwt


def hash_password(password: str) -> str:
    """Return the Argon2id hash of a password."""
    hashed: str = _passwords().hash(password)
    return hashed


def verify_password(password: str, stored: str | None) -> tuple[bool, str | None]:
    """Return whether the password is correct, and a new hash to store if the parameters have changed.

    Without a stored hash (unknown user) it takes the same time and returns False.
    """
    is_correct, renewed = _passwords().verify_and_update(password, stored or _dummy_hash())
    return (False, None) if stored is None else (bool(is_correct), renewed)


@lru_cache(maxsize=1)
def _dummy_hash() -> str:
    return hash_password(secrets.token_hex(32))


def create_access_token(user_id: UUID, session_id: UUID, now: datetime) -> str:
    """Return a token for one login that expires after ACCESS_TOKEN_MINUTES. It holds no personal data."""
    return _sign(AUDIENCE, user_id, session_id, now, now + access_token_life())


def create_page_token(user_id: UUID, session_id: UUID, now: datetime, until: datetime) -> str:
    """Return the token of the pages' cookie for one login, with which it expires. The API does not accept it."""
    return _sign(PAGES_AUDIENCE, user_id, session_id, now, until)


def _sign(audience: str, user_id: UUID, session_id: UUID, now: datetime, until: datetime) -> str:
    issued = int(now.timestamp())
    claims = {
        "iss": ISSUER,
        "aud": audience,
        "sub": str(user_id),
        "sid": str(session_id),
        "jti": uuid4().hex,
        "iat": issued,
        "nbf": issued,
        "exp": issued + int((until - now).total_seconds()),
    }
    key = _derive_key(get_settings().signing_key)
    token: str = _jwt().encode(claims, key, algorithm=ALGORITHM, headers={"kid": _key_id(key)})
    return token


def access_token_life() -> timedelta:
    return timedelta(minutes=get_settings().access_token_minutes)


@dataclass(frozen=True, slots=True)
class _Verified:
    """The constant part of a verified token.

    Each use checks the token's expiry, and whether its key is still accepted.
    """

    claims: AccessClaims
    key: str
    not_before: int
    expires: int


_verified: dict[tuple[str, bytes], _Verified] = {}


def read_access_token(token: str) -> AccessClaims:
    """Return the claims of a token that this service signed. Raises InvalidToken for any other text."""
    return _read(token, AUDIENCE)


def read_page_token(token: str) -> AccessClaims:
    """Return the claims of a token of `create_page_token`. Raises InvalidToken for any other text."""
    return _read(token, PAGES_AUDIENCE)


def _read(token: str, audience: str) -> AccessClaims:
    try:
        name = audience, hashlib.sha256(token.encode()).digest()
        known, accepted = _verified.get(name), get_settings().accepted_keys
        if known is None or known.key not in map(_derive_key, accepted):
            known = _verified[name] = _verify(token, audience, accepted)
            while len(_verified) > _REMEMBERED_TOKENS:
                _verified.pop(next(iter(_verified)), None)
        if not known.not_before - _LEEWAY_SECONDS <= time.time() <= known.expires + _LEEWAY_SECONDS:
            raise ValueError("time")
    except Exception:  # noqa: BLE001 (python-jose raises many types, RecursionError among them)
        raise InvalidToken from None
    return known.claims


def _verify(token: str, audience: str, accepted: Sequence[str]) -> _Verified:
    if not _TOKEN_SHAPE.fullmatch(token):
        raise ValueError("shape")
    header, _, signature = token.split(".")
    key = _find_key(json.loads(_decode(header)), accepted)
    # Decoders ignore the last two bits of the signature's last character; otherwise each token would have four
    # spellings.
    if _encode(_decode(signature)) != signature:
        raise ValueError("signature")
    claims = _jwt().decode(
        token,
        key,
        algorithms=["HS256"],
        audience=audience,
        issuer=ISSUER,
        options={f"require_{name}": True for name in _REQUIRED} | {"leeway": _LEEWAY_SECONDS},
    )
    read = AccessClaims(UUID(claims["sub"]), UUID(claims["sid"]), datetime.fromtimestamp(claims["exp"], UTC))
    return _Verified(read, key, int(claims["nbf"]), int(claims["exp"]))


def _find_key(header: Any, accepted: Sequence[str]) -> str:
    """Return the accepted key that the header names. `jwk`, `jku`, `x5u`, `crit`, `b64` and the like are refused."""
    if not isinstance(header, dict) or header.keys() != _HEADER_KEYS:
        raise ValueError("header")
    for secret in accepted:
        key = _derive_key(secret)
        if header == {"alg": ALGORITHM, "typ": "JWT", "kid": _key_id(key)}:
            return key
    raise ValueError("header")


@lru_cache(maxsize=16)
def _derive_key(secret: str) -> str:
    """Derive the signing key, so that python-jose does not take a SECRET_KEY in JSON or PEM form for a key set."""
    return "k" + hashlib.sha256(b"access-token:" + secret.encode()).hexdigest()


def _key_id(key: str) -> str:
    return hashlib.sha256(b"key-id:" + key.encode()).hexdigest()[:8]


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def new_refresh_token() -> str:
    """Return 256 random bits as text. They have a meaning only in the database."""
    return secrets.token_urlsafe(32)


def refresh_token_digest(token: str) -> bytes:
    """Return the digest that is stored. The token is random, so a fast hash is as safe as a slow one."""
    return hashlib.sha256(token.encode()).digest()


# -- The format of an API key: `tsk_`, 8 public characters, `_`, 43 secret characters, 6 characters of a checksum ------
# The prefix identifies the key for people and secret scanners. The checksum refuses malformed keys without a database
# query. Only the 43 characters (256 bits) are secret.

API_KEY_MARK = "tsk_"
# Only letters and digits: a double click selects the whole key, and it never needs escaping.
_API_KEY_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_API_KEY_PUBLIC, _API_KEY_SECRET, _API_KEY_CHECKSUM = 8, 43, 6  # 43 characters of 62 are 256 bits
_API_KEY_SHAPE = re.compile(
    rf"{API_KEY_MARK}[0-9A-Za-z]{{{_API_KEY_PUBLIC}}}_[0-9A-Za-z]{{{_API_KEY_SECRET + _API_KEY_CHECKSUM}}}"
)


def new_api_key() -> str:
    body = f"{API_KEY_MARK}{_random_characters(_API_KEY_PUBLIC)}_{_random_characters(_API_KEY_SECRET)}"
    return body + _checksum_of_api_key(body)


def looks_like_api_key(token: str) -> bool:
    """Return whether a token has the prefix of API keys. Access tokens never have it."""
    return token.startswith(API_KEY_MARK)


def is_well_formed_api_key(token: str) -> bool:
    """Return whether a token has the format of an API key and a correct checksum."""
    return _API_KEY_SHAPE.fullmatch(token) is not None and token.endswith(
        _checksum_of_api_key(token[:-_API_KEY_CHECKSUM])
    )


def shown_api_key_prefix(key: str) -> str:
    """Return the public part of a key, by which its owner recognises it in lists."""
    return key[: len(API_KEY_MARK) + _API_KEY_PUBLIC]


def api_key_digest(key: str) -> bytes:
    """Return the digest that is stored. The key is random, so a fast hash is as safe as a slow one."""
    return hashlib.sha256(key.encode()).digest()


def _random_characters(length: int) -> str:
    return "".join(secrets.choice(_API_KEY_ALPHABET) for _ in range(length))


def _checksum_of_api_key(body: str) -> str:
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(_API_KEY_CHECKSUM):
        number, digit = divmod(number, len(_API_KEY_ALPHABET))
        digits = _API_KEY_ALPHABET[digit] + digits
    return digits


# -- Encrypts secrets that the database keeps: AES-256-GCM with a key derived from SECRET_KEY (HKDF, RFC 5869) ---------
# Whoever reads the database, a backup or a replica alone cannot use them. The context, such as a user's id, is
# authenticated, so that a value cannot be moved to another row.
#
# `cryptography` is imported by the functions: it takes 8 MiB of each process, and few users have a second factor.

ENCRYPTION_VERSION = b"\x01"
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
    return ENCRYPTION_VERSION + nonce + AESGCM(_derive_encryption_key(keys[0])).encrypt(nonce, plain, context.encode())


def decrypt(encrypted: bytes, keys: Sequence[str], context: str) -> Decrypted:
    """Return the value, which any of the keys has encrypted. Raises Undecryptable."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    head, nonce, rest = encrypted[:1], encrypted[1 : 1 + NONCE_BYTES], encrypted[1 + NONCE_BYTES :]
    for key in keys if head == ENCRYPTION_VERSION else ():
        try:
            return Decrypted(AESGCM(_derive_encryption_key(key)).decrypt(nonce, rest, context.encode()), key == keys[0])
        except (InvalidTag, ValueError):  # ValueError: too short
            continue
    raise Undecryptable


def _derive_encryption_key(key: str) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), length=32, salt=None, info=b"task-service: secrets in the database").derive(key.encode())
