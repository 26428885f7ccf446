"""The queue of deliveries in the database: takes rows of lanes that are due, and gives them back.

Each function is one short transaction. Between two of them the requests are made: a row that is taken is due again
after LEASE, so that nothing is lost with the process, and is then sent again with the same id and body.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from app.core.security import Undecryptable
from app.db.session import transaction
from app.ddl.clock import NOW
from app.errors import WebhooksOff
from app.models.user import User
from app.models.webhook import WebhookDelivery, WebhookEndpoint
from app.services.tasks.permissions import may_send
from app.services.webhooks import dropping, secrets
from app.services.webhooks.bodies import Skip, TaskEnd, bodies_of_ends, bodies_of_skips
from app.services.webhooks.sending import Message

logger = logging.getLogger(__name__)

# Longer than a request and the writing of its outcome.
LEASE = timedelta(seconds=60)
# A row that was taken so long ago is not sent any more: another sender may have it by the end of the request.
SEND_WITHIN_SECONDS = 40.0
# Lanes of which one statement takes rows.
LANES_OF_A_STATEMENT = 16

_DELIVERIES: Any = WebhookDelivery.__table__
_DUE = (WebhookDelivery.next_attempt_at.is_not(None), WebhookDelivery.next_attempt_at <= NOW)


@dataclass(frozen=True, slots=True)
class Taken:
    """A delivery that is to be sent now, until its lease ends. `endpoint_at`: when its endpoint was changed last."""

    id: UUID
    lane: UUID
    endpoint_id: UUID | None
    endpoint_at: datetime | None
    lease: datetime
    tries: int
    attempts: list[dict[str, Any]]
    message: Message


class _Signer(NamedTuple):
    """The keys that sign what goes to one receiver, or why there are none."""

    keys: Sequence[bytes]
    fault: str | None = None


# -- taking ------------------------------------------------------------------------------------------------------------


def take(db: Session, wanted: Mapping[UUID, int], service: Sequence[str]) -> list[Taken]:
    """Take so many rows of each lane, those first that have been due for longest. `service`: its keys of secrets.

    What an endpoint is to get that is disabled or gone, or has been disabled since, or whose owner is not active or may
    not send, is dropped.
    """
    with transaction(db):
        ids = [found for lanes in _batches(wanted) for found in db.scalars(_first_of(lanes))]
        locked = sa.select(WebhookDelivery).where(WebhookDelivery.id.in_(ids), *_DUE)
        ordered = locked.order_by(WebhookDelivery.next_attempt_at, WebhookDelivery.id)
        again = ordered.with_for_update(skip_locked=True).execution_options(populate_existing=True)
        rows = list(db.scalars(again)) if ids else []
        if not rows:
            return []
        lease: datetime = db.execute(sa.select(NOW)).scalar_one() + LEASE
        endpoints, senders = _receivers(db, rows)
        sent = [row for row in rows if row.user_id in senders and _is_wanted(row, endpoints)]
        dropping.drop(db, [row.id for row in rows if row not in sent])
        _write_bodies(db, [row for row in sent if row.body is None])
        leased = sa.update(WebhookDelivery).where(WebhookDelivery.id.in_([row.id for row in sent]))
        db.execute(leased.values(next_attempt_at=lease).execution_options(synchronize_session=False))
        signers = {
            each: _signer(each, endpoints.get(each[1]), lease - LEASE, service) for each in map(_sender_of, sent)
        }
        return [_taken(row, endpoints.get(row.endpoint_id), lease, signers[_sender_of(row)]) for row in sent]


def _batches(wanted: Mapping[UUID, int]) -> list[list[tuple[UUID, int]]]:
    lanes = list(wanted.items())
    return [lanes[at : at + LANES_OF_A_STATEMENT] for at in range(0, len(lanes), LANES_OF_A_STATEMENT)]


def _first_of(lanes: Sequence[tuple[UUID, int]]) -> Any:
    """The ids of the rows of these lanes that are next. A first attempt waits for that of its task's event before."""
    row, first = _DELIVERIES.c, aliased(_DELIVERIES)
    # One look into the index; an EXISTS of earlier ones reads all ends of the task for each of them. There is one end
    # in each generation, whatever the clock says.
    of_task = first.c.task_id == row.task_id, first.c.lane == row.lane, first.c.tries == 0
    is_next = row.generation == sa.select(sa.func.min(first.c.generation)).where(*of_task).scalar_subquery()
    found = [
        sa.select(
            sa.select(row.id)
            .where(row.lane == lane, row.next_attempt_at <= NOW, sa.or_(row.tries > 0, row.task_id.is_(None), is_next))
            .order_by(row.next_attempt_at, row.id)
            .limit(number)
            .subquery()
        )
        for lane, number in lanes
    ]
    return sa.union_all(*found) if len(found) > 1 else found[0]


