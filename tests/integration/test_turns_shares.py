"""The shares of the starts that users get by their weights, whatever each has queued, and when."""

import math
import random
from collections import Counter
from dataclasses import dataclass, field
from itertools import accumulate
from uuid import UUID

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from app.core.ids import new_id
from app.db.sql import claims as statements
from app.db.statements.pending_rows import TaskNames
from app.models.task import TaskPriority
from app.models.user import User as Account
from app.schemas.task import TaskCreate
from app.services.execution.claims import Claims
from app.services.task_service import task_service
from tests.support.databases import ENGINE
from tests.support.tasks import LONG_RUNNING, WORKER, new_user

LINE = ("default", TaskPriority.NORMAL.value)
# How many random loads; each other engine has one, by the portable statements.
MOST_SEEDS = 4 if ENGINE == "postgresql" else 1
USERS, STARTS, WINDOW = 20, 3000, 1000
# The users who always have tasks; the others have some now and then.
BUSY = USERS // 2
# What the greatest burst is, and how few a busy user lets it come to.
BURST, FEW = 80, 20
NAMES = TaskNames([LONG_RUNNING], [LONG_RUNNING], statements.MOST_AT_ONCE)
TASK = TaskCreate(name="a task", task_type="test", celery_task_name=LONG_RUNNING, args=[1])


@dataclass
class User:
    id: UUID
    weight: int
    ready: int = 0
    # Between which starts the user had no ready task: half-open intervals of numbers of starts.
    gaps: list[tuple[int, int]] = field(default_factory=list)
    idle_since: int = 0
    # After how many starts, of all users, the first task started that came while the user had none.
    waited: list[int] = field(default_factory=list)
    came_at: int | None = None

    def submits(self, number: int, at: int) -> None:
        if not self.ready:
            self.came_at = at
            if at > self.idle_since:
                self.gaps.append((self.idle_since, at))
        self.ready += number

    def starts(self, at: int) -> None:
        if self.came_at is not None:
            self.waited.append(at - self.came_at)
            self.came_at = None
        self.ready -= 1
        if not self.ready:
            self.idle_since = at + 1

    def longest_wait(self, starts: int) -> int:
        """Of all first tasks that came in these starts: also of the one that has not started."""
        return max([*self.waited, *([] if self.came_at is None else [starts - self.came_at])], default=0)

    def is_ready_in(self, first: int, end: int) -> bool:
        """In all of these starts."""
        idle = [*self.gaps, *([] if self.ready else [(self.idle_since, STARTS)])]
        return all(until <= first or since >= end for since, until in idle)


class Line:
    """One line, and the slots that claim from it."""

    def __init__(self, db: Session, dice: random.Random) -> None:
        self.db, self.dice = db, dice
        self.users = [User(new_user(db), 1 + number % 10) for number in range(USERS)]
        dice.shuffle(self.users)
        for user in self.users:
            db.execute(update(Account).where(Account.id == user.id).values(weight=user.weight))
        self.slots = [Claims([LINE]) for _ in range(2)]
        self.by_id = {user.id: user for user in self.users}
        self.of_task: dict[UUID, User] = {}
        self.started: list[User] = []

    def run(self) -> None:
        while len(self.started) < STARTS:
            self.bursts()
            found = self.dice.choice(self.slots).next(self.db, NAMES, new_id(), WORKER)
            self.db.commit()
            assert found
            for claim in found:
                user = self.of_task[claim.id]
                user.starts(len(self.started))
                self.started.append(user)

    def bursts(self) -> None:
        """Of busy users in time, of the others at random."""
        for number, user in enumerate(self.users):
            if user.ready < FEW if number < BUSY else self.dice.random() < 0.05:
                tasks = task_service.create_tasks(self.db, [TASK] * self.dice.randint(1 + FEW, BURST), user.id)
                user.submits(len(tasks), len(self.started))
                self.of_task |= {task.id: user for task in tasks}

    def counts(self) -> dict[UUID, list[int]]:
        """How many tasks of each user had started before each start."""
        return {user.id: [0, *accumulate(each is user for each in self.started)] for user in self.users}


@pytest.fixture(autouse=True)
def _unpublished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.messaging.wakeups.publish", lambda queues: None)


def unfair(line: Line, first: int, counts: dict[UUID, list[int]]) -> list[str]:
    """Who has not the weight's share of the starts from this one on, within 5 % or two tasks."""
    end = first + WINDOW
    got = Counter({user.id: counts[user.id][end] - counts[user.id][first] for user in line.users})
    always = [user for user in line.users if user.is_ready_in(first, end)]
    each = sum(got[user.id] for user in always) / sum(user.weight for user in always)
    found = []
    for user in line.users:
        share = each * user.weight
        leeway = max(0.05 * share, 2)
        # One who had none for a while gets less, and nothing afterwards for that.
        if got[user.id] > share + leeway or (user in always and got[user.id] < share - leeway):
            found.append(f"starts {first} to {end}: weight {user.weight}: {got[user.id]}, not {share:.1f}")
    return found


class TestShares:
    @pytest.mark.timeout(300)
    @pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.full) for n in range(1, MOST_SEEDS))])
    def test_over_any_thousand_starts_each_user_has_the_share_of_its_weight(self, db: Session, seed: int) -> None:
        line = Line(db, random.Random(seed))
        line.run()
        counts = line.counts()
        assert [wrong for first in range(len(line.started) - WINDOW) for wrong in unfair(line, first, counts)] == []
        self.check_waits(line)

    def check_waits(self, line: Line) -> None:
        """A user's first task waits for one round of the others at most, never for what they have queued."""
        for user in line.users:
            round_of_others = sum(math.ceil(other.weight / user.weight) for other in line.users if other is not user)
            assert user.longest_wait(len(line.started)) <= round_of_others + statements.MOST_AT_ONCE
