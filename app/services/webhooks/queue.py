"""The queue of deliveries: which rows are taken, how one is sent, when it is tried again, and what is dropped.

A delivery that has failed is tried again over three days, the second time within a minute.
"""

import logging
import random
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from app.core.redacted_text import redact_text
from app.core.security import Undecryptable
from app.core.signatures import signed_headers
from app.db.session import transaction
from app.db.statements.batches import lock_batch
from app.db.statements.writes import changed_rows, upsert
from app.ddl.clock import NOW
from app.errors import WebhooksOff
from app.models.user import User
from app.models.webhook import ClosedLane, DeliveryState, WebhookDelivery, WebhookEndpoint
from app.outbound import Bounds, Client, OutboundError
from app.outbound.answer import read_retry_after
from app.services.tasks.permissions import may_send
from app.services.webhooks import endpoints
from app.services.webhooks.new_deliveries import Skip, TaskEnd, bodies_of_ends, bodies_of_skips

logger = logging.getLogger(__name__)

MINUTE, HOUR, DAY = 60, 3600, 86_400
# Seconds after each failed attempt: 71.6 hours in all.
RETRY_DELAYS = (10, MINUTE, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 20 * HOUR)
MAX_RETRY_AFTER = float(DAY)
# From the first attempt to the last one, whatever the receiver asks for.
RETRIES_LAST = 3.0 * DAY


def retry_delay_after(tries: int, retry_after: float | None, elapsed: float = 0.0) -> float | None:
    """Return the seconds to wait after the failed attempt number `tries`; None: it was the last one.

    The receiver's `retry_after`, which the caller has bounded by MAX_RETRY_AFTER, makes it longer and never shorter.
    Otherwise up to a tenth is added or taken, so that what failed together does not return together. `elapsed`: the
    seconds since the first attempt. None is made later than RETRIES_LAST after it, nor earlier than the receiver
    asks for.
    """
    left, asked = RETRIES_LAST - elapsed, retry_after or 0.0
    if tries > len(RETRY_DELAYS) or left <= 0 or asked > left:
        return None
    delay: float = RETRY_DELAYS[tries - 1] * random.uniform(0.9, 1.1)  # noqa: S311 (not a secret)
    return min(max(delay, asked), left)


# -- One request: a signed POST, and what its receiver answers. Needs no database --------------------------------------
# A 2xx is a success, whatever else the receiver sends. Redirects are not followed; of an answer the first KiB is read.

# Standard Webhooks recommends 15 to 30 seconds, and no redirects. The content is cut below, whatever its size.
REQUEST_BOUNDS = Bounds(seconds=15, connect_seconds=5, read_seconds=15, max_bytes=64 * 1024, max_redirects=0)
ANSWER_BYTES = 1024
SUCCESS_CODES = range(200, 300)
GONE_CODE = 410


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent: where to, with which id and body, and the keys that sign it. `fault`: why it cannot be sent."""

    url: str
    event_id: UUID
    body: bytes
    keys: Sequence[bytes]
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one attempt; `retry_after` in seconds, if the receiver asks for it."""

    at: datetime
    latency_seconds: float
    status: int | None = None
    error: str | None = None
    answer: str | None = None
    retry_after: float | None = None

    @property
    def succeeded(self) -> bool:
        return self.status in SUCCESS_CODES

    @property
    def is_gone(self) -> bool:
        return self.status == GONE_CODE

    def as_attempt(self) -> dict[str, Any]:
        """Return the attempt as the delivery keeps it and the API shows it."""
        return {
            "at": self.at.isoformat().replace("+00:00", "Z"),
            "status_code": self.status,
            "latency_seconds": round(self.latency_seconds, 3),
            "error": self.error,
            "answer": self.answer,
        }


def send(client: Client, message: Message) -> Outcome:
    """Send the message once. Never raises: whatever goes wrong is an attempt that failed, with its reason."""
    at, begun = datetime.now(UTC), time.monotonic()
    found: dict[str, Any] = {}
    try:
        if message.fault is None:
            _exchange(client, message, int(at.timestamp()), found)
        else:
            found["error"] = message.fault
    except OutboundError as error:
        if "status" not in found:  # else what follows the status cannot be read, which does not undo it
            found["error"] = str(error)
    except Exception as error:
        logger.exception("webhooks: event %s cannot be sent", message.event_id)
        found = {"error": f"the request failed: {type(error).__name__}"}
    return Outcome(at, time.monotonic() - begun, **found)


