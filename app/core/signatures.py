"""Webhook signatures as in Standard Webhooks 1.0: https://www.standardwebhooks.com

`verify` is for receivers written in Python. This file uses only the standard library, so it may be copied.
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
    """The signature or the time of a webhook is not valid. Answer 4xx and ignore the webhook."""


def decode_secret(secret: str) -> bytes:
    """Return the key of a secret `whsec_…`, which is base64. Raises ValueError without the secret in its message."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or len(key) not in KEY_BYTES:
        raise ValueError("a webhook secret must be whsec_ and 24 to 64 random bytes in base64") from None
    return key


def encode_secret(key: bytes) -> str:
    """Return the secret `whsec_…` of a key."""
    return PREFIX + base64.b64encode(key).decode()


def derive_user_key(key: bytes, user_id: str) -> bytes:
    """Derive the key of one user, so that no receiver can check or forge webhooks of other users."""
    return hmac.digest(key, f"webhooks of user {user_id}".encode(), hashlib.sha256)


def signed_headers(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the three signature headers of a webhook; `timestamp` is in seconds since the epoch.

    There is one signature for each key, so that receivers can change keys at any time.
    """
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
    """Return the webhook's id if a signature is valid and the timestamp is within `tolerance` seconds of `now`.

    `body` is the raw request body. Raises InvalidSignature. A webhook may arrive twice: remember recent ids.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, sent, signatures = (given[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
    except KeyError as missing:
        raise InvalidSignature(f"no header {missing}") from None
    if not re.fullmatch(r"[0-9]{1,12}", sent):
        raise InvalidSignature("webhook-timestamp is not a number of seconds")
    if abs((time.time() if now is None else now) - int(sent)) > tolerance:
        raise InvalidSignature("webhook-timestamp is too old or in the future")
    candidates = [each.removeprefix("v1,").encode() for each in signatures.split() if each.startswith("v1,")]
    for secret in [secrets] if isinstance(secrets, str) else secrets:
        expected = _signature(decode_secret(secret), message_id, int(sent), body).encode()
        if any(hmac.compare_digest(expected, candidate) for candidate in candidates):
            return message_id
    raise InvalidSignature("no signature matches")


def _signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
