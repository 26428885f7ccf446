"""Identifiers: UUID version 7 (RFC 9562), so that a primary key orders by time."""

from uuid import UUID

import uuid_utils.compat


def new_id() -> UUID:
    """A new UUIDv7; those of one process rise strictly."""
    return uuid_utils.compat.uuid7()