def _exchange(client: Client, message: Message, timestamp: int, found: dict[str, Any]) -> None:
    """Fill in what the receiver answers, as it comes."""
    headers = signed_headers(message.keys, str(message.event_id), timestamp, message.body)
    headers["content-type"] = "application/json"
    with client.stream("POST", message.url, headers=headers, content=message.body) as answer:
        found |= {"status": answer.status, "answer": ""}
        if answer.status not in SUCCESS_CODES:
            found["error"] = f"the receiver answered {answer.status}"
            found["retry_after"] = read_retry_after(answer.headers.get("retry-after"), MAX_RETRY_AFTER)
        content = bytearray()
        try:
            for piece in answer.pieces():
                content += piece
                if len(content) >= ANSWER_BYTES:
                    break
        finally:  # also what came before an error. Once: to hide secrets takes longer than to read many small pieces
            found["answer"] = _answer_as_text(bytes(content[:ANSWER_BYTES]))


def _answer_as_text(content: bytes) -> str:
    """Return the content as text, secrets hidden. NUL is none of it, as nowhere in a text of the database."""
    return redact_text(content.decode("utf-8", "replace").replace("\x00", "\ufffd"))


# -- What is dropped: the queue of an endpoint until it was disabled or deleted ----------------------------------------
# It may be a million rows, which are dropped in batches. So whoever disables, enables or deletes an endpoint writes its
# row, and that its lane is closed. What is taken of that lane meanwhile is dropped as well.

DROP_BATCH = 500
_CLOSED_LANES: Any = ClosedLane.__table__


def drop_deliveries(db: Session, ids: Collection[UUID]) -> int:
    """Send these deliveries no more, as far as they are pending. The caller commits. Returns how many."""
    if not ids:
        return 0
    values = {"state": DeliveryState.DROPPED.value, "lane": None, "next_attempt_at": None}
    pending = sa.update(WebhookDelivery).where(WebhookDelivery.id.in_(ids), WebhookDelivery.lane.is_not(None))
    return changed_rows(db.execute(pending.values(values).execution_options(synchronize_session=False)))


def close_lane(db: Session, row: WebhookEndpoint) -> None:
    """Have nothing sent that is queued for this endpoint now.

    The caller disables it, or deletes it, or enables it with another lane; and commits.
    """
    upsert(db, _CLOSED_LANES, [{"lane": row.present_lane, "endpoint_id": row.id}])


def drop_closed_lanes(db: Session, stopping: threading.Event) -> None:
    """Drop what is queued in closed lanes. A transaction for each batch."""
    with transaction(db):
        lanes = db.scalars(sa.select(ClosedLane.lane).order_by(ClosedLane.lane)).all()
    for lane in lanes:
        while not stopping.is_set() and _drop_batch(db, lane):
            """More is left."""


def _drop_batch(db: Session, lane: UUID) -> bool:
    """Drop a batch; the lane is forgotten with the last one. Returns whether more may be left.

    What another transaction has in hand just now is left out: the sender drops it, should it be sent.
    """
    closed, endpoint, row = ClosedLane, WebhookEndpoint, WebhookDelivery
    queued = sa.select(row.id).where(row.lane == lane)
    its = sa.and_(endpoint.id == closed.endpoint_id, endpoint.enabled)
    of_lane = sa.select(closed, endpoint).outerjoin(endpoint, its).where(closed.lane == lane)
    with transaction(db):
        found = db.execute(of_lane.execution_options(populate_existing=True)).one_or_none()
        if found is None:
            return False
        now: WebhookEndpoint | None = found[1]
        if now is not None and now.enabled_again_at is not None:
            queued = queued.where(row.created_at < now.enabled_again_at)
        # A process of a release that knew no lanes may have enabled the endpoint again.
        is_open = now is not None and now.present_lane == lane
        if not is_open and drop_deliveries(db, lock_batch(db, queued, DROP_BATCH)) == DROP_BATCH:
            return True
        gone = sa.delete(closed).where(closed.lane == lane)
        db.execute(gone.execution_options(synchronize_session=False))
        return False


# -- The queue: rows of lanes that are due are taken, and given back ---------------------------------------------------
# Each function is one short transaction. Between two of them the requests are made: a row that is taken is due again
# after LEASE, so that nothing is lost with the process, and is then sent again with the same id and body.

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


# -- The queue: what is taken ------------------------------------------------------------------------------------------


