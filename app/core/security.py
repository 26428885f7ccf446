"""Passwords, access tokens and refresh tokens. The only module that imports passlib (libpass) and python-jose.

python-jose accepts too much, so `read_access_token` checks each token before it reaches python-jose. `ecdsa`, which
python-jose depends on, is never imported.
"""

import base64
import hashlib
import json
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any
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
    """Imported here: a process that only programs talk to, by API keys and tokens, hashes no password."""
    from passlib.context import CryptContext

    # OWASP's second choice of Argon2id parameters: 19 MiB for each hash, so that several fit in memory at once.
    return CryptContext(
        schemes=["argon2"], argon2__type="ID", argon2__memory_cost=19456, argon2__time_cost=2, argon2__parallelism=1
    )


@cache
def _jwt() -> Any:
    """Imported by the first token: with `cryptography`, its backend, it takes 8 MiB and a twentieth of the start."""
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
