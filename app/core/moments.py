"""Times: where they are counted from, and one as a person writes it."""

from datetime import UTC, datetime, timedelta, tzinfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def moment(text: str, of: tzinfo = UTC, *, last: bool = False) -> datetime:
    """Return a date or a time in ISO 8601, in UTC. Without an offset it is read in the zone `of`. Raises ValueError.

    `last`: of a time that the clock of the zone shows twice, the second one.
    """
    found = datetime.fromisoformat(text.strip())
    try:
        # In UTC: databases refuse an offset with fractions, and the ends of time overflow here rather than there.
        return (found if found.tzinfo else found.replace(tzinfo=of, fold=last)).astimezone(UTC)
    except OverflowError:
        raise ValueError(text) from None
