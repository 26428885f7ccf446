"""A time as a person writes it."""

from datetime import UTC, datetime


def moment(text: str) -> datetime:
    """Return a date or a time in ISO 8601, in UTC without an offset. Raises ValueError."""
    found = datetime.fromisoformat(text.strip())
    try:
        # In UTC: databases refuse an offset with fractions, and the ends of time overflow here rather than there.
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError(text) from None
