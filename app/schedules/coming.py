"""Nominal times as the clock of their zone shows them, with the changes of that clock among them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from app.schedules import zones

_A_YEAR = timedelta(days=366)
# No nominal time is before it. In the year 1 a zone behind UTC has no clock.
_BEGIN = datetime(1900, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the clock: from what to what local time, and whether it is put forward."""

    at: datetime
    before: timedelta
    after: timedelta

    @property
    def is_forward(self) -> bool:
        return self.after > self.before

    @property
    def by(self) -> timedelta:
        return abs(self.after - self.before)

    @property
    def shown_before(self) -> datetime:
        """What the clock shows at that instant without the change."""
        return self.at + self.before

    @property
    def shown_after(self) -> datetime:
        return self.at + self.after


@dataclass(frozen=True, slots=True)
class Coming:
    """A nominal time in UTC, the same with its zone, and the change since the time before that makes them differ."""

    at: datetime
    local: datetime
    change: Change | None


def with_changes(zone: str, since: datetime, times: Iterable[datetime]) -> list[Coming]:
    """Return these ascending times, the first of which follows `since`. Raises UnknownZone.

    A change that is undone before the next time is not told: of a time each year, there are two in between.
    """
    found: list[Coming] = []
    its_zone, before = zones.zone(zone), max(since, _BEGIN)
    for at in times:
        local = at.astimezone(its_zone)
        differs = local.utcoffset() != before.astimezone(its_zone).utcoffset()
        changes = _changes(zone, max(before, at - _A_YEAR), at) if differs else []
        found.append(Coming(at, local, changes[-1] if changes else None))
        before = at
    return found


def next_change(zone: str, after: datetime) -> Change | None:
    """Return the next change of the clock within a year. Raises UnknownZone."""
    return next(iter(_changes(zone, after, after + _A_YEAR)), None)


def _changes(zone: str, after: datetime, until: datetime) -> list[Change]:
    return [Change(*each) for each in zones.clock_changes(zone, after, until)]
