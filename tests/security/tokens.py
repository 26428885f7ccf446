"""Forged tokens, made with the standard library alone: a library would refuse to make most of them."""

import base64
import hashlib
import hmac
import json
from typing import Any

GUESSES = ("secret", "your-secret-key", "changeme", "change-me", "secret-key", "password", "")
MALFORMED = ("x", "..", "a.b", "a.b.c", "a.b.c.d", "e30.e30.", "null", "é.é.é", "-", "A" * 5000, "=.=.=")


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    """(header, claims, signature) of a token in the usual form."""
    header, claims, signature = token.split(".")

    def decode(text: str) -> dict[str, Any]:
        return dict(json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))))

    return decode(header), decode(claims), signature


def unsigned(header: dict[str, Any], claims: dict[str, Any]) -> str:
    return ".".join(encode(json.dumps(part).encode()) for part in (header, claims))


def signed(header: dict[str, Any], claims: dict[str, Any], key: str) -> str:
    """HS256 with a key of the forger's choice."""
    text = unsigned(header, claims)
    return f"{text}.{encode(hmac.new(key.encode(), text.encode(), hashlib.sha256).digest())}"


def deep_header(depth: int = 1000) -> str:
    """A header nested so deeply that a recursive parser gives up."""
    header = '{"alg":"HS256","x":' + "[" * depth + "]" * depth + "}"
    return f"{encode(header.encode())}.{encode(b'{}')}.{encode(b'x' * 32)}"
