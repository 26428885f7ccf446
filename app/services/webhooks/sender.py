"""Sends what is due: takes rows, has threads make the requests, writes what came of them. One in the leader's process.

The thread of the pass is the only one that uses the database. It takes rows for many lanes at once and writes many
outcomes at once; the requests run beside it, each in a thread that goes on with its lane while rows of it are ready.
"""

import logging
import threading
import time
from collections.abc import Sequence
from functools import cache
from queue import Empty, SimpleQueue
from uuid import UUID

from sqlalchemy.orm import Session

from app.catalogue import catalogue
from app.db.outage import first_line, is_outage, is_passing
from app.outbound import Client
from app.outbound.client import default_tls
from app.outbound.targets import Policy
from app.services.webhooks import health, outcomes, queue, sending
from app.services.webhooks.due_lanes import DueLanes
from app.services.webhooks.lanes import PLACES, DueLane, Lanes
from app.services.webhooks.outcomes import Ended
from app.services.webhooks.queue import SEND_WITHIN_SECONDS, Taken
from app.services.webhooks.sending import BOUNDS

logger = logging.getLogger(__name__)

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

    def run(self, db: Session, stopping: threading.Event) -> bool:
        """Send what is due. Returns whether something is under way or due still."""
        until = time.monotonic() + RUN_SECONDS
        while not stopping.is_set() and time.monotonic() < until:
            if not self.step(db):
                return False
        if stopping.is_set():
            self._finish(db)
        return True

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
            queue.give_back(db, [taken for taken, _ in discarded])
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
                    outcome = sending.send(self._client, taken.message)
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
            self._write_down(db, list(self._unwritten))

    def _write_down(self, db: Session, ended: list[Ended]) -> None:
        """Write these outcomes; by halves where that fails but for an outage, so that a bad one stands alone."""
        try:
            stood = outcomes.write_outcomes(db, ended)
        except Exception as error:
            if is_outage(error):
                raise
            if len(ended) > 1:
                middle = len(ended) // 2
                self._write_down(db, ended[:middle])
                self._write_down(db, ended[middle:])
            elif is_passing(error):
                logger.warning("webhooks: an outcome is written again: %s", first_line(error))
            else:
                # Sent again once its lease is over, with the same id.
                logger.exception("webhooks: the outcome of delivery %s cannot be written", ended[0][0].id)
                self._unwritten.remove(ended[0])
        else:
            written = set(map(id, ended))
            self._unwritten = [each for each in self._unwritten if id(each) not in written]
            self._note(db, stood)

    def _note(self, db: Session, stood: list[Ended]) -> None:
        """In a transaction of its own: the outcomes of all users do not wait for what is said of an endpoint."""
        try:
            health.note(db, stood)
        except Exception as error:
            if is_outage(error) or not is_passing(error):
                raise
            logger.warning("webhooks: endpoints are looked at with the next outcome: %s", first_line(error))

    def _finish(self, db: Session) -> None:
        """Write the outcomes of what is under way, as far as they come soon."""
        until = time.monotonic() + LAST_SECONDS
        while time.monotonic() < until:
            with self._lock:
                under_way = self._lanes.places
            self._write(db, WAIT_SECONDS)
            if not under_way:
                return


def sender_of(policy: Policy, service: Sequence[str]) -> Sender:
    """Return a sender to the addresses of this policy. It reads the trusted certificates once, not for each request."""
    return Sender(Client(policy, BOUNDS, tls=cache(default_tls)), service)