def _receivers(
    db: Session, rows: Sequence[WebhookDelivery]
) -> tuple[dict[UUID | None, WebhookEndpoint], Collection[UUID]]:
    """The enabled endpoints of these deliveries, and those of their users who are active and may send."""
    endpoints = WebhookEndpoint.id.in_({row.endpoint_id for row in rows if row.endpoint_id}), WebhookEndpoint.enabled
    found = db.scalars(sa.select(WebhookEndpoint).where(*endpoints).execution_options(populate_existing=True))
    by_id: dict[UUID | None, WebhookEndpoint] = {each.id: each for each in found}
    users = sa.select(User.id, User.role).where(User.id.in_({row.user_id for row in rows}), User.is_active)
    return by_id, {user_id for user_id, role in db.execute(users) if may_send(user_id, role)}


def _is_wanted(row: WebhookDelivery, endpoints: Mapping[UUID | None, WebhookEndpoint]) -> bool:
    if row.endpoint_id is None:
        return True
    endpoint = endpoints.get(row.endpoint_id)
    return endpoint is not None and row.lane is not None and endpoint.is_sent(row.lane, row.created_at)


def _write_bodies(db: Session, rows: Sequence[WebhookDelivery]) -> None:
    """Make the bodies of deliveries that are sent for the first time, and keep them."""
    ends = {row.id: TaskEnd(row.task_id, row.generation, row.type, row.event_at) for row in rows if row.task_id}
    skips = {row.id: Skip(row.schedule_id, row.type, row.event_at) for row in rows if row.schedule_id}
    bodies = dict[UUID, bytes]()
    if ends:
        bodies |= zip(ends, bodies_of_ends(db, [*ends.values()]), strict=True)
    if skips:
        bodies |= zip(skips, bodies_of_skips(db, [*skips.values()]), strict=True)
    for row in rows:
        row.body, row.bytes = bodies[row.id], row.bytes + len(bodies[row.id])
    db.flush()


def _sender_of(row: WebhookDelivery) -> tuple[UUID, UUID | None]:
    """Whose keys sign it."""
    return row.user_id, row.endpoint_id


def _taken(row: WebhookDelivery, endpoint: WebhookEndpoint | None, lease: datetime, signer: _Signer) -> Taken:
    assert row.lane is not None
    assert row.body is not None
    url = row.url or "" if endpoint is None else endpoint.url
    message = Message(url, row.event_id, bytes(row.body), signer.keys, signer.fault)
    changed_at = None if endpoint is None else endpoint.updated_at
    return Taken(row.id, row.lane, row.endpoint_id, changed_at, lease, row.tries, list(row.attempts), message)


def _signer(
    of: tuple[UUID, UUID | None], endpoint: WebhookEndpoint | None, now: datetime, service: Sequence[str]
) -> _Signer:
    user_id, endpoint_id = of
    try:
        return _Signer(_keys(user_id, endpoint, now, service))
    except WebhooksOff as off:
        return _Signer((), off.detail)
    except Undecryptable:
        logger.error("webhooks: the secret of endpoint %s cannot be decrypted", endpoint_id)  # noqa: TRY400
        fault = "the secret cannot be decrypted: rotate it, or have the operator add the former SECRET_KEY"
        return _Signer((), fault)


def _keys(user_id: UUID, endpoint: WebhookEndpoint | None, now: datetime, service: Sequence[str]) -> list[bytes]:
    """The keys that sign, the present one first. Raises WebhooksOff, Undecryptable: of the present one."""
    if endpoint is None:
        return secrets.keys_of_user(user_id)
    keys = [secrets.decrypted(bytes(endpoint.secret), endpoint.id, service)[0]]
    if endpoint.old_secret is not None and endpoint.old_secret_until is not None and endpoint.old_secret_until > now:
        try:
            keys.append(secrets.decrypted(bytes(endpoint.old_secret), endpoint.id, service)[0])
        except Undecryptable:
            logger.warning(
                "webhooks: the old secret of endpoint %s cannot be decrypted, and does not sign", endpoint.id
            )
    return keys


# -- what is not sent after all ----------------------------------------------------------------------------------------


def find_stale(db: Session, taken: Collection[Taken]) -> set[UUID]:
    """Return which of these are not to be sent as they were taken.

    Their rows were dropped or queued anew since then, or their endpoints are changed, disabled or gone.
    """
    row, endpoint = WebhookDelivery, WebhookEndpoint
    is_its = sa.and_(endpoint.id == row.endpoint_id, endpoint.enabled)
    found = sa.select(row.id, row.next_attempt_at, endpoint.updated_at).outerjoin(endpoint, is_its)
    with transaction(db):
        rows = db.execute(found.where(row.id.in_([each.id for each in taken]))).all()
    stand = {(each.id, each.next_attempt_at, each.updated_at) for each in rows}
    return {each.id for each in taken if (each.id, each.lease, each.endpoint_at) not in stand}


def give_back(db: Session, taken: Collection[Taken]) -> None:
    """Have these due again now, before those that came after them, as far as they are this sender's still."""
    row = WebhookDelivery
    leased = row.id.in_([each.id for each in taken]), row.next_attempt_at.in_({each.lease for each in taken})
    locked = sa.select(row.id).where(*leased).order_by(row.id).with_for_update(skip_locked=True)
    with transaction(db):
        its = sa.update(row).where(row.id.in_(db.scalars(locked).all())).values(next_attempt_at=row.created_at)
        db.execute(its.execution_options(synchronize_session=False))
