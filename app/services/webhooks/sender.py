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
from app.outbound.policy import Policy
from app.services.webhooks import due_lanes, queue, sending
from app.services.webhooks.lanes import PLACES, DueLane, Lanes
from app.services.webhooks.queue import SEND_WITHIN_SECONDS, Taken
from app.services.webhooks.sending import BOUNDS, Outcome

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
        self._lock = threading.Lock()
        self._jobs, self._ended = SimpleQueue[UUID](), SimpleQueue[tuple[Taken, Outcome]]()
        self._threads = 0
        self._unwritten: list[tuple[Taken, Outcome]] = []
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
        self._due, self._looked_at = due_lanes.find_due(db), now
        with self._lock:
            self._lanes.forget(each.lane for each in self._due)
        return True

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
        if not self._unwritten:
            return
        try:
            queue.write_outcomes(db, self._unwritten)
        except Exception as error:
            if not is_passing(error):
                self._unwritten = []  # sent again once their leases are over, with the same ids
                raise
            if is_outage(error):
                raise
            logger.warning("webhooks: outcomes are written again: %s", first_line(error))
        else:
            self._unwritten = []

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
