"""The header `Retry-After` of answers (RFC 9110, section 10.2.3)."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def read_retry_after(value: str | None, at_most: float) -> float | None:
    """Return the header's seconds or date as seconds from now, 0 to `at_most`. None if it is missing or invalid."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return min(float(value), at_most)
    try:
        moment = parsedate_to_datetime(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = (moment - datetime.now(UTC)).total_seconds()
    except (ValueError, OverflowError):  # no date, or a year or an offset that is too large for one
        return None
    return min(max(seconds, 0.0), at_most)
