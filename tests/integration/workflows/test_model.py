"""Random graphs, ends, losses, cancellations and retries, against a model: who may run, and what becomes of the others."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy.orm import Session

from app.errors import InvalidTransition, ParentFailed, WorkflowTransition
from app.services.execution import ends
from app.services.task_service import task_service
from app.services.tasks import due_tasks
from app.services.workflows import dependents
from app.services.workflows.service import workflow_service
from tests.support.amounts import amount
from tests.support.databases import ENGINE
from tests.support.tasks import ERROR, claim_next, new_user
from tests.support.workflow_model import ACTIVE, FAILED, REVOKED, SUCCEEDED, UNSUCCESSFUL, Model
from tests.support.workflows import settle, sleep

STEPS, MOST_TASKS = 40, 8
OPERATIONS = (
    ["claim"] * 6 + ["succeed"] * 4 + ["fail"] * 2 + ["lose", "stop", "cancel", "cancel one", "retry", "retry one"]
)


@pytest.fixture(autouse=True)
def _released() -> Iterator[None]:
    yield
    assert dependents.flush_releases(30)


class Run:
    """One workflow and its model."""

    def __init__(self, db: Session, seed: int) -> None:
        self.db, self.chance = db, random.Random(seed)
        number = self.chance.randint(1, MOST_TASKS)
        parents = [self.chance.sample(range(at), self.chance.randint(0, min(at, 3))) for at in range(number)]
        goes_on = self.chance.random() < 0.4
        self.model = Model(parents, goes_on=goes_on)
        tasks = [sleep(f"n{at}", *(f"n{parent}" for parent in its)) for at, its in enumerate(parents)]
        on_failure = "continue" if goes_on else "cancel"
        self.workflow = task_service.create_workflow(db, "w", tasks, user_id=new_user(db), on_failure=on_failure)
        self.ids = [node.id for node in self.workflow.tasks if node.id]
        self.running: dict[int, Any] = {}

    def step(self) -> None:
        operation = self.chance.choice(OPERATIONS)
        if operation in {"cancel", "cancel one", "retry", "retry one"}:
            self.settle()
        {
            "claim": self._claim, "succeed": self._succeed, "fail": self._fail, "lose": self._lose, "stop": self._stop,
            "cancel": self._cancel, "cancel one": self._cancel_one, "retry": self._retry, "retry one": self._retry_one,
        }[operation]()  # fmt: skip
        if self.chance.random() < 0.6:  # else the process that has done it dies before, and maintenance does it later
            self.settle()
            self.compare()

    def settle(self) -> None:
        settle(self.db)

    def compare(self) -> None:
        found = workflow_service.get_workflow(self.db, self.workflow.id)
        assert [node.status.value for node in found.tasks] == self.model.status
        assert found.status.value == self.model.state
        waits = [task_service.get_task(self.db, each).waits for each in self.ids]
        assert {at for at, why in enumerate(waits) if why == "ready"} == self.model.ready
        listed = workflow_service.list_workflows(self.db).items[0]
        assert (listed.status, listed.counts, listed.version) == (found.status, found.counts, found.version)

    def finish(self) -> None:
        """Nothing is left behind: what may run does, until all has ended."""
        self.settle()
        for _ in range(3 * MOST_TASKS):
            self._claim()
            for task in list(self.running):
                self._end(task, ends.succeeded(1), SUCCEEDED)
            self.settle()
            self.compare()
        assert not set(self.model.status) & ACTIVE

    def _claim(self) -> None:
        for claimed in claim_next(self.db):
            task = self.ids.index(claimed.id)
            statuses = [task_service.get_task(self.db, self.ids[parent]).status for parent in self.model.parents[task]]
            if not self.model.goes_on and self.model.status[task] not in UNSUCCESSFUL:
                assert all(each == SUCCEEDED for each in statuses) or task in self.model.ready
            self.model.claim(task)
            self.running[task] = claimed

    def _any(self) -> int | None:
        return self.chance.choice(sorted(self.running)) if self.running else None

    def _end(self, task: int, ending: ends.Ending, status: str) -> None:
        claimed = self.running.pop(task)
        assert ends.end_attempt(self.db, claimed.id, claimed.attempt, ending)
        self.db.commit()
        self.model.end(task, status)

    def _succeed(self) -> None:
        if (task := self._any()) is not None:
            self._end(task, ends.succeeded(1), SUCCEEDED)

    def _fail(self) -> None:
        if (task := self._any()) is not None:
            self._end(task, ends.failed(ERROR), FAILED)

    def _stop(self) -> None:
        if (task := self._any()) is not None:
            self._end(task, ends.stopped("ignored"), REVOKED)

    def _lose(self) -> None:
        if (task := self._any()) is not None and task_service.get_task(self.db, self.ids[task]).crashes == 0:
            claimed = self.running.pop(task)
            assert ends.end_attempt(self.db, claimed.id, claimed.attempt, ends.lost("killed"))
            due_tasks.wake_if_due(self.db, claimed.id, claimed.queue)
            self.db.commit()
            self.model.lose(task)

    def _cancel(self) -> None:
        try:
            workflow_service.cancel_workflow(self.db, self.workflow.id)
        except WorkflowTransition:
            assert self.model.state in {SUCCEEDED, FAILED}
            return
        assert self.model.state in {*ACTIVE, REVOKED}
        self.model.cancel(range(len(self.ids)))

    def _cancel_one(self) -> None:
        task = self.chance.randrange(len(self.ids))
        try:
            task_service.cancel(self.db, self.ids[task])
        except InvalidTransition:
            assert self.model.status[task] in {SUCCEEDED, FAILED}
            return
        self.model.cancel([task])

    def _retry(self) -> None:
        again = [task for task, status in enumerate(self.model.status) if status in UNSUCCESSFUL]
        try:
            workflow_service.retry_workflow(self.db, self.workflow.id)
        except WorkflowTransition:
            assert again == []
            return
        self.model.retry(again)

    def _retry_one(self) -> None:
        task = self.chance.randrange(len(self.ids))
        try:
            task_service.retry_task(self.db, self.ids[task])
        except (InvalidTransition, ParentFailed):
            assert not self.model.may_retry(task)
            return
        assert self.model.may_retry(task)
        self.model.retry([task])


def check(db: Session, seeds: range) -> None:
    for seed in seeds:
        try:
            run = Run(db, seed)
            for _ in range(STEPS):
                run.step()
            run.finish()
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise


def test_of_random_workflows_each_becomes_what_the_model_says(db: Session) -> None:
    check(db, range(amount(day=3, night=6)))


@pytest.mark.full
@pytest.mark.parametrize("first", range(100, 160 if ENGINE == "postgresql" else 120, 20))
def test_of_many_random_workflows_each_becomes_what_the_model_says(db: Session, first: int) -> None:
    check(db, range(first, first + 20))
