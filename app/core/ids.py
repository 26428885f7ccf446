"""Identifiers: UUID version 7 (RFC 9562), so that a primary key orders rows by time."""

from uuid import UUID

import uuid_utils.compat


def new_id() -> UUID:
    """Return a new UUIDv7. The ids of one process strictly increase."""
    return uuid_utils.compat.uuid7()
