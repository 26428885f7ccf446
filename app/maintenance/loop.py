"""All passes of maintenance, and the threads that stand by, lead, and run them one round after another.

A new pass is a `Pass` in one of the modules of `app/maintenance/passes/`, and its line in `PASSES`.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.core import metrics
from app.core.config import Settings
from app.core.ids import new_id
from app.db.outage import first_line, is_outage
from app.db.session import SessionLocal
from app.db.sql import prepared
from app.maintenance import lease
from app.maintenance.lease import Lease
from app.maintenance.passes import backlogs, deletions, places, schedules, task_states
from app.maintenance.rounds import AT_NEXT_ROUND, Needs, Pass, Round, queues
from app.messaging.broker import BrokerLink

logger = logging.getLogger(__name__)

# In the order of a round: each sees what those before it have committed.
PASSES: tuple[Pass, ...] = (
    task_states.END_LOST_ATTEMPTS,
    task_states.REVOKE_EXPIRED,
    deletions.DELETE_REQUESTED,
    # Before the turns: what it makes has them in the same round.
    schedules.FIRE,
    task_states.GIVE_TURNS,
    places.FREE_PLACES,
    places.ADMIT_BY_USER,
    places.REPAIR_LIMITS,
    places.ADMIT_TO_LIMITS,
    task_states.HOLD_UNKNOWN,
    task_states.WAKE_SLOTS,
    # No due task waits for these.
    backlogs.ADD_CHANGES,
    backlogs.ADD_SUBMISSIONS,
    deletions.TRIM_STORED,
    schedules.REZONE,
    deletions.FORGET_ROWS,
    deletions.DROP_FILES,
    deletions.DELETE_CONTENTS,
    backlogs.DO_BULK,
    *backlogs.OUTBOX_PASSES,
    backlogs.SEND_WEBHOOKS,
    backlogs.FOLLOW_TASKS,
    backlogs.DROP_DELIVERIES,
    backlogs.RECOVER_WEBHOOKS,
)


# -- Asks in one statement which passes have anything to do: of an idle service it is all that a round costs -----------


class WorkQuery:
    """The statement for these passes, as far as they have a condition. Built once for the queues that there are."""

    def __init__(self, passes: Iterable[Pass]) -> None:
        self.passes = tuple(one for one in passes if one.has_work is not None)
        self._built: tuple[frozenset[str], Select[Any]] | None = None

    def find(self, db: Session) -> list[Pass]:
        """Return those that have anything to do now, and all where one of their conditions fails.

        One round trip, on a connection of its own; on that of the session where a caller has bound it to one. Raises
        SQLAlchemy's errors where the database is away.
        """
        if not self.passes:
            return []
        try:
            found = self.ask(db)
        except Exception as error:
            if is_outage(error):
                raise
            db.rollback()
            logger.exception("maintenance: a pass cannot be asked whether it has anything to do: all of them run")
            return [*self.passes]
        return [one for one, has in zip(self.passes, found, strict=True) if has]

    def ask(self, db: Session) -> Sequence[Any]:
        """Return the answers of the passes. Raises SQLAlchemy's errors."""
        statement = self._statement()
        if db.bind is not None:
            return tuple(db.execute(statement, {}).one())
        with prepared.prepared_connection() as connection:
            return tuple(connection.execute(statement, {}).one_or_none() or ())

    def _statement(self) -> Select[Any]:
        there = queues()
        if self._built is None or self._built[0] != there:
            conditions: list[Any] = [one.has_work() for one in self.passes if one.has_work is not None]
            self._built = (there, select(*conditions))
        return self._built[1]


# -- The threads of maintenance: stand by, lead, run the passes of one round after another -----------------------------

STOP_SECONDS = 5.0
# Between two looks of a process that stands by; of a beat, which is to be quicker than the workers.
STANDBY_SECONDS, STANDBY_BEAT_SECONDS = 1.0, 0.25
# Between two rounds of the leader. A task that becomes due waits for the next one.
INTERVAL_SECONDS = 0.5
# Between two looks for what the passes with threads of their own have to do.
LOOK_SECONDS = 0.5
# After so long, all passes run that are due, also where none of them has said that it has anything to do.
ALL_SECONDS = 30.0
# Between two runs of a pass within one round, at least.
BETWEEN_SECONDS = 0.02


