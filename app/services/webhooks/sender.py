"""The sender of webhooks in the leader's process, and what it writes of deliveries and of their endpoints.

What came of deliveries is written for many in one transaction.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from functools import cache, partial
from queue import Empty, SimpleQueue
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.catalogue import catalogue
from app.core.json_text import dump_json
from app.db.outage import first_line, is_outage, is_passing
from app.db.session import transaction
from app.db.together import together
from app.db.transactions import retry_deadlocks
from app.ddl.clock import NOW
from app.models.webhook import (
    DELIVERY_BYTES,
    DeliveryState,
    DisabledReason,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEvent,
)
from app.outbound import Client
from app.outbound.client import default_tls
from app.outbound.connections import Connections
from app.outbound.targets import Policy
from app.services import audit
from app.services.webhooks import endpoints, queue
from app.services.webhooks.lanes import PLACES, DueLane, DueLanes, Lanes
from app.services.webhooks.queue import REQUEST_BOUNDS, SEND_WITHIN_SECONDS, Outcome, Taken, retry_delay_after

logger = logging.getLogger(__name__)

Ended = tuple[Taken, Outcome]

# Of a delivery that was sent again and again; the oldest are left out.
MOST_ATTEMPTS = 50

_DELIVERIES: Any = WebhookDelivery.__table__
_WRITTEN = ("state", "attempts", "tries", "lane", "next_attempt_at", "bytes")
_WRITE_ENDED = (
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
        dropped = _attempts_of(db, [each.id for each in rows.values() if each.state == DeliveryState.DROPPED])
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
            db.execute(_WRITE_ENDED, values)
    return stood


def _attempts_of(db: Session, ids: Sequence[UUID]) -> dict[UUID, list[dict[str, Any]]]:
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
    delay = None if outcome.is_gone else retry_delay_after(tries, outcome.retry_after, elapsed)
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


# -- What deliveries say of their endpoints: since when nothing gets through, and which are disabled for it ------------

# Nothing got through for so long, and one has just failed: the endpoint is disabled.
FAILING_FOR = timedelta(days=5)

# An endpoint, and when it was changed last: what was sent before a change says nothing of what it is now.
_EndpointState = tuple[UUID, datetime]


def note_endpoints(db: Session, ended: Collection[Ended]) -> None:
    """Note what these deliveries say of their endpoints, as far as these are unchanged since they were taken.

    Nearly always that is nothing new, and no row is locked.
    """
    said: dict[_EndpointState, list[Outcome]] = {}
    for taken, outcome in ended:
        if taken.endpoint_id is not None and taken.endpoint_at is not None:
            said.setdefault((taken.endpoint_id, taken.endpoint_at), []).append(outcome)
    if not said:
        return
    with transaction(db):
        news = _news(db, said)
        if news:
            for state, values in _news(db, {each: said[each] for each in news}, lock=True).items():
                _write_endpoint(db, state, values)


def _news(
    db: Session, said: dict[_EndpointState, list[Outcome]], *, lock: bool = False
) -> dict[_EndpointState, dict[str, Any]]:
    """Return what is to be written of these endpoints; `lock` has them stay so until the transaction ends."""
    row = WebhookEndpoint
    found = (
        sa.select(row.id, row.updated_at, row.failing_since, NOW.label("now"))
        .where(row.id.in_({endpoint_id for endpoint_id, _ in said}), row.enabled)
        .order_by(row.id)
    )
    rows = db.execute(found.with_for_update() if lock else found).all()
    news = {(each.id, each.updated_at): _news_of(each, said.get((each.id, each.updated_at), ())) for each in rows}
    return {state: values for state, values in news.items() if values}


def _news_of(row: Any, outcomes: Collection[Outcome]) -> dict[str, Any]:
    if any(each.is_gone for each in outcomes):
        return _disabled_columns(DisabledReason.GONE)
    if any(each.succeeded for each in outcomes):
        return {} if row.failing_since is None else {"failing_since": None}
    if not outcomes:
        return {}
    if row.failing_since is None:
        return {"failing_since": NOW}
    return _disabled_columns(DisabledReason.FAILING) if row.failing_since < row.now - FAILING_FOR else {}


def _disabled_columns(reason: DisabledReason) -> dict[str, Any]:
    values = {"enabled": False, "disabled_at": NOW, "disabled_reason": reason.value, "updated_at": NOW}
    return values | {"failing_since": sa.func.coalesce(WebhookEndpoint.failing_since, NOW)}


def _write_endpoint(db: Session, state: _EndpointState, values: dict[str, Any]) -> None:
    """Write this of an endpoint; where it is disabled by it, the audit says so, and what is queued is not sent.

    The user's tasks stay followed until the user disables or deletes the endpoint: then the user's row is locked.
    """
    row, endpoint_id = WebhookEndpoint, state[0]
    written = sa.update(row).where(row.id == endpoint_id).values(values)
    db.execute(written.execution_options(synchronize_session=False))
    if reason := values.get("disabled_reason"):
        disabled = endpoints.find_endpoint(db, None, endpoint_id)
        queue.close_lane(db, disabled)
        owner = disabled.user_id
        subject = endpoints.subject_of(disabled)
        audit.record(db, WebhookEvent.DISABLED, subject, actor=None, reason=reason, owner=str(owner))
        logger.warning("webhooks: endpoint %s of user %s is disabled: %s", endpoint_id, owner, reason)


# -- The sender: it takes rows that are due, has threads make the requests, and writes what came of them ---------------
# One runs in the leader's process. The thread of its pass is the only one that uses the database: it takes rows for
# many lanes at once, and writes many outcomes at once. The requests run beside it, each in a thread that goes on with
# its lane while rows of it are ready.

# Which lanes are due is looked up so often at most while there is work.
LOOK_SECONDS = 0.2
# How long the pass waits for the next outcome before it looks around.
WAIT_SECONDS = 0.05
# Further outcomes are waited for so long, and so many are written in one transaction: the requests go on meanwhile.
GATHER_SECONDS, OUTCOMES_AT_ONCE = 0.01, 256
# One run of the pass at most, so that it is counted, and ends once this process leads no more.
RUN_SECONDS = 5.0
# At the stop of the process, for the outcomes of requests under way: what is not written is sent again.
LAST_SECONDS = 3.0


class Sender:
    """The sender of one process. `service`: the keys of the service, by which endpoints' secrets are encrypted."""

    def __init__(self, client: Client, service: Sequence[str]) -> None:
        self._client, self._service = client, service
        self._lanes: Lanes[tuple[Taken, float]] = Lanes()
        self._due_lanes = DueLanes()
        self._lock = threading.Lock()
        self._jobs, self._ended = SimpleQueue[UUID](), SimpleQueue[Ended]()
        self._threads = 0
        self._unwritten: list[Ended] = []
        self._due: list[DueLane] = []
        self._looked_at = float("-inf")

    def run(self, db: Session, stopping: threading.Event, leads: Callable[[], bool] = lambda: True) -> bool:
        """Send what is due, as long as this process leads. Returns whether something is under way or due still."""
        until = time.monotonic() + RUN_SECONDS
        while not stopping.is_set() and leads() and time.monotonic() < until:
            if not self.step(db):
                return False
        if stopping.is_set():
            self._finish(db)
        return True

    def let_go(self, db: Session) -> bool:
        """Give back what is ready, and write what is under way: another sends. Returns whether anything is left."""
        self._give_back_ready(db)
        self._write(db, WAIT_SECONDS)
        self._client.connections.close()
        with self._lock:
            return self._lanes.places > 0 or bool(self._unwritten) or not self._ended.empty()

    def _give_back_ready(self, db: Session) -> None:
        with self._lock:
            ready = self._lanes.discard(lambda _: True)
        self._due = []
        if ready:
            queue.give_back(db, [taken for taken, _ in ready], NOW)

    def step(self, db: Session) -> bool:
        """Take what there is room for, and write what has ended meanwhile. Returns whether there is anything to do."""
        looked = self._look(db)
        with self._lock:
            wanted = self._lanes.choose(self._due)
        if wanted:
            catalogue()  # bodies need it, and no transaction may be idle while it imports the tasks
        taken = queue.take(db, wanted, self._service) if wanted else []
        now = time.monotonic()
        with self._lock:
            for each in taken:
                self._lanes.add(each.lane, (each, now + SEND_WITHIN_SECONDS))
            # A lane that gave less than was asked for has nothing left, until the next look.
            given = {each.lane for each in taken}
            self._due = [each for each in self._due if each.lane in given or each.lane not in wanted]
            self._start()
            idle = self._lanes.is_idle
        self._write(db, WAIT_SECONDS if not idle and not taken else 0.0)
        nothing = not (taken or self._unwritten or self._due) and self._ended.empty()
        return not (looked and idle and nothing)

    def _look(self, db: Session) -> bool:
        """Look which lanes are due, where it is time to. Returns whether it did."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_SECONDS and (self._due or not self._lanes.is_idle):
            return False
        self._client.connections.close_unfit()
        self._discard(db)
        self._due, self._looked_at = self._due_lanes.find(db), now
        with self._lock:
            self._lanes.forget(each.lane for each in self._due)
        return True

    def _discard(self, db: Session) -> None:
        """Have nothing sent that was dropped meanwhile, or by the former URL and keys of its endpoint."""
        with self._lock:
            ready = [taken for taken, _ in self._lanes.ready()]
        stale = queue.find_stale(db, ready) if ready else ()
        if stale:
            with self._lock:
                discarded = self._lanes.discard(lambda item: item[0].id in stale)
            # Before those that came after them.
            queue.give_back(db, [taken for taken, _ in discarded], WebhookDelivery.created_at)
            self._due_lanes.add(taken.lane for taken, _ in discarded)

    def _start(self) -> None:
        """Have threads serve the lanes that have something ready and a place. The caller holds the lock."""
        for lane in self._lanes.startable():
            if self._threads < min(PLACES, self._lanes.places):
                self._threads += 1
                # Not a pool of concurrent.futures: the process would not end before the slowest request.
                threading.Thread(target=self._serve, name=f"webhooks-{self._threads}", daemon=True).start()
            self._jobs.put(lane)

    def _serve(self) -> None:
        while True:
            lane = self._jobs.get()
            while (item := self._next_of(lane)) is not None:
                taken, until = item
                if time.monotonic() < until:  # else it is due again by itself, perhaps for another sender
                    outcome = queue.send(self._client, taken.message)
                    with self._lock:
                        self._lanes.note(lane, seconds=outcome.latency_seconds, succeeded=outcome.succeeded)
                    self._ended.put((taken, outcome))

    def _next_of(self, lane: UUID) -> tuple[Taken, float] | None:
        with self._lock:
            return self._lanes.next_of(lane)

    def _write(self, db: Session, seconds: float) -> None:
        """Write the outcomes that are there, or come within so many seconds and shortly after the first of them."""
        until = time.monotonic() + seconds
        while len(self._unwritten) < OUTCOMES_AT_ONCE:
            try:
                self._unwritten.append(self._ended.get(timeout=max(0.0, until - time.monotonic())))
            except Empty:
                break
            until = min(until, time.monotonic() + GATHER_SECONDS)
        if self._unwritten:
            together("outcomes of webhooks", [*self._unwritten], partial(self._write_down, db), self._write_later)

    def _write_down(self, db: Session, ended: Sequence[Ended]) -> None:
        """Write these outcomes in one transaction, and then what they say of their endpoints."""
        stood = retry_deadlocks(lambda: write_outcomes(db, ended))
        written = set(map(id, ended))
        self._unwritten = [each for each in self._unwritten if id(each) not in written]
        self._note(db, stood)

    def _write_later(self, ended: Ended, error: Exception) -> None:
        """Keep an outcome that waits for a lock. Else its delivery is sent again, once its lease is over."""
        if is_passing(error):
            logger.warning("webhooks: an outcome is written again: %s", first_line(error))
        else:
            logger.error("webhooks: the outcome of delivery %s cannot be written", ended[0].id, exc_info=error)
            self._unwritten.remove(ended)

    def _note(self, db: Session, stood: list[Ended]) -> None:
        """In a transaction of its own: the outcomes of all users do not wait for what is said of an endpoint."""
        try:
            note_endpoints(db, stood)
        except Exception as error:
            if is_outage(error):
                raise
            level = logging.WARNING if is_passing(error) else logging.ERROR
            logger.log(level, "webhooks: endpoints are looked at with the next outcome: %s", first_line(error))

    def _finish(self, db: Session) -> None:
        """Give back what is ready, and write the outcomes of what is under way, as far as they come soon."""
        self._give_back_ready(db)
        until = time.monotonic() + LAST_SECONDS
        while time.monotonic() < until:
            with self._lock:
                under_way = self._lanes.places
            self._write(db, WAIT_SECONDS)
            if not under_way:
                return


def sender_of(policy: Policy, service: Sequence[str]) -> Sender:
    """Return a sender to the addresses of this policy. It reads the trusted certificates once, not for each request."""
    return Sender(Client(policy, REQUEST_BOUNDS, tls=cache(default_tls), connections=Connections()), service)
