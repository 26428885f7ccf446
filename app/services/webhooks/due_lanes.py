"""Which lanes have something queued: those that are due, and those of endpoints that are disabled or gone.

The walk takes two index lookups for each lane. DISTINCT would read every row, of which a dead receiver may have any
number.
"""

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db.session import transaction
from app.ddl.clock import NOW
from app.models.webhook import WebhookDelivery, WebhookEndpoint
from app.services.webhooks.lanes import DueLane

# Lanes that one statement finds.
LANES_AT_ONCE = 1000

_DELIVERIES: Any = WebhookDelivery.__table__


def _walk() -> sa.CTE:
    """The lanes behind `after`, each with its number."""
    row = _DELIVERIES.c

    def first(behind: Any) -> Any:
        return sa.select(row.lane).where(row.lane > behind).order_by(row.lane).limit(1)

    start = first(sa.bindparam("after", type_=row.lane.type)).scalar_subquery()
    steps = sa.select(start.label("lane"), sa.literal(1, sa.Integer).label("number")).cte("lanes", recursive=True)
    following = first(steps.c.lane).correlate(steps).scalar_subquery()
    more = sa.select(following, steps.c.number + 1).where(steps.c.lane.is_not(None), steps.c.number < LANES_AT_ONCE)
    return steps.union_all(more)


def _of_first(found: sa.CTE, column: Any) -> Any:
    """This column of the row of each lane that is due before the others."""
    row = _DELIVERIES.c
    first = sa.select(column).where(row.lane == found.c.lane).order_by(row.next_attempt_at, row.id).limit(1)
    return first.correlate(found).scalar_subquery()


def _lanes() -> sa.Select[*tuple[Any, ...]]:
    """The lanes with the first time at which a row of each is due, its user, and whether nothing gets through to it."""
    row, found, endpoint = _DELIVERIES.c, _walk(), WebhookEndpoint
    due, whose = _of_first(found, row.next_attempt_at), _of_first(found, row.user_id)
    is_said = sa.exists().where(endpoint.id == found.c.lane, endpoint.failing_since.is_not(None)).correlate(found)
    # The URLs of tasks have no endpoint that says so: what is due first has failed before.
    failing = sa.or_(is_said, _of_first(found, row.tries) > 0)
    return sa.select(found.c.lane, due, whose, failing, NOW).where(found.c.lane.is_not(None)).order_by(found.c.number)


def _unwanted() -> sa.Select[*tuple[Any, ...]]:
    """The lanes, and whether it is that of an endpoint which is disabled or gone."""
    found, endpoint = _walk(), WebhookEndpoint
    of_endpoint = _of_first(found, _DELIVERIES.c.endpoint_id).is_not(None)
    enabled = sa.exists().where(endpoint.id == found.c.lane, endpoint.enabled).correlate(found)
    return (
        sa.select(found.c.lane, sa.and_(of_endpoint, ~enabled))
        .where(found.c.lane.is_not(None))
        .order_by(found.c.number)
    )


_LANES, _UNWANTED = _lanes(), _unwanted()


def find_due(db: Session) -> list[DueLane]:
    """Return the lanes of which a row is due."""
    found = _all_of(db, _LANES)
    return [DueLane(row[0], row[2], bool(row[3])) for row in found if None not in row[:3] and row[1] <= row[4]]


def find_unwanted(db: Session) -> list[UUID]:
    """Return the endpoints that are disabled or gone, and for which something is queued."""
    return [row[0] for row in _all_of(db, _UNWANTED) if row[1]]


def _all_of(db: Session, lanes: sa.Select[*tuple[Any, ...]]) -> list[Any]:
    """The rows of this walk over all lanes; a transaction for each statement."""
    rows, last = list[Any](), UUID(int=0)
    while True:
        with transaction(db):
            found = db.execute(lanes, {"after": last}).all()
        rows += found
        if len(found) < LANES_AT_ONCE:
            return rows
        last = found[-1].lane
