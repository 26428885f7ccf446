"""A time as a person writes it, and as the clock of a zone shows it."""

from datetime import UTC, datetime, tzinfo

from app.schedules.errors import UnknownZone
from app.schedules.zones import zone


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


def zone_of(name: str) -> tzinfo:
    """Return the zone of this name; UTC where it is gone."""
    try:
        return zone(name)
    except UnknownZone:
        return UTC


def in_zone(moment: datetime, of: tzinfo) -> datetime:
    """Return the moment as the clock of the zone shows it; in UTC at the ends of time."""
    try:
        return moment.astimezone(of)
    except OverflowError:
        return moment.astimezone(UTC)
