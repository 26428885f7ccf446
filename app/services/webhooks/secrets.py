"""The secrets that sign webhooks (Standard Webhooks 1.0): those of endpoints, and those of users.

The key of a user is derived from WEBHOOK_SECRET, and signs what goes to the `webhook_url` of tasks. With one secret for
all users, each receiver could forge the webhooks of the others.
"""

import os
from collections.abc import Sequence
from uuid import UUID

from app.core.config import get_settings
from app.core.security import decrypt, encrypt
from app.core.signatures import derive_user_key
from app.errors import EndpointsOff, WebhooksOff

SECRET_BYTES = 32


def service_keys() -> list[bytes]:
    """Return the service's own signing keys, for webhooks without a user. Raises WebhooksOff."""
    keys = get_settings().webhook_keys
    if not keys:
        raise WebhooksOff
    return keys


def keys_of_user(user_id: UUID) -> list[bytes]:
    """Return the signing keys of a user, the present one first. Raises WebhooksOff."""
    return [derive_user_key(key, str(user_id)) for key in service_keys()]


def keys_of_service() -> list[str]:
    """Return the keys that encrypt the secrets of endpoints, the present one first.

    Raises EndpointsOff without SECRET_KEY: then each process has made one up, and no other could decrypt them.
    """
    settings = get_settings()
    if settings.secret_key is None:
        raise EndpointsOff
    return settings.accepted_keys


def new_key() -> bytes:
    """Return a random signing key for an endpoint."""
    return os.urandom(SECRET_BYTES)


def encrypted(key: bytes, endpoint_id: UUID, service: Sequence[str]) -> bytes:
    """Return the key as the row of the endpoint has it. `service`: `Settings.accepted_keys`."""
    return encrypt(key, service, _context(endpoint_id))


def decrypted(secret: bytes, endpoint_id: UUID, service: Sequence[str]) -> tuple[bytes, bool]:
    """Return the key, and whether the first of the service's keys has encrypted it. Raises Undecryptable."""
    return decrypt(secret, service, _context(endpoint_id))


def _context(endpoint_id: UUID) -> str:
    return f"webhook endpoint {endpoint_id}"
