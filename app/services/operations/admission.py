"""Gives places of limits and of users to the tasks that wait, in the order in which claims would take them.

A place is given before the claim, and is held until the body has ended. So at most as many bodies run as there are
places, and a claim knows nothing of limits. An admission is one short transaction under the lock of its limit.
Whatever is lost on the way (a process between the end of a body and the admission) costs one pass of maintenance.
"""

import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from app.catalogue import known_queues
from app.core.config import get_settings
from app.core.fork import PerProcess
from app.core.served_tasks import served_tasks
from app.db.background import Background
from app.db.session import SessionLocal, transaction
from app.db.sql import held_tasks, limits
from app.db.statements import claim_holds, user_places
from app.db.statements.limit_places import Usage
from app.db.statements.pending_rows import LOOK_SIZES, HeldRow, Lines
from app.db.transactions import after_commit
from app.ddl.terms import USER_LIMIT
from app.messaging import wakeups
from app.messaging.application import QUEUES
from app.models.limit import Limit, Rate
from app.models.task import Held, TaskPriority
from app.services.operations.worker_service import look_at_workers

# So many admitted tasks keep the slots busy until the next admission, at the end of a body or in a pass of maintenance.
# Those behind them keep their order, and cost nothing.
MOST_AHEAD = 500
UNUSED = Usage(0, 0)

# The limits in which places have become free, each with the keys.
Freed = dict[str, set[str]]


def free_and_admit(db: Session, *which: ColumnElement[bool]) -> None:
    """Free the places that match, whose bodies have ended, and give them to the next tasks. Transactions of its own."""
    with transaction(db):
        freed = free_places(db, *which)
    for name, keys in freed.items():
        admit_tasks(db, name, keys)


def free_places(db: Session, *which: ColumnElement[bool]) -> Freed:
    """Free the places that match. The caller commits, and admits others then."""
    freed: Freed = {}
    for name, key in limits.free_places(db, *which):
        freed.setdefault(name, set()).update([] if key is None else [key])
    return freed


def admit_tasks(db: Session, name: str, freed_keys: Collection[str] = ()) -> int:
    """Give the free places of this limit to the tasks that wait. One transaction.

    Returns how many tasks that were admitted before still waited for a claim: if any did, no slot has waited for this.
    USER_LIMIT stands for the quotas of the users who are the keys. Their tasks may wait for limits then.
    """
    if name == USER_LIMIT:
        named, ahead = admit_users(db, freed_keys, get_settings().quota_running_tasks)
        for limit_name in sorted(named):
            admit_tasks(db, limit_name)
        return ahead
    with transaction(db):
        limit = limits.lock_limit(db, name)
        return 0 if limit is None else Admission(db, limit).admit_next(freed_keys)


@dataclass
class _Chosen:
    """What becomes of rows that were looked at."""

    admitted: list[HeldRow] = field(default_factory=list)
    key_is_full: list[HeldRow] = field(default_factory=list)
    unknown: list[HeldRow] = field(default_factory=list)
    # The keys of those admitted that have room for more.
    with_room: set[str] = field(default_factory=set)


