"""Gives the places of QUOTA_RUNNING_TASKS to the tasks that wait for them: those of each user by themselves.

A task needs the place of its user first, and waits for its limit then. So who has as many places as the quota allows
takes none of a limit that others use.
"""

from collections import Counter
from collections.abc import Collection, Mapping

from sqlalchemy import true
from sqlalchemy.orm import Session

from app.db.session import transaction
from app.db.sql import held_tasks, user_places
from app.db.statements.user_place_terms import HAS_PLACE
from app.models.task import Held
from app.services.operations.lines import MOST_ROUNDS, behind, is_known, lines_of, wake_for
from app.services.operations.live_workers import look

# In one transaction.
USERS = 100


def admit(db: Session, users: Collection[str], quota: int) -> tuple[set[str], int]:
    """Give the free places of these users to their tasks that wait. A transaction for every USERS of them.

    Returns the limits for which tasks wait now, and how many tasks that had places before still waited for a claim.
    """
    named, ahead = set[str](), 0
    if quota:
        for batch in batches(users):
            with transaction(db):
                user_places.lock(db, batch)
                admission = UserAdmission(db, quota, batch)
                named |= admission.run()
                ahead += admission.ahead
    return named, ahead


def batches(users: Collection[str]) -> list[list[str]]:
    """The users of each transaction."""
    in_order = sorted(users)
    return [in_order[at : at + USERS] for at in range(0, len(in_order), USERS)]


class UserAdmission:
    """Of users that this transaction has locked. The caller commits soon."""

    def __init__(self, db: Session, quota: int, users: Collection[str]) -> None:
        self._db, self._quota, self._users = db, quota, users
        self.ahead = 0
        look(db)
        self.lines = lines_of(db)

    def run(self) -> set[str]:
        """Admit as many rows as there are places, and wake slots for them after the commit.

        Returns the limits for which rows wait now.
        """
        rooms, admitted = self.rooms(), list[tuple[str, str | None]]()
        for _ in range(MOST_ROUNDS):
            if not rooms:
                break
            rows = user_places.next_held(self._db, self.lines, rooms)
            known = [row for row in rows if is_known(row.queue, row.celery_task_name)]
            if known:
                admitted += user_places.admit(self._db, [row.id for row in known])
            unknown = [row for row in rows if row not in known]
            held_tasks.hold(self._db, [row.id for row in unknown], Held.NAME)
            # In their place others are looked for.
            rooms = Counter(row.user for row in unknown)
        wake_for(self._db, [queue for queue, limit in admitted if limit is None], self.ahead)
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
        admitted = held_tasks.admitted(self._db, user_places.of_users(full), HAS_PLACE) if full else []
        if not admitted:
            return
        waiting = user_places.next_held(self._db, self.lines, {row.key: 1 for row in admitted if row.key})
        best = {row.user: row.place for row in waiting}
        taken = behind(self.lines, admitted, best, len(self.lines.queues) + 1)
        if taken:
            held_tasks.take_back(self._db, taken, true(), Held.USER, HAS_PLACE)
