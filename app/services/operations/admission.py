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

from sqlalchemy import ColumnElement, true
from sqlalchemy.orm import Session

from app.catalogue import known_queues
from app.core.config import get_settings
from app.core.fork import PerProcess
from app.core.served_tasks import served_tasks
from app.db.background import Background
from app.db.session import SessionLocal, transaction
from app.db.sql import held_tasks, limits, user_places
from app.db.statements import claim_holds, pending_rows
from app.db.statements.limit_places import HAS_USER_PLACE, Usage
from app.db.statements.pending_rows import LOOK_SIZES, HeldRow
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


def free_places(db: Session, *which: ColumnElement[bool]) -> None:
    """Free the places that match, whose bodies have ended, and give them to the next tasks. Transactions of its own."""
    with transaction(db):
        freed = release_places(db, *which)
    for name, keys in freed.items():
        admit(db, name, keys)


def release_places(db: Session, *which: ColumnElement[bool]) -> Freed:
    """Free the places that match. The caller commits, and admits others then."""
    freed: Freed = {}
    for name, key in limits.release(db, *which):
        freed.setdefault(name, set()).update([] if key is None else [key])
    return freed


def admit(db: Session, name: str, freed_keys: Collection[str] = ()) -> int:
    """Give the free places of this limit to the tasks that wait. One transaction.

    Returns how many tasks that were admitted before still waited for a claim: if any did, no slot has waited for this.
    USER_LIMIT stands for the quotas of the users who are the keys. Their tasks may wait for limits then.
    """
    if name == USER_LIMIT:
        named, ahead = admit_users(db, freed_keys, get_settings().quota_running_tasks)
        for limit_name in sorted(named):
            admit(db, limit_name)
        return ahead
    with transaction(db):
        limit = limits.lock(db, name)
        return 0 if limit is None else Admission(db, limit).run(freed_keys)


@dataclass
class _Chosen:
    """What becomes of rows that were looked at."""

    admitted: list[HeldRow] = field(default_factory=list)
    key_is_full: list[HeldRow] = field(default_factory=list)
    unknown: list[HeldRow] = field(default_factory=list)


class Admission:
    """Of one limit that this transaction has locked. The caller commits soon."""

    def __init__(self, db: Session, limit: Limit) -> None:
        self._db, self._limit = db, limit
        look_at_workers(db)
        self.lines = served_lines(db)

    def run(self, freed_keys: Collection[str] = ()) -> int:
        """Admit as many rows as there are places, and wake slots for them after the commit.

        Returns how many waited for a claim before.
        """
        self.ask_for(freed_keys)
        used, queues = limits.usage(self._db, self._limit), list[str]()
        room = self._room_beside(used)
        for _ in range(MOST_ROUNDS):
            if room <= 0:
                break
            rows = held_tasks.next_held(self._db, self._limit.name, self.lines, room)
            if not rows:
                break
            chosen = self._choose(rows, room)
            self._write(chosen)
            room -= len(chosen.admitted)
            queues += [row.queue for row in chosen.admitted]
        wake_slots_for(self._db, queues, used.ahead)
        return used.ahead

    def room(self) -> int:
        """How many rows may be admitted now, whatever their keys."""
        return self._room_beside(limits.usage(self._db, self._limit))

    def _room_beside(self, used: Usage) -> int:
        return min(MOST_AHEAD - used.ahead, _room(used, self._limit.concurrency, self._limit.rate))

    def rooms_of(self, keys: Collection[str]) -> dict[str, int]:
        """The same for each of these keys, of a limit that has a bound for each key."""
        used = limits.usage_of_keys(self._db, self._limit, keys)
        bounds = self._limit.concurrency_per_key, self._limit.rate_per_key
        return {key: _room(used.get(key, UNUSED), *bounds) for key in keys}

    def ask_for(self, keys: Collection[str]) -> None:
        """Have the next row of each of these keys wait for the limit again, and no longer for its key alone."""
        if keys:
            found = held_tasks.next_of_keys(self._db, self._limit.name, self.lines, keys)
            held_tasks.hold(self._db, [task_id for task_id, _ in found.values()], Held.LIMIT)

    def _choose(self, rows: Sequence[HeldRow], room: int) -> _Chosen:
        by_key = self._limit.is_by_key
        rooms = self.rooms_of({row.limit_key for row in rows if row.limit_key is not None}) if by_key else {}
        chosen = _Chosen()
        for row in rows:
            if len(chosen.admitted) == room:
                break
            if not is_known_to_workers(row.queue, row.celery_task_name):
                chosen.unknown.append(row)
            elif row.limit_key in rooms and rooms[row.limit_key] <= 0:
                chosen.key_is_full.append(row)
            else:
                chosen.admitted.append(row)
                if row.limit_key in rooms:
                    rooms[row.limit_key] -= 1
        self._again = {row.limit_key for row in chosen.admitted if row.limit_key and rooms.get(row.limit_key, 0) > 0}
        return chosen

    def _write(self, chosen: _Chosen) -> None:
        if chosen.admitted:
            limits.admit(self._db, [row.id for row in chosen.admitted])
        held_tasks.hold(self._db, [row.id for row in chosen.key_is_full], Held.LIMIT_KEY)
        held_tasks.hold(self._db, [row.id for row in chosen.unknown], Held.NAME)
        self.ask_for(self._again)


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
                user_places.lock(db, batch)
                admission = UserAdmission(db, quota, batch)
                named |= admission.run()
                ahead += admission.ahead
    return named, ahead


