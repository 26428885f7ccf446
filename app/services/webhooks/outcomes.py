"""Writes what came of deliveries: many in one transaction."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.core.json_text import dump_json
from app.db.session import transaction
from app.ddl.clock import NOW
from app.models.webhook import DELIVERY_BYTES, DeliveryState, WebhookDelivery
from app.services.webhooks.queue import Taken
from app.services.webhooks.retries import delay_after
from app.services.webhooks.sending import Outcome

Ended = tuple[Taken, Outcome]

# Of a delivery that was sent again and again; the oldest are left out.
MOST_ATTEMPTS = 50

_DELIVERIES: Any = WebhookDelivery.__table__
_WRITTEN = ("state", "attempts", "tries", "lane", "next_attempt_at", "bytes")
_ENDED = (
    sa.update(_DELIVERIES)
    .where(_DELIVERIES.c.id == sa.bindparam("of_id"))
    .values({name: sa.bindparam(f"its_{name}", type_=_DELIVERIES.c[name].type) for name in _WRITTEN})
)


def write_outcomes(db: Session, ended: Sequence[Ended]) -> list[Ended]:
    """Write what came of these deliveries. Returns those that stood as they were taken.

    Of one that was dropped meanwhile the attempt is kept, and a success counts. One that was queued anew, or that
    another sender has taken, is left as it is: the later word counts.
    """
    row, stood, values = WebhookDelivery, list[Ended](), list[dict[str, Any]]()
    with transaction(db):
        its = sa.select(row.id, row.next_attempt_at, row.state).where(row.id.in_({taken.id for taken, _ in ended}))
        rows = {each.id: each for each in db.execute(its.order_by(row.id).with_for_update())}
        dropped = _attempts(db, [each.id for each in rows.values() if each.state == DeliveryState.DROPPED])
        now: datetime = db.execute(sa.select(NOW)).scalar_one()
        for taken, outcome in ended:
            if taken.id in dropped:
                dropped[taken.id].append(outcome.as_attempt())
                state = DeliveryState.DELIVERED if outcome.succeeded else DeliveryState.DROPPED
                values.append(_values(taken, state, dropped[taken.id]))
            elif taken.id in rows and rows[taken.id].next_attempt_at == taken.lease:
                stood.append((taken, outcome))
                values.append(_values_of(taken, outcome, now))
        if values:
            db.execute(_ENDED, values)
    return stood


def _attempts(db: Session, ids: Sequence[UUID]) -> dict[UUID, list[dict[str, Any]]]:
    row = WebhookDelivery
    found = db.execute(sa.select(row.id, row.attempts).where(row.id.in_(ids))) if ids else ()
    return {each.id: list(each.attempts) for each in found}


def _values_of(taken: Taken, outcome: Outcome, now: datetime) -> dict[str, Any]:
    attempts = [*taken.attempts, outcome.as_attempt()]
    if outcome.succeeded:
        return _values(taken, DeliveryState.DELIVERED, attempts)
    tries = taken.tries + 1
    first = datetime.fromisoformat(attempts[-min(tries, len(attempts))]["at"])
    elapsed = max(0.0, (outcome.at - first).total_seconds())
    delay = None if outcome.is_gone else delay_after(tries, outcome.retry_after, elapsed)
    if delay is None:
        return _values(taken, DeliveryState.FAILED, attempts)
    return _values(taken, DeliveryState.PENDING, attempts, now + timedelta(seconds=delay))


def _values(
    taken: Taken, state: DeliveryState, attempts: Sequence[dict[str, Any]], again: datetime | None = None
) -> dict[str, Any]:
    kept = attempts[-MOST_ATTEMPTS:]
    own_url = taken.message.url if taken.endpoint_id is None else ""
    return {
        "of_id": taken.id,
        "its_state": state.value,
        "its_attempts": kept,
        "its_tries": taken.tries + 1,
        "its_lane": None if again is None else taken.lane,
        "its_next_attempt_at": again,
        "its_bytes": DELIVERY_BYTES + len(own_url.encode()) + len(taken.message.body) + len(dump_json(kept).encode()),
    }