class Maintenance:
    """One in each worker and beat process. Any number may run; the lease says which one works.

    `as_beat`: in a beat, which takes over from a worker. Until it leads for the first time it has one thread.
    """

    def __init__(self, settings: Settings, passes: tuple[Pass, ...] = PASSES, *, as_beat: bool = False) -> None:
        self.id = new_id()
        self._settings = settings
        self._as_beat = as_beat
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._link = BrokerLink()
        # By the monotonic clock: an outage ends it, too.
        self._leads_until = float("-inf")
        self._in_rounds = [one for one in passes if one.needs is not Needs.THREAD]
        self._by_themselves = [one for one in passes if one.needs is Needs.THREAD]
        self._round_query, self._thread_query = WorkQuery(self._in_rounds), WorkQuery(self._by_themselves)
        self._all_at = time.monotonic() + ALL_SECONDS
        self._signals = {one: threading.Event() for one in self._thread_query.passes}
        self._due = dict.fromkeys(passes, 0.0)
        # When these want to run, between two rounds.
        self._wanted = dict[Pass, float]()

    def start(self) -> None:
        """Run in threads of this process until `stop`."""
        if not self._threads:
            self._stopping.clear()
            self._start_thread("maintenance", self._run)

    @property
    def leads(self) -> bool:
        """Whether this process holds the lease."""
        return time.monotonic() < self._leads_until

    def _start_others(self) -> None:
        """Start the threads of the passes that have one of their own, as far as they do not run yet."""
        if self._thread_query.passes:
            self._start_thread("maintenance-look", self._signal_work)
        for one in self._by_themselves:
            self._start_thread(f"maintenance-{one.name}", self._run_alone, one)

    def _start_thread(self, name: str, run: Callable[..., None], *given: Pass) -> None:
        if name not in {each.name for each in self._threads}:
            thread = threading.Thread(target=run, args=given, name=name, daemon=True)
            thread.start()  # where the system gives none, the next round tries again
            self._threads.append(thread)

    def stop(self) -> None:
        """Stop after the passes under way and let another process lead at once.

        Waits STOP_SECONDS for all passes together, and as long for the lease.
        """
        if not self._threads:
            return
        self._stopping.set()
        for signal in self._signals.values():
            signal.set()
        deadline = time.monotonic() + STOP_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._threads.clear()
        self.close()
        # The lease runs out by itself: a database that has fallen silent must not keep the process from ending.
        last = threading.Thread(target=self._release, name="maintenance-release", daemon=True)
        last.start()
        last.join(STOP_SECONDS)

    def close(self) -> None:
        """Close the connection to the broker; after a round of `run_once` without the thread."""
        self._link.close()

    def _release(self) -> None:
        with suppress(SQLAlchemyError), SessionLocal() as db:
            lease.release(db, self.id)

    def _run(self) -> None:
        while not self._stopping.is_set():
            led = False
            with _outages_logged(), SessionLocal() as db:
                led = self.run_once(db)
                if led:
                    self._start_others()
            standby = STANDBY_BEAT_SECONDS if self._as_beat else STANDBY_SECONDS
            self._wait(INTERVAL_SECONDS if led else standby)

    def _run_alone(self, one: Pass) -> None:
        """Run this pass, which has a thread of its own, as long as this process leads: when it has anything to do.

        And after ALL_SECONDS in any case.
        """
        signal = self._signals.get(one)
        while not self._stopping.is_set():
            if signal is not None:
                signal.wait(ALL_SECONDS)
                signal.clear()
                if self._stopping.is_set():
                    return
            again: float | None = one.every
            with _outages_logged(), SessionLocal() as db:
                if self.leads:
                    again = self._run_pass(db, one, self._round(None, None))
                else:
                    again = AT_NEXT_ROUND if one.let_go(db) else None
            if signal is not None and again is not None:
                signal.set()  # what is under way, or has failed, is in no row that a look would find
            for each in one.followed_by:
                if each in self._signals:
                    self._signals[each].set()
            self._stopping.wait(one.every if again is None else again)

    def _signal_work(self) -> None:
        """Signal to the passes with threads of their own that they have something to do."""
        while not self._stopping.wait(LOOK_SECONDS):
            if self.leads:
                with _outages_logged(), SessionLocal() as db:
                    for one in self._thread_query.find(db):
                        self._signals[one].set()

    def _wait(self, seconds: float) -> None:
        """Wait for the next round. Meanwhile run what has asked for it."""
        until = time.monotonic() + seconds
        while not self._stopping.wait(max(0.0, min([until, *self._wanted.values()]) - time.monotonic())):
            now = time.monotonic()
            if now >= until:
                return
            for one in [one for one, at in self._wanted.items() if at <= now]:
                del self._wanted[one]
                with _outages_logged(), SessionLocal() as db:
                    self._run_pass(db, one, self._round(None, self._link))

    def run_once(self, db: Session) -> bool:
        """Do one round, if this process leads. Returns whether it does."""
        self._wanted.clear()
        held = self._hold_lease(db)
        if held is None:
            return False
        is_idle = self._is_idle(db)
        for one in self._in_rounds:
            if time.monotonic() >= self._due[one] and not (is_idle and one.has_work):
                # After a pass that has taken long: a lease that runs out goes to another process, and back.
                if self._leads_until - time.monotonic() < self._settings.maintenance_lease_seconds * 2 / 3:
                    held = self._hold_lease(db)
                    if held is None:
                        return False
                silence = timedelta(seconds=self._settings.worker_lease_seconds) if held.may_rescue else None
                self._run_pass(db, one, self._round(silence, self._link))
        return True

    def _hold_lease(self, db: Session) -> Lease | None:
        """Take or renew the lease. Returns None where another process leads."""
        led, begun = self._leads_until > float("-inf"), time.monotonic()  # also where that time is over
        held = lease.acquire(db, self.id, self._settings, as_beat=self._as_beat)
        self._leads_until = float("-inf") if held is None else begun + self._settings.maintenance_lease_seconds
        if (held is not None) != led:
            logger.info("maintenance %s %s", self.id, "stands by" if held is None else "leads")
        return held

    def _is_idle(self, db: Session) -> bool:
        """Return whether no pass of a round has anything to do. If one has, it may make work for those behind it."""
        if time.monotonic() >= self._all_at:
            self._all_at = time.monotonic() + ALL_SECONDS
            return False
        return not self._round_query.find(db)

    def _round(self, silent_for: timedelta | None, link: BrokerLink | None) -> Round:
        return Round(self._settings, silent_for, self._stopping, link, lambda: self.leads)

    def _run_pass(self, db: Session, one: Pass, this: Round) -> float | None:
        """Run the pass. Where it fails the others go on, unless the database is away: each would wait for it.

        Returns what the pass returns: in how many seconds it wants to run again. One that has failed runs again after
        its time.
        """
        begun = time.monotonic()
        self._due[one] = begun + one.every
        again, failed = None, True
        try:
            again = one.run(db, this)
            db.commit()  # what it has written outside of `transaction`
            failed = False
        except BaseException as error:  # SystemExit of one pass is no matter of those behind it
            metrics.count_failed_pass(one.name)
            if isinstance(error, KeyboardInterrupt) or is_outage(error):
                raise
            db.rollback()
            if one.needs is Needs.BROKER and not isinstance(error, SQLAlchemyError):
                logger.warning("maintenance: broker not reachable: %s", first_line(error))
                self._link.close()
            else:
                logger.exception("maintenance: pass %s failed", one.name)
        ended = time.monotonic()
        metrics.count_pass(one.name, ended - begun)
        if again is not None:
            self._due[one] = ended + again
            if one.between_rounds:
                self._wanted[one] = ended + max(again, BETWEEN_SECONDS)
        return one.every if failed else again


@contextmanager
def _outages_logged() -> Iterator[None]:
    """Go on after whatever fails: the next round tries again."""
    try:
        yield
    except Exception as error:
        if is_outage(error):
            logger.warning("maintenance: the database is not reachable: %s", first_line(error))
        else:
            logger.exception("maintenance: a round failed")