class Admission:
    """Gives places of one limit, or of users, which this transaction has locked. The caller commits soon."""

    def __init__(self, db: Session, limit: Limit) -> None:
        self._db, self._limit = db, limit
        look_at_workers(db)
        self._lines = _served_lines(db)

    def admit_next(self, freed_keys: Collection[str] = ()) -> int:
        """Admit as many rows as there are places, and wake slots for them after the commit.

        Returns how many waited for a claim before.
        """
        self._ask_for(freed_keys)
        used, admitted = limits.usage_of_limit(self._db, self._limit), list[HeldRow]()
        room = self._room(used)
        for _ in range(MOST_ROUNDS):
            if room <= 0:
                break
            rows = held_tasks.next_of_limit(self._db, self._limit.name, self._lines, room)
            if not rows:
                break
            chosen = self._choose(rows, room)
            self._write(chosen)
            room -= len(chosen.admitted)
            admitted += chosen.admitted
        _wake_slots(self._db, admitted, used.ahead)
        return used.ahead

    def admit_by_key(self, keys: Collection[str]) -> tuple[set[str], int]:
        """Admit the rows that wait for these keys alone, as many as each key has places; wake slots after the commit.

        Returns the limits for which rows wait now, and how many rows waited for a claim before.
        """
        used, admitted = limits.usage_of_keys(self._db, self._limit, keys), list[HeldRow]()
        rooms = {key: room for key, room in self._rooms(keys, used).items() if room > 0}
        for _ in range(MOST_ROUNDS):
            if not rooms:
                break
            rows = held_tasks.next_of_keys(self._db, self._limit.name, self._lines, rooms)
            known, unknown = [row for row in rows if _is_known(row)], [row for row in rows if not _is_known(row)]
            self._write(_Chosen(known, unknown=unknown))
            admitted += known
            # In their place others are looked for.
            rooms = Counter(row.key for row in unknown if row.key)
        ahead = sum(usage.ahead for usage in used.values())
        _wake_slots(self._db, [row for row in admitted if row.limit is None], ahead)
        return {row.limit for row in admitted if row.limit is not None}, ahead

    def take_back(self, keys: Collection[str] | None = None) -> None:
        """Take the places of tasks that wait behind others of their limit: in a paused queue, or of a lower priority.

        A place is given in the order of its moment. So a task that became due later may wait for one that cannot start.
        With `keys` only of these, of a limit whose rows all wait for their keys.
        """
        name, lines = self._limit.name, self._lines
        admitted = held_tasks.admitted_tasks(self._db, name, keys)
        if not admitted:
            return
        of_keys = {row.key for row in admitted if row.key is not None}
        best_of_keys = {
            row.key: row.place for row in held_tasks.next_of_keys(self._db, name, lines, dict.fromkeys(of_keys, 1))
        }
        is_full = keys is None and self._room(limits.usage_of_limit(self._db, self._limit)) <= 0
        first = held_tasks.next_of_limit(self._db, name, lines, 1)[:1] if is_full else []
        best = min((row.place for row in first), default=len(lines.queues) + 1)
        places = {line: place for place, line in enumerate(zip(lines.queues, lines.priorities, strict=True), 1)}
        not_served = len(places) + 1
        taken = [
            row.id
            for row in admitted
            if places.get((row.queue, row.priority), not_served) > min(best, best_of_keys.get(row.key, best))
        ]
        if taken:
            held_tasks.take_places_back(self._db, name, taken)
            if keys is None:
                self._ask_for([key for key in best_of_keys if key])

    def rooms(self, keys: Collection[str]) -> dict[str, int]:
        """Return how many rows may be admitted now of each of these keys, of a limit that has a bound for each key."""
        return self._rooms(keys, limits.usage_of_keys(self._db, self._limit, keys))

    def _rooms(self, keys: Collection[str], used: Mapping[str, Usage]) -> dict[str, int]:
        bounds = self._limit.concurrency_per_key, self._limit.rate_per_key
        return {key: _room(used.get(key, UNUSED), *bounds) for key in keys}

    def _room(self, used: Usage) -> int:
        """Return how many rows may be admitted now, whatever their keys."""
        return min(MOST_AHEAD - used.ahead, _room(used, self._limit.concurrency, self._limit.rate))

    def _ask_for(self, keys: Collection[str]) -> None:
        """Have the next row of each of these keys wait for the limit again, and no longer for its key alone."""
        if keys:
            found = held_tasks.next_of_keys(self._db, self._limit.name, self._lines, dict.fromkeys(keys, 1))
            held_tasks.hold_tasks(self._db, [row.id for row in found], Held.LIMIT)

    def _choose(self, rows: Sequence[HeldRow], room: int) -> _Chosen:
        by_key = self._limit.is_by_key
        rooms = self.rooms({row.key for row in rows if row.key is not None}) if by_key else {}
        chosen = _Chosen()
        for row in rows:
            if len(chosen.admitted) == room:
                break
            if not _is_known(row):
                chosen.unknown.append(row)
            elif row.key in rooms and rooms[row.key] <= 0:
                chosen.key_is_full.append(row)
            else:
                chosen.admitted.append(row)
                if row.key in rooms:
                    rooms[row.key] -= 1
        chosen.with_room = {row.key for row in chosen.admitted if row.key and rooms.get(row.key, 0) > 0}
        return chosen

    def _write(self, chosen: _Chosen) -> None:
        if chosen.admitted:
            limits.give_places(self._db, self._limit.name, [row.id for row in chosen.admitted])
        held_tasks.hold_tasks(self._db, [row.id for row in chosen.key_is_full], Held.LIMIT_KEY)
        held_tasks.hold_tasks(self._db, [row.id for row in chosen.unknown], Held.NAME)
        self._ask_for(chosen.with_room)


def _room(used: Usage, most: int | None, rate: Rate | None) -> int:
    rooms = [] if most is None else [most - used.taken]
    if rate is not None:
        rooms.append(rate.count - used.starts)
    return min(rooms, default=LOOK_SIZES[-1])


# -- The places of QUOTA_RUNNING_TASKS: those of each user are given to the user's own tasks ---------------------------
# A task needs the place of its user first, and waits for its limit then. So who has as many places as the quota allows
# takes none of a limit that others use.

# How many users one transaction admits.
MOST_USERS = 100


def admit_users(db: Session, users: Collection[str], quota: int) -> tuple[set[str], int]:
    """Give the free places of these users to their tasks that wait. A transaction for every MOST_USERS of them.

    Returns the limits for which tasks wait now, and how many tasks that had places before still waited for a claim.
    """
    named, ahead = set[str](), 0
    if quota:
        for batch in batches_of_users(users):
            with transaction(db):
                user_places.lock_users(db, batch)
                names, before = user_admission(db, quota).admit_by_key(batch)
            named |= names
            ahead += before
    return named, ahead


