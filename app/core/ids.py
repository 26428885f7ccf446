"""Identifiers: UUID version 7 (RFC 9562), so that a primary key orders rows by time."""

from uuid import UUID

import uuid_utils.compat

_RANDOM_BITS = 80
_MAX_MILLISECONDS = 2**48 - 1
FIRST_ID, LAST_ID = UUID(int=0), UUID(int=2**128 - 1)


def new_id() -> UUID:
    """Return a new UUIDv7. The ids of one process strictly increase."""
    return uuid_utils.compat.uuid7()


def first_id_at(seconds: float) -> UUID:
    """Return the lowest UUIDv7 of a time in seconds since 1970. Times out of range give the nearest in range."""
    return UUID(int=_milliseconds(seconds) << _RANDOM_BITS)


def last_id_at(seconds: float) -> UUID:
    """Return the highest UUIDv7 of a time in seconds since 1970. Times out of range give the nearest in range."""
    return UUID(int=((_milliseconds(seconds) + 1) << _RANDOM_BITS) - 1)


def time_of(identifier: UUID) -> float:
    """Return the time in a UUIDv7, in seconds since 1970: that of the machine which made it."""
    return (identifier.int >> _RANDOM_BITS) / 1000


def _milliseconds(seconds: float) -> int:
    return min(max(int(seconds * 1000), 0), _MAX_MILLISECONDS)