def take(db: Session, wanted: Mapping[UUID, int], service: Sequence[str]) -> list[Taken]:
    """Take so many rows of each lane, those first that have been due for longest. `service`: its keys of secrets.

    What an endpoint is to get that is disabled or gone, or has been disabled since, or whose owner is not active or may
    not send, is dropped.
    """
    with transaction(db):
        ids = [found for lanes in _batches(wanted) for found in db.scalars(_first_of(lanes))]
        locked = sa.select(WebhookDelivery).where(WebhookDelivery.id.in_(ids), *_DUE)
        ordered = locked.order_by(WebhookDelivery.next_attempt_at, WebhookDelivery.id)
        free = ordered.with_for_update(skip_locked=True).execution_options(populate_existing=True)
        rows = list(db.scalars(free)) if ids else []
        if not rows:
            return []
        lease: datetime = db.execute(sa.select(NOW)).scalar_one() + LEASE
        endpoints, senders = _receivers(db, rows)
        sent = [row for row in rows if row.user_id in senders and _is_wanted(row, endpoints)]
        drop_deliveries(db, [row.id for row in rows if row not in sent])
        if again := [row.id for row in sent if row.body is not None]:
            leased = sa.update(WebhookDelivery).where(WebhookDelivery.id.in_(again)).values(next_attempt_at=lease)
            db.execute(leased.execution_options(synchronize_session=False))
        _write_bodies(db, [row for row in sent if row.body is None], lease)
        signers = {
            each: _signer(each, endpoints.get(each[1]), lease - LEASE, service) for each in map(_sender_of, sent)
        }
        return [_taken(row, endpoints.get(row.endpoint_id), lease, signers[_sender_of(row)]) for row in sent]


def _batches(wanted: Mapping[UUID, int]) -> list[list[tuple[UUID, int]]]:
    lanes = list(wanted.items())
    return [lanes[at : at + LANES_OF_A_STATEMENT] for at in range(0, len(lanes), LANES_OF_A_STATEMENT)]


def _first_of(lanes: Sequence[tuple[UUID, int]]) -> Any:
    """Return the ids of the next rows of these lanes. A first attempt waits for that of its task's event before."""
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
    """Return the enabled endpoints of these deliveries, and those of their users who are active and may send."""
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


def _write_bodies(db: Session, rows: Sequence[WebhookDelivery], lease: datetime) -> None:
    """Make the bodies of deliveries that are sent for the first time, and write them with their lease: once a row."""
    ends = {row.id: TaskEnd(row.task_id, row.generation, row.type, row.event_at) for row in rows if row.task_id}
    skips = {row.id: Skip(row.schedule_id, row.type, row.event_at) for row in rows if row.schedule_id}
    bodies = dict[UUID, bytes]()
    if ends:
        bodies |= zip(ends, bodies_of_ends(db, [*ends.values()]), strict=True)
    if skips:
        bodies |= zip(skips, bodies_of_skips(db, [*skips.values()]), strict=True)
    for row in rows:
        row.body, row.bytes, row.next_attempt_at = bodies[row.id], row.bytes + len(bodies[row.id]), lease
    db.flush()


def _sender_of(row: WebhookDelivery) -> tuple[UUID, UUID | None]:
    """Return the user and the endpoint whose keys sign it."""
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
    """Return the keys that sign, the present one first. Raises WebhooksOff, Undecryptable: of the present one."""
    if endpoint is None:
        return endpoints.keys_of_user(user_id)
    keys = [endpoints.decrypted_key(bytes(endpoint.secret), endpoint.id, service)[0]]
    if endpoint.old_secret is not None and endpoint.old_secret_until is not None and endpoint.old_secret_until > now:
        try:
            keys.append(endpoints.decrypted_key(bytes(endpoint.old_secret), endpoint.id, service)[0])
        except Undecryptable:
            logger.warning(
                "webhooks: the old secret of endpoint %s cannot be decrypted, and does not sign", endpoint.id
            )
    return keys


# -- The queue: what is not sent after all -----------------------------------------------------------------------------


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


def give_back(db: Session, taken: Collection[Taken], due: sa.SQLColumnExpression[datetime]) -> None:
    """Have these due again at that time of the past or the present, as far as they are this sender's still.

    Another sender looks every 30 s only for what is due since long ago.
    """
    row = WebhookDelivery
    leased = row.id.in_([each.id for each in taken]), row.next_attempt_at.in_({each.lease for each in taken})
    locked = sa.select(row.id).where(*leased).order_by(row.id).with_for_update(skip_locked=True)
    with transaction(db):
        its = sa.update(row).where(row.id.in_(db.scalars(locked).all())).values(next_attempt_at=due)
        db.execute(its.execution_options(synchronize_session=False))