def batches_of_users(users: Collection[str]) -> list[list[str]]:
    """Return the users of each transaction."""
    in_order = sorted(users)
    return [in_order[at : at + MOST_USERS] for at in range(0, len(in_order), MOST_USERS)]


def user_admission(db: Session, quota: int) -> Admission:
    """Return the admission by the quota: a limit without a row, whose keys are the users."""
    return Admission(db, Limit(name=USER_LIMIT, concurrency_per_key=quota))


# -- What an admission asks of workers: the lines, the names that they know, and how slots are woken -------------------

# Statements that lock rows, in one admission. What is left comes with the next one.
MOST_ROUNDS = 8


def _served_lines(db: Session) -> Lines:
    """The lines in the order in which limits serve them: those that a live worker serves first. No paused queue."""
    served = served_tasks()
    paused = claim_holds.paused_queues(db)
    rank = {queue: number for number, queue in enumerate(QUEUES)}
    queues = sorted(
        known_queues() - paused, key=lambda queue: (not served.is_served(queue), rank.get(queue, len(rank)), queue)
    )
    lines = [(queue, priority.value) for queue in queues for priority in reversed(TaskPriority)]
    return Lines([queue for queue, _ in lines], [priority for _, priority in lines])


def _is_known(row: HeldRow) -> bool:
    """Return whether a live worker of the queue knows the task. A queue without workers says nothing of a name."""
    served = served_tasks()
    return not served.is_served(row.queue) or served.can_run(row.queue, row.celery_task_name)


def _wake_slots(db: Session, admitted: Iterable[HeldRow], ahead: int) -> None:
    """After the commit, have slots look at the queues of these rows.

    Behind `ahead` tasks that wait for a claim already, one slot a queue: whoever takes those goes on, and wakes others.
    """
    queues = [row.queue for row in admitted]
    if queues:
        woken = sorted(set(queues)) if ahead else queues
        after_commit(db, lambda: wakeups.publish(woken))


# -- Admission after a commit, off the path of whoever has committed: one background thread a process ------------------
# What comes while an admission is under way is done together. What is lost with the process, maintenance does.

# Between two rounds at most, while slots have tasks to claim that were admitted before: an admission costs some
# milliseconds. Less where the slots would have claimed more than this share of them by then.
PACE_SECONDS, CLAIMED_SHARE = 0.1, 0.5
FLUSH_SECONDS = 2.0

EndedAttempt = tuple[UUID, int]


class _HasRoom(NamedTuple):
    """A limit has room, or this key of it."""

    name: str
    key: str | None = None


class _BodyEnded(NamedTuple):
    """The body of an attempt has ended, and its places are free."""

    attempt: EndedAttempt


class _AdmissionRounds:
    """Admits in rounds; `looked_at` is when the last one began (monotonic seconds)."""

    def __init__(self) -> None:
        self._looked_at = 0.0

    def admit(self, things: Collection[_HasRoom | _BodyEnded]) -> float:
        looked_at, self._looked_at = self._looked_at, time.monotonic()
        ended = [each.attempt for each in things if isinstance(each, _BodyEnded)]
        freed: Freed = {}
        for each in things:
            if isinstance(each, _HasRoom):
                freed.setdefault(each.name, set()).update([] if each.key is None else [each.key])
        with SessionLocal() as db:
            if ended:
                with db.begin():
                    released = free_places(db, limits.of_attempts(ended))
                for name, keys in released.items():
                    freed.setdefault(name, set()).update(keys)
            ahead = min((admit_tasks(db, name, freed[name]) for name in sorted(freed)), default=0)
        ended_a_second = max(1, len(ended)) / (self._looked_at - looked_at)
        return min(PACE_SECONDS, CLAIMED_SHARE * ahead / ended_a_second)


def _make_admitter() -> Background[_HasRoom | _BodyEnded]:
    return Background("admitter", "admission to limits is left to maintenance", _AdmissionRounds().admit)


_admitter = PerProcess(_make_admitter)


def admit_soon(freed: Mapping[str, Iterable[str]]) -> None:
    """Admit tasks to these limits, each with the keys of which places have become free. Never blocks, never raises."""
    if freed:
        _admitter().enqueue(_HasRoom(name, key) for name, keys in freed.items() for key in [None, *keys])


def bodies_ended(ended: Sequence[EndedAttempt]) -> None:
    """Free the places of these attempts, whose bodies have ended in this worker, and admit others.

    Never blocks, never raises. What is lost on the way, the worker's agent frees: no process runs them any more.
    """
    if ended:
        _admitter().enqueue(map(_BodyEnded, ended))


def flush_admissions(seconds: float = FLUSH_SECONDS) -> bool:
    """Wait for at most `seconds` until all is done that was asked for; True when it is."""
    return _admitter().flush(seconds)
