"""Signatures of webhooks as Standard Webhooks 1.0 has them: https://www.standardwebhooks.com

`verify` is for receivers written in Python. This file needs nothing but the standard library, so it may be copied.
"""

import base64
import binascii
import hashlib
import hmac
import re
import time
from collections.abc import Iterable, Mapping, Sequence

PREFIX = "whsec_"
KEY_BYTES = range(24, 65)
TOLERANCE_SECONDS = 300


class InvalidSignature(Exception):
    """Not from the sender, or from some other time: answer 4xx and do nothing."""


def decode_secret(secret: str) -> bytes:
    """The key in `whsec_…`, which is base64. Raises ValueError, without the secret."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or len(key) not in KEY_BYTES:
        raise ValueError("a webhook secret is whsec_ and 24 to 64 random bytes in base64") from None
    return key


def encode_secret(key: bytes) -> str:
    return PREFIX + base64.b64encode(key).decode()


def derive_user_key(key: bytes, user_id: str) -> bytes:
    """A key of one user's own, so that whoever is given it can check (and forge) nobody else's webhooks."""
    return hmac.digest(key, f"webhooks of user {user_id}".encode(), hashlib.sha256)


def signed_headers(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers; one signature for each key, so that receivers may change keys at their own time."""
    signatures = " ".join(f"v1,{_signature(key, message_id, timestamp, body)}" for key in keys)
    return {"webhook-id": message_id, "webhook-timestamp": str(timestamp), "webhook-signature": signatures}


def verify(
    secrets: str | Iterable[str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    tolerance: float = TOLERANCE_SECONDS,
    now: float | None = None,
) -> str:
    """The webhook's id, once it is known to be the sender's and recent. Raises InvalidSignature.

    `body` is what came over the wire, before any parsing. An id may come twice: remember those of the last minutes.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, sent, signatures = (given[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
    except KeyError as missing:
        raise InvalidSignature(f"no header {missing}") from None
    if not re.fullmatch(r"[0-9]{1,12}", sent):
        raise InvalidSignature("webhook-timestamp is no number of seconds")
    if abs((time.time() if now is None else now) - int(sent)) > tolerance:
        raise InvalidSignature("webhook-timestamp is not of now")
    candidates = [each.removeprefix("v1,").encode() for each in signatures.split() if each.startswith("v1,")]
    for secret in [secrets] if isinstance(secrets, str) else secrets:
        expected = _signature(decode_secret(secret), message_id, int(sent), body).encode()
        if any(hmac.compare_digest(expected, candidate) for candidate in candidates):
            return message_id
    raise InvalidSignature("no signature fits")


def _signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