def batches_of_users(users: Collection[str]) -> list[list[str]]:
    """The users of each transaction."""
    in_order = sorted(users)
    return [in_order[at : at + MOST_USERS] for at in range(0, len(in_order), MOST_USERS)]


class UserAdmission:
    """Of users that this transaction has locked. The caller commits soon."""

    def __init__(self, db: Session, quota: int, users: Collection[str]) -> None:
        self._db, self._quota, self._users = db, quota, users
        self.ahead = 0
        look_at_workers(db)
        self.lines = served_lines(db)

    def run(self) -> set[str]:
        """Admit as many rows as there are places, and wake slots for them after the commit.

        Returns the limits for which rows wait now.
        """
        rooms, admitted = self.rooms(), list[tuple[str, str | None]]()
        for _ in range(MOST_ROUNDS):
            if not rooms:
                break
            rows = user_places.next_held(self._db, self.lines, rooms)
            known = [row for row in rows if is_known_to_workers(row.queue, row.celery_task_name)]
            if known:
                admitted += user_places.admit(self._db, [row.id for row in known])
            unknown = [row for row in rows if row not in known]
            held_tasks.hold(self._db, [row.id for row in unknown], Held.NAME)
            # In their place others are looked for.
            rooms = Counter(row.user for row in unknown)
        wake_slots_for(self._db, [queue for queue, limit in admitted if limit is None], self.ahead)
        return {limit for _, limit in admitted if limit is not None}

    def rooms(self) -> Mapping[str, int]:
        """How many rows may be admitted now, of each user of whom any may."""
        used = user_places.usage(self._db, self._users)
        self.ahead = sum(usage.ahead for usage in used.values())
        rooms = {user: self._quota - (used[user].taken if user in used else 0) for user in self._users}
        return {user: room for user, room in rooms.items() if room > 0}

    def take_back(self) -> None:
        """Take the places of tasks that wait behind others of their user: in a paused queue, or of a lower priority."""
        rooms = self.rooms()
        full = [user for user in self._users if user not in rooms]
        admitted = held_tasks.admitted(self._db, user_places.of_users(full), HAS_USER_PLACE) if full else []
        if not admitted:
            return
        waiting = user_places.next_held(self._db, self.lines, {row.key: 1 for row in admitted if row.key})
        best = {row.user: row.place for row in waiting}
        taken = tasks_behind(self.lines, admitted, best, len(self.lines.queues) + 1)
        if taken:
            held_tasks.take_back(self._db, taken, true(), Held.USER, HAS_USER_PLACE)


# -- What both admissions share: the lines, the names that workers know, and how slots are woken -----------------------

# Statements that lock rows, in one admission. What is left comes with the next one.
MOST_ROUNDS = 8


def served_lines(db: Session) -> pending_rows.Lines:
    """The lines in the order in which limits serve them: those that a live worker serves first. No paused queue."""
    served = served_tasks()
    paused = claim_holds.paused_queues(db)
    rank = {queue: number for number, queue in enumerate(QUEUES)}
    queues = sorted(
        known_queues() - paused, key=lambda queue: (not served.is_served(queue), rank.get(queue, len(rank)), queue)
    )
    lines = [(queue, priority.value) for queue in queues for priority in reversed(TaskPriority)]
    return pending_rows.Lines([queue for queue, _ in lines], [priority for _, priority in lines])


def is_known_to_workers(queue: str, celery_task_name: str) -> bool:
    """Whether a live worker of the queue knows the task. A queue without workers says nothing of a name."""
    served = served_tasks()
    return not served.is_served(queue) or served.can_run(queue, celery_task_name)


def tasks_behind(
    lines: pending_rows.Lines, admitted: Iterable[pending_rows.AdmittedRow], best: Mapping[str, int], otherwise: int
) -> list[UUID]:
    """The tasks that have a place although a better line waits: for their key by `best`, else by `otherwise`."""
    places = {line: place for place, line in enumerate(zip(lines.queues, lines.priorities, strict=True), 1)}
    last = len(places) + 1  # a line that is not served
    return [
        row.id for row in admitted if places.get((row.queue, row.priority), last) > best.get(row.key or "", otherwise)
    ]


def wake_slots_for(db: Session, queues: Sequence[str], ahead: int) -> None:
    """After the commit, have slots look at the queues of the tasks that were admitted.

    Behind `ahead` tasks that wait for a claim already, one slot a queue: whoever takes those goes on, and wakes others.
    """
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
                    released = release_places(db, limits.of_attempts(ended))
                for name, keys in released.items():
                    freed.setdefault(name, set()).update(keys)
            ahead = min((admit(db, name, freed[name]) for name in sorted(freed)), default=0)
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


def flush(seconds: float = FLUSH_SECONDS) -> bool:
    """Wait for at most `seconds` until all is done that was asked for; True when it is."""
    return _admitter().flush(seconds)
