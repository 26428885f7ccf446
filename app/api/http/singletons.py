"""Refuses header fields that occur twice although they have one value (RFC 9110 §5.3).

Two programs on a request's way may each take another one of the two: a proxy checks the first, the service obeys the
last.
"""

from collections.abc import Mapping, Sequence

# The parser refuses a repeated Content-Length.
SINGLETONS = {
    name.lower().encode(): name
    for name in ("Authorization", "Content-Type", "Host", "Idempotency-Key", "Last-Event-ID", "Origin")
}


def refuse_repeated(headers: Sequence[tuple[bytes, bytes]], fields: Mapping[bytes, bytes]) -> str | None:
    """Return why the fields are refused, or None. The names are in lower case; `fields` has each name once."""
    if len(fields) == len(headers):  # nothing is repeated; the fastest way to see it
        return None
    names = [name for name, _ in headers]
    repeated = next((name for name in SINGLETONS if names.count(name) > 1), None)
    return None if repeated is None else f"The request must have at most one {SINGLETONS[repeated]} header"
