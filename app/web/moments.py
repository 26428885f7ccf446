"""A time as the clock of a zone shows it."""

from datetime import UTC, datetime, tzinfo

from app.schedules.zones import UnknownZone, zone_info


def zone_of(name: str) -> tzinfo:
    """Return the zone of this name; UTC where it is gone."""
    try:
        return zone_info(name)
    except UnknownZone:
        return UTC


def in_zone(moment: datetime, of: tzinfo) -> datetime:
    """Return the moment as the clock of the zone shows it; in UTC at the ends of time."""
    try:
        return moment.astimezone(of)
    except OverflowError:
        return moment.astimezone(UTC)
