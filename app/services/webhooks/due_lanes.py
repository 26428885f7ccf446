"""Which lanes have something due, at the cost of those alone.

A sender remembers which lanes were due at its last look, and looks at these and at what has become due since. Now and
then it walks through all lanes, so that it also finds a row whose transaction was committed late. The walk takes two
look-ups in an index for each lane: DISTINCT would read every row, of which a dead receiver may have any number.
"""

import time
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db.session import transaction
from app.db.statements.skipping import walk
from app.ddl.clock import NOW, STATEMENT_TIME
from app.models.webhook import WebhookDelivery, WebhookEndpoint
from app.services.webhooks.lanes import DueLane

# Lanes that one statement of the walk finds, and that one statement is asked about.
LANES_AT_ONCE, LANES_ASKED = 1000, 100
WALK_SECONDS = 30.0
# Most rows are committed within this time after the one at which they are due.
OVERLAP = timedelta(seconds=2)

_DELIVERIES: Any = WebhookDelivery.__table__
_ROW = _DELIVERIES.c
_TIME = sa.select(NOW.label("now")).subquery()
_DUE = (
    sa.select(_ROW.lane)
    .where(_ROW.next_attempt_at > sa.bindparam("since", type_=_ROW.next_attempt_at.type))
    .where(_ROW.next_attempt_at <= STATEMENT_TIME)
    .distinct()
    .subquery()
)
# With the time, in one statement: nearly always it is the only one of a look. A row at least, without a lane.
_BECAME_DUE = sa.select(_TIME.c.now, _DUE.c.lane).select_from(_TIME.outerjoin(_DUE, sa.true()))


def _state_of(lanes: sa.CTE) -> sa.Select[*tuple[Any, ...]]:
    """These lanes with what is due first of each: when, whose, and whether nothing gets through; and the time."""
    head, endpoint = _DELIVERIES.alias("head"), WebhookEndpoint.__table__
    first = sa.select(_ROW.id).where(_ROW.lane == lanes.c.value).order_by(_ROW.next_attempt_at, _ROW.id).limit(1)
    # The URLs of tasks have no endpoint that says so: what is due first has failed before.
    failing = sa.or_(endpoint.c.failing_since.is_not(None), head.c.tries > 0)
    return (
        sa.select(lanes.c.value, head.c.next_attempt_at, head.c.user_id, failing, NOW)
        .select_from(lanes)
        .outerjoin(head, head.c.id == first.correlate(lanes).scalar_subquery())
        .outerjoin(endpoint, endpoint.c.id == head.c.endpoint_id)
        .where(lanes.c.value.is_not(None))
    )


def _all_lanes() -> sa.Select[*tuple[Any, ...]]:
    found = walk(_ROW.lane, most=LANES_AT_ONCE)
    return _state_of(found).order_by(found.c.number)


_ALL_LANES = _all_lanes()


@cache
def _so_many_lanes(number: int) -> sa.Select[*tuple[Any, ...]]:
    """The SELECT of the lanes `lane_0` to `lane_{number - 1}`."""
    named = [sa.select(sa.bindparam(f"lane_{each}", type_=_ROW.lane.type).label("value")) for each in range(number)]
    return _state_of((sa.union_all(*named) if number > 1 else named[0]).cte("found"))


class DueLanes:
    """What one sender knows of the lanes. One thread uses it."""

    def __init__(self) -> None:
        self._known = set[UUID]()
        self._since: datetime | None = None
        self._walked_at = float("-inf")

    def find(self, db: Session) -> list[DueLane]:
        """Return the lanes of which a row is due."""
        if self._since is None or time.monotonic() - self._walked_at >= WALK_SECONDS:
            self._walked_at = time.monotonic()
            with transaction(db):
                self._since = db.execute(sa.select(NOW)).scalar_one()
            found = find_due(db)
        else:
            found = self._of_some(db, self._since)
        self._known = {each.lane for each in found}
        return found

    def add(self, lanes: Iterable[UUID]) -> None:
        """Look at these next time, whose rows are due at an earlier time than they were."""
        self._known.update(lanes)

    def _of_some(self, db: Session, since: datetime) -> list[DueLane]:
        with transaction(db):
            due = db.execute(_BECAME_DUE, {"since": since - OVERLAP}).all()
            self._since = due[0].now
            if due[0].now < since:  # the clock was put back: only a walk tells what is due by it
                self._walked_at = float("-inf")
            asked = sorted({*self._known, *(each.lane for each in due if each.lane is not None)})
            rows = list[Any]()
            for at in range(0, len(asked), LANES_ASKED):
                lanes = asked[at : at + LANES_ASKED]
                values = {f"lane_{number}": lane for number, lane in enumerate(lanes)}
                rows += db.execute(_so_many_lanes(len(lanes)), values)
        return _due(rows)


def find_due(db: Session) -> list[DueLane]:
    """Return the lanes of which a row is due, by a walk through all lanes; a transaction for each statement."""
    rows, last = list[Any](), UUID(int=0)
    while True:
        with transaction(db):
            found = db.execute(_ALL_LANES, {"after": last}).all()
        rows += found
        if len(found) < LANES_AT_ONCE:
            return _due(rows)
        last = found[-1][0]


def _due(rows: Collection[Any]) -> list[DueLane]:
    return [DueLane(lane, user, bool(failing)) for lane, at, user, failing, now in rows if at is not None and at <= now]
