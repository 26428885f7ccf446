"""Passwords, access tokens, refresh tokens. The only module that knows passlib (libpass) and python-jose.

python-jose is old and trusting, so nothing reaches it that did not pass the guards of `read_access_token`; `ecdsa`,
which comes along with it, is never imported.
"""

import base64
import hashlib
import json
import re
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID, uuid4

from jose import jwt
from passlib.context import CryptContext

from app.core.config import get_settings
from app.errors import InvalidToken

ISSUER = "task-service"
AUDIENCE = "task-service-api"
ALGORITHM = "HS256"

# OWASP's second choice of Argon2id parameters: 19 MiB a verification, so that a few at once fit any machine.
_passwords = CryptContext(
    schemes=["argon2"],
    argon2__type="ID",
    argon2__memory_cost=19456,
    argon2__time_cost=2,
    argon2__parallelism=1,
)

_TOKEN_SHAPE = re.compile(r"[A-Za-z0-9_-]{10,256}\.[A-Za-z0-9_-]{10,1024}\.[A-Za-z0-9_-]{43}")
_HEADER_KEYS = frozenset({"alg", "typ", "kid"})
_REQUIRED = ("exp", "iat", "nbf", "iss", "aud", "sub", "jti")
# The hosts' clocks may differ a little; what decides about expiry is the database's clock (`authenticate`).
_LEEWAY_SECONDS = 60
# Of so many tokens it is remembered that their signature and their claims are good: python-jose takes 0.05 ms for that.
_REMEMBERED_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What a verified access token says. Whether its login still stands is the database's to know."""

    user_id: UUID
    session_id: UUID
    expires_at: datetime


def hash_password(password: str) -> str:
    hashed: str = _passwords.hash(password)
    return hashed


def verify_password(password: str, stored: str | None) -> tuple[bool, str | None]:
    """Whether the password fits, and the hash to store instead where the parameters have moved on.

    With nothing stored (no such user) it costs the same and is never right.
    """
    fits, renewed = _passwords.verify_and_update(password, stored or _dummy_hash())
    return (False, None) if stored is None else (bool(fits), renewed)


@lru_cache(maxsize=1)
def _dummy_hash() -> str:
    return hash_password(secrets.token_hex(32))


def create_access_token(user_id: UUID, session_id: UUID, now: datetime) -> str:
    """A token for one login, good for ACCESS_TOKEN_MINUTES. It holds no personal data."""
    issued = int(now.timestamp())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": str(user_id),
        "sid": str(session_id),
        "jti": uuid4().hex,
        "iat": issued,
        "nbf": issued,
        "exp": issued + int(access_token_life().total_seconds()),
    }
    key = _derive_key(get_settings().signing_key)
    token: str = jwt.encode(claims, key, algorithm=ALGORITHM, headers={"kid": _key_id(key)})
    return token


def access_token_life() -> timedelta:
    return timedelta(minutes=get_settings().access_token_minutes)


@dataclass(frozen=True, slots=True)
class _Verified:
    """What does not change about a token. Its time is looked at each time, and whether its key is still accepted."""

    claims: AccessClaims
    key: str
    not_before: int
    expires: int


_verified: dict[bytes, _Verified] = {}


def read_access_token(token: str) -> AccessClaims:
    """The claims of a token that this service signed. Raises InvalidToken for anything else, whatever it is."""
    try:
        digest = hashlib.sha256(token.encode()).digest()
        known = _verified.get(digest)
        if known is None or known.key not in map(_derive_key, get_settings().accepted_keys):
            known = _verified[digest] = _verify(token)
            while len(_verified) > _REMEMBERED_TOKENS:
                _verified.pop(next(iter(_verified)), None)
        if not known.not_before - _LEEWAY_SECONDS <= time.time() <= known.expires + _LEEWAY_SECONDS:
            raise ValueError("time")
    except Exception:  # noqa: BLE001 (python-jose raises what it likes, RecursionError included)
        raise InvalidToken from None
    return known.claims


def _verify(token: str) -> _Verified:
    if not _TOKEN_SHAPE.fullmatch(token):
        raise ValueError("shape")
    header, _, signature = token.split(".")
    key = _find_key(json.loads(_decode(header)))
    # The last character of a signature has two bits that decoders ignore: four spellings of one token otherwise.
    if _encode(_decode(signature)) != signature:
        raise ValueError("signature")
    claims = jwt.decode(
        token,
        key,
        algorithms=["HS256"],
        audience=AUDIENCE,
        issuer=ISSUER,
        options={f"require_{name}": True for name in _REQUIRED} | {"leeway": _LEEWAY_SECONDS},
    )
    read = AccessClaims(UUID(claims["sub"]), UUID(claims["sid"]), datetime.fromtimestamp(claims["exp"], UTC))
    return _Verified(read, key, int(claims["nbf"]), int(claims["exp"]))


def _find_key(header: Any) -> str:
    """No `jwk`, `jku`, `x5u`, `crit`, `b64`: a header says which of our keys signed, and nothing else."""
    if not isinstance(header, dict) or header.keys() != _HEADER_KEYS:
        raise ValueError("header")
    for secret in get_settings().accepted_keys:
        key = _derive_key(secret)
        if header == {"alg": ALGORITHM, "typ": "JWT", "kid": _key_id(key)}:
            return key
    raise ValueError("header")


@lru_cache(maxsize=16)
def _derive_key(secret: str) -> str:
    """So that a SECRET_KEY that reads as JSON or PEM is not taken for a key set by python-jose."""
    return "k" + hashlib.sha256(b"access-token:" + secret.encode()).hexdigest()


def _key_id(key: str) -> str:
    return hashlib.sha256(b"key-id:" + key.encode()).hexdigest()[:8]


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def new_refresh_token() -> str:
    """256 random bits, which mean nothing to anybody but the database."""
    return secrets.token_urlsafe(32)


def refresh_token_digest(token: str) -> bytes:
    """What is stored. The token is random, so a plain digest is as good as a slow one."""
    return hashlib.sha256(token.encode()).digest()
