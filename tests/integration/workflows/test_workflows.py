"""Workflows: what is accepted, what becomes of one, and what cancel, retry and deletion do to it."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from celery import chain, group
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.core.ids import new_id
from app.db.statements import retention
from app.errors import (
    InvalidArguments,
    InvalidInput,
    InvalidWorkflow,
    LimitReached,
    ParentDeleted,
    ParentFailed,
    PriorityNotAllowed,
    TaskHasChildren,
    UniqueKeyTaken,
    UnknownTask,
    WorkflowActive,
    WorkflowNotFound,
    WorkflowTransition,
)
from app.maintenance.passes.task_states import revoke_expired
from app.messaging.application import celery_app
from app.models.task import Task, TaskStatus
from app.models.task_filter import TaskFilter
from app.models.user import User
from app.models.workflow import Workflow, WorkflowNode
from app.schemas.workflow import WorkflowRead
from app.services.accounts.users import Rights
from app.services.bulk import steps
from app.services.execution import ends
from app.services.task_service import task_service
from app.services.workflows import dependents
from app.services.workflows.reading import WorkflowFilter
from app.services.workflows.service import workflow_service
from tests.support.retention import purge_finished
from tests.support.tasks import ERROR, LONG_RUNNING, claim_next, new_task, new_user
from tests.support.waiting import wait_for
from tests.support.workflows import settle, sleep, statuses_of

FAILED = ends.failed(ERROR)
DIAMOND = (sleep("top"), sleep("left", "top"), sleep("right", "top"), sleep("end", "left", "right"))


@pytest.fixture
def user(db: Session) -> UUID:
    return new_user(db)


@pytest.fixture(autouse=True)
def _released() -> Iterator[None]:
    yield
    assert dependents.flush_releases(10)


def make(db: Session, user: UUID, *tasks: dict[str, Any], **options: Any) -> WorkflowRead:
    return task_service.create_workflow(db, "a workflow", tasks, user_id=user, **options)


def now(db: Session, workflow: WorkflowRead) -> WorkflowRead:
    return workflow_service.get_workflow(db, workflow.id)


def id_of(workflow: WorkflowRead, ref: str) -> UUID:
    (found,) = [node.id for node in workflow.tasks if node.ref == ref and node.id is not None]
    return found


def run(db: Session, workflow: WorkflowRead, **ends_of: ends.Ending) -> list[list[str]]:
    """Run what is ready until nothing is; succeeds unless another end is named. Returns what was ready each time."""
    refs = {node.id: node.ref for node in workflow.tasks}
    rounds = []
    while claimed := [each for _ in workflow.tasks for each in claim_next(db)]:
        rounds.append(sorted(refs[each.id] for each in claimed))
        for each in claimed:
            assert ends.end_attempt(db, each.id, each.attempt, ends_of.get(refs[each.id], ends.succeeded(1)))
        db.commit()
        settle(db)
    return rounds


class TestLife:
    def test_runs_each_task_after_its_parents(self, db: Session, user: UUID) -> None:
        workflow = make(db, user, *DIAMOND)
        assert (workflow.status, workflow.counts.pending, workflow.counts.total) == ("pending", 4, 4)
        assert [(node.ref, node.depends_on) for node in workflow.tasks] == [
            ("top", []),
            ("left", ["top"]),
            ("right", ["top"]),
            ("end", ["left", "right"]),
        ]
        assert run(db, workflow) == [["top"], ["left", "right"], ["end"]]
        done = now(db, workflow)
        assert (done.status, done.counts.succeeded) == ("succeeded", 4)
        assert done.finished_at is not None
        assert done.version > workflow.version
        assert task_service.get_task(db, id_of(workflow, "left")).workflow_id == workflow.id

    def test_is_pending_until_one_is_claimed_and_running_until_all_have_ended(self, db: Session, user: UUID) -> None:
        workflow = make(db, user, sleep("one"), sleep("two", "one"))
        assert now(db, workflow).status == "pending"
        (claimed,) = claim_next(db)
        running = now(db, workflow)
        assert (running.status, running.counts.running, running.finished_at) == ("running", 1, None)
        assert ends.end_attempt(db, claimed.id, claimed.attempt, ends.succeeded(1))
        db.commit()
        assert now(db, workflow).status == "running"

    def test_of_any_order_waits_for_the_same(self, db: Session, user: UUID) -> None:
        workflow = make(db, user, *reversed(DIAMOND))
        assert [node.ref for node in workflow.tasks] == ["end", "right", "left", "top"]
        assert run(db, workflow) == [["top"], ["left", "right"], ["end"]]

    def test_waits_for_what_its_arguments_refer_to(self, db: Session, user: UUID) -> None:
        named = sleep("b", kwargs={"duration": {"$result": "a"}})
        workflow = make(db, user, sleep("a"), named, sleep("c", args=[{"$result": "b"}]))
        assert [node.depends_on for node in workflow.tasks] == [[], ["a"], ["b"]]
        assert run(db, workflow) == [["a"], ["b"], ["c"]]

    def test_of_1000_tasks_is_one_transaction(self, db: Session, user: UUID) -> None:
        middle = [sleep(f"n{number}", "first") for number in range(998)]
        workflow = make(db, user, sleep("first"), *middle, sleep("last", *(task["ref"] for task in middle)))
        assert workflow.counts.total == 1000
        assert len(workflow.tasks[-1].depends_on) == 998


class TestFailure:
    def test_revokes_the_descendants(self, db: Session, user: UUID) -> None:
        workflow = make(db, user, *DIAMOND)
        run(db, workflow, left=FAILED)
        assert statuses_of(now(db, workflow)) == {
            "top": "succeeded",
            "left": "failed",
            "right": "succeeded",
            "end": "revoked",
        }
        assert now(db, workflow).status == "failed"
        assert task_service.get_task(db, id_of(workflow, "end")).status_reason == "parent_failed"

    def test_with_continue_they_run(self, db: Session, user: UUID) -> None:
        workflow = make(db, user, *DIAMOND, on_failure="continue")
        assert run(db, workflow, left=FAILED)[-1] == ["end"]
        done = now(db, workflow)
        assert (done.status, statuses_of(done)["end"]) == ("failed", "succeeded")

    def test_of_a_child_that_expires_revokes_what_depends_on_it(self, db: Session, user: UUID) -> None:
        soon = datetime.now(UTC) + timedelta(seconds=1)
        workflow = make(db, user, sleep("a"), sleep("b", "a", expires_at=soon.isoformat()), sleep("c", "b"))
        claim_next(db)
        wait_for(lambda: revoke_expired(db), 10, "its time to be over")
        settle(db)
        assert statuses_of(now(db, workflow)) == {"a": "running", "b": "revoked", "c": "revoked"}
        reasons = [task_service.get_task(db, id_of(workflow, ref)).status_reason for ref in ("b", "c")]
        assert reasons == ["expired", "parent_failed"]


class TestRequest:
    @pytest.mark.parametrize(
        ("tasks", "told"),
        [
            ([sleep("a"), sleep("a")], "tasks.1.ref: tasks[0] has this ref"),
            ([sleep("a", "b")], "tasks.0.depends_on.0: no task of the workflow has this ref"),
            ([sleep("a", args=[{"$result": "b"}])], "tasks.0.args: no task of the workflow has this ref"),
            ([sleep("a", "b"), sleep("b", "a")], "these tasks wait for each other: "),
            ([sleep("a", args=[{"$result": "a"}])], "these tasks wait for each other: a → a"),
            ([sleep("a", args=[{"$result": 7}])], "$result is the ref of a task, a text"),
            ([sleep("a"), sleep("b", kwargs={"duration": {"$result": "a", "path": "x"}})], "path is a list of names"),
            ([sleep("a"), sleep("b", args=[{"$result": "a", "more": 1}])], "has nothing else but path"),
            ([sleep("a", args=[{"$literal": 7, "more": 1}])], "an object with $literal has nothing else"),
        ],
    )
    def test_is_refused_by_name(
        self, db: Session, user: UUID, tasks: Sequence[dict[str, Any]], told: str
    ) -> None:  # fmt: skip
        with pytest.raises(InvalidWorkflow) as refused:
            make(db, user, *tasks)
        assert told in str(refused.value.detail)
        assert db.scalar(select(func.count()).select_from(Task)) == 0

    def test_of_too_many_edges_says_so(self, db: Session, user: UUID) -> None:
        refs = [f"n{number}" for number in range(150)]
        with pytest.raises(InvalidWorkflow) as refused:
            make(db, user, *(sleep(ref, *refs[:at]) for at, ref in enumerate(refs)))
        assert refused.value.errors[0]["loc"] == ["tasks"]
        assert "more than 10000 times" in str(refused.value.detail)

    def test_names_the_task_whose_arguments_do_not_fit(self, db: Session, user: UUID) -> None:
        with pytest.raises(InvalidArguments) as refused:
            make(db, user, sleep("a"), sleep("b", kwargs={"durations": {"$result": "a"}}))
        assert refused.value.errors[0]["loc"] == ["tasks", 1, "kwargs", "duration"]
        with pytest.raises(UnknownTask) as unknown:
            make(db, user, {**sleep("a"), "celery_task_name": "no.such"})
        assert unknown.value.errors[0]["loc"][:2] == ["tasks", 0]

    def test_is_all_or_nothing(self, db: Session, user: UUID) -> None:
        new_task(db, user, unique_key="k")
        with pytest.raises(UniqueKeyTaken):
            make(db, user, sleep("a"), sleep("b", "a", unique_key="k"))
        task_service.put_limit(db, name="none", concurrency=1, on_excess="reject")
        new_task(db, user, limit="none")
        with pytest.raises(LimitReached):
            make(db, user, sleep("a"), sleep("b", limit="none"))
        assert db.scalar(select(func.count()).select_from(Task)) == 2
        assert db.scalar(select(func.count()).select_from(Workflow)) == 0

    def test_no_other_task_replaces_one_of_it(self, db: Session, user: UUID) -> None:
        workflow = make(db, user, sleep("a"), sleep("b", "a", unique_key="k"))
        with pytest.raises(UniqueKeyTaken, match="cannot be replaced: it is part of a workflow"):
            new_task(db, user, unique_key="k", on_conflict="replace")
        assert task_service.get_task(db, id_of(workflow, "b")).workflow_id == workflow.id

    def test_takes_no_other_conflict_than_reject(self, db: Session, user: UUID) -> None:
        with pytest.raises(InvalidInput) as refused:
            make(db, user, sleep("a", unique_key="k", on_conflict="return"))
        assert refused.value.errors[0]["loc"] == ["tasks", 0, "on_conflict"]


class TestCancel:
    def test_of_a_pending_one_revokes_it_at_once(self, db: Session, user: UUID) -> None:
        workflow = make(db, user, *DIAMOND)
        assert workflow_service.cancel_workflow(db, workflow.id).status == "revoked"
        assert {*statuses_of(now(db, workflow)).values()} == {"revoked"}
        assert workflow_service.cancel_workflow(db, workflow.id).status == "revoked"
        assert task_service.get_task(db, id_of(workflow, "end")).status_reason == "cancelled"

    def test_of_a_running_one_asks_what_runs_to_stop(self, db: Session, user: UUID) -> None:
        workflow = make(db, user, *DIAMOND)
        (claimed,) = claim_next(db)
        cancelled = workflow_service.cancel_workflow(db, workflow.id)
        assert (cancelled.status, cancelled.counts.running, cancelled.counts.revoked) == ("running", 1, 3)
        assert task_service.get_task(db, claimed.id).cancel_requested_at is not None
        assert ends.end_attempt(db, claimed.id, claimed.attempt, ends.stopped("cancelled"))
        db.commit()
        settle(db)
        assert now(db, workflow).status == "revoked"

    def test_of_an_ended_one_is_refused(self, db: Session, user: UUID) -> None:
        workflow = make(db, user, sleep("a"))
        run(db, workflow)
        with pytest.raises(WorkflowTransition):
            workflow_service.cancel_workflow(db, workflow.id)


class TestRetry:
    def test_runs_what_failed_and_keeps_what_succeeded(self, db: Session, user: UUID) -> None:
        workflow = make(db, user, *DIAMOND)
        run(db, workflow, left=FAILED)
        retried = workflow_service.retry_workflow(db, workflow.id)
        assert (retried.status, retried.finished_at) == ("running", None)
        assert statuses_of(retried) == {"top": "succeeded", "left": "pending", "right": "succeeded", "end": "pending"}
        assert run(db, workflow) == [["left"], ["end"]]
        assert now(db, workflow).status == "succeeded"

    def test_after_a_cancellation_keeps_the_order(self, db: Session, user: UUID) -> None:
        workflow = make(db, user, *DIAMOND)
        workflow_service.cancel_workflow(db, workflow.id)
        workflow_service.retry_workflow(db, workflow.id)
        assert run(db, workflow) == [["top"], ["left", "right"], ["end"]]

    def test_with_nothing_to_retry_is_refused(self, db: Session, user: UUID) -> None:
        workflow = make(db, user, sleep("a"))
        with pytest.raises(WorkflowTransition):
            workflow_service.retry_workflow(db, workflow.id)

    def test_of_one_task_reopens_the_workflow(self, db: Session, user: UUID) -> None:
        workflow = make(db, user, sleep("a"), sleep("b", "a"))
        run(db, workflow, b=FAILED)
        assert now(db, workflow).status == "failed"
        task_service.retry_task(db, id_of(workflow, "b"))
        assert (now(db, workflow).status, now(db, workflow).finished_at) == ("running", None)
        run(db, workflow)
        assert now(db, workflow).status == "succeeded"

    def test_of_one_task_below_a_failed_one_is_refused_but_for_continue(self, db: Session, user: UUID) -> None:
        workflow = make(db, user, sleep("a"), sleep("b", "a"))
        run(db, workflow, a=FAILED)
        with pytest.raises(ParentFailed):
            task_service.retry_task(db, id_of(workflow, "b"))
        workflow = make(db, user, sleep("a"), sleep("b", "a"), on_failure="continue")
        run(db, workflow, a=FAILED, b=FAILED)
        task_service.retry_task(db, id_of(workflow, "b"))
        assert run(db, workflow) == [["b"]]

    def test_of_a_parent_is_waited_for_by_what_waits_for_others_yet(self, db: Session, user: UUID) -> None:
        workflow = make(db, user, sleep("a"), sleep("b"), sleep("c", "a", "b"), on_failure="continue")
        claimed = {each.id: each for _ in range(2) for each in claim_next(db)}

        def end(ref: str, ending: ends.Ending) -> None:
            attempt = claimed.pop(id_of(workflow, ref))
            assert ends.end_attempt(db, attempt.id, attempt.attempt, ending)
            db.commit()
            settle(db)

        end("a", FAILED)
        task_service.retry_task(db, id_of(workflow, "a"))
        end("b", ends.succeeded(1))
        assert task_service.get_task(db, id_of(workflow, "c")).waits == "dependency"
        assert run(db, workflow) == [["a"], ["c"]]

    def test_whose_parents_result_is_gone_is_refused(self, db: Session, user: UUID) -> None:
        workflow = make(db, user, sleep("a"), sleep("b", args=[{"$result": "a"}]))
        run(db, workflow, b=FAILED)
        task_service.delete_task(db, id_of(workflow, "a"))
        with pytest.raises(ParentDeleted) as refused:
            workflow_service.retry_workflow(db, workflow.id)
        assert "'a'" in str(refused.value.detail)
        with pytest.raises(ParentDeleted):
            task_service.retry_task(db, id_of(workflow, "b"))

    def test_whose_parents_result_is_gone_from_its_named_arguments_too(self, db: Session, user: UUID) -> None:
        workflow = make(db, user, sleep("a"), sleep("b", kwargs={"duration": {"$result": "a"}}))
        run(db, workflow, b=FAILED)
        task_service.delete_task(db, id_of(workflow, "a"))
        with pytest.raises(ParentDeleted):
            workflow_service.retry_workflow(db, workflow.id)

    def test_whose_failed_parent_is_deleted_is_refused_but_for_continue(self, db: Session, user: UUID) -> None:
        workflow = make(db, user, sleep("a"), sleep("b", "a"))
        run(db, workflow, a=FAILED)
        task_service.delete_task(db, id_of(workflow, "a"))
        with pytest.raises(ParentDeleted, match="depends on 'a', which has not succeeded and is deleted"):
            workflow_service.retry_workflow(db, workflow.id)
        with pytest.raises(ParentDeleted):
            task_service.retry_task(db, id_of(workflow, "b"))
        bulk = task_service.start_bulk(db, "retry", user_id=user, ids=[id_of(workflow, "b")])
        while steps.step(db, bulk.id):
            pass
        assert task_service.get_bulk(db, bulk.id).skipped == {"parent_deleted": 1}
        workflow = make(db, user, sleep("a"), sleep("b", "a"), on_failure="continue")
        run(db, workflow, a=FAILED, b=FAILED)
        task_service.delete_task(db, id_of(workflow, "a"))
        assert workflow_service.retry_workflow(db, workflow.id).status == "running"

    def test_keeps_to_the_rights_of_the_caller(self, db: Session, user: UUID) -> None:
        workflow = make(db, user, sleep("a", priority="high"))
        workflow_service.cancel_workflow(db, workflow.id)
        with pytest.raises(PriorityNotAllowed):
            workflow_service.retry_workflow(
                db, workflow.id, rights=Rights(user, "user", "normal"), within_quota=True
            )  # fmt: skip
        workflow_service.retry_workflow(db, workflow.id, rights=Rights(user, "user", "high"), within_quota=True)


class TestDelete:
    def test_of_an_ended_one_deletes_its_tasks(self, db: Session, user: UUID) -> None:
        workflow = make(db, user, *DIAMOND)
        with pytest.raises(WorkflowActive):
            workflow_service.delete_workflow(db, workflow.id)
        run(db, workflow)
        workflow_service.delete_workflow(db, workflow.id)
        with pytest.raises(WorkflowNotFound):
            now(db, workflow)
        settle(db)
        for model in (Task, WorkflowNode):
            assert db.scalar(select(func.count()).select_from(model)) == 0

    def test_of_one_that_a_pending_task_needs_is_refused(self, db: Session, user: UUID) -> None:
        workflow = make(db, user, sleep("a"), sleep("b"))
        new_task(db, user, depends_on=[id_of(workflow, "a")], delay_seconds=3600)
        run(db, workflow)
        with pytest.raises(TaskHasChildren):
            workflow_service.delete_workflow(db, workflow.id)
        assert (now(db, workflow).status, now(db, workflow).counts.succeeded) == ("succeeded", 2)

    def test_of_a_task_leaves_its_node(self, db: Session, user: UUID) -> None:
        workflow = make(db, user, *DIAMOND)
        run(db, workflow)
        before = now(db, workflow)
        task_service.delete_task(db, id_of(workflow, "end"))
        settle(db)
        after = now(db, workflow)
        assert (after.tasks[-1].id, after.tasks[-1].status, after.tasks[-1].depends_on) == (
            None,
            "succeeded",
            ["left", "right"],
        )
        assert (after.counts, after.status, after.finished_at) == (before.counts, before.status, before.finished_at)

    def test_of_a_pending_task_by_force_counts_as_revoked(self, db: Session, user: UUID) -> None:
        workflow = make(db, user, sleep("a"))
        task_service.delete(db, id_of(workflow, "a"), force=True)
        at_once = now(db, workflow)
        assert (at_once.status, at_once.counts.revoked, at_once.version > workflow.version) == ("revoked", 1, True)
        settle(db)
        assert (now(db, workflow).status, now(db, workflow).version) == ("revoked", at_once.version)

    def test_of_an_ended_task_is_a_new_version(self, db: Session, user: UUID) -> None:
        workflow = make(db, user, sleep("a"), sleep("b"))
        run(db, workflow)
        versions = [now(db, workflow).version]
        for ref in ("a", "b"):
            task_service.delete_task(db, id_of(workflow, ref))
            versions.append(now(db, workflow).version)
            settle(db)
            versions.append(now(db, workflow).version)
        assert versions == [versions[0], *[versions[0] + 1] * 2, *[versions[0] + 2] * 2]

    @pytest.mark.parametrize("end", ["succeeded", "failed"])
    def test_of_a_task_whose_end_is_not_noted_yet_keeps_its_end(self, db: Session, user: UUID, end: str) -> None:
        workflow = make(db, user, sleep("a"))
        (claimed,) = claim_next(db)
        ending = ends.succeeded(1) if end == "succeeded" else FAILED
        assert ends.end_attempt(db, claimed.id, claimed.attempt, ending)
        db.commit()
        task_service.delete_task(db, claimed.id)
        (listed,) = workflow_service.list_workflows(db, WorkflowFilter(user_id=user)).items
        assert (now(db, workflow).status, listed.status) == (end, end)
        settle(db)
        assert (now(db, workflow).status, now(db, workflow).tasks[0].status) == (end, end)
        assert now(db, workflow).finished_at is not None

    def test_of_a_retried_task_whose_end_is_not_noted_yet_counts_as_revoked(self, db: Session, user: UUID) -> None:
        workflow = make(db, user, sleep("a"))
        (claimed,) = claim_next(db)
        assert ends.end_attempt(db, claimed.id, claimed.attempt, FAILED)
        db.commit()
        task_service.retry_task(db, claimed.id)
        task_service.delete(db, claimed.id, force=True)
        assert now(db, workflow).status == "revoked"
        settle(db)
        assert now(db, workflow).status == "revoked"

    def test_of_the_user_deletes_all(self, db: Session, user: UUID) -> None:
        make(db, user, *DIAMOND)
        db.execute(delete(User).where(User.id == user))
        db.commit()
        for model in (Task, Workflow, WorkflowNode):
            assert db.scalar(select(func.count()).select_from(model)) == 0


class TestTasks:
    def test_are_listed_counted_and_changed_by_their_workflow(self, db: Session, user: UUID) -> None:
        new_task(db, user)
        workflow = make(db, user, *DIAMOND)
        make(db, user, sleep("a"))
        theirs = {node.id for node in workflow.tasks}
        for owner in (user, None):
            assert {task.id for task in task_service.get_tasks(db, owner, workflow_id=workflow.id)} == theirs
        assert task_service.get_tasks(db, new_user(db), workflow_id=workflow.id) == []
        wanted = TaskFilter(user, workflow_id=workflow.id)
        assert task_service.count(db, wanted)["pending"] == 4
        assert task_service.preview_bulk(db, "cancel", user_id=user, wanted=wanted).matched == 4


class TestList:
    def test_filters(self, db: Session, user: UUID) -> None:
        pending = make(db, user, sleep("a"))
        ended = make(db, user, sleep("a"))
        workflow_service.cancel_workflow(db, ended.id)
        started = task_service.create_workflow(db, "Other", [sleep("a"), sleep("b", "a")], user_id=user)
        make(db, new_user(db), sleep("a"))
        claimed = [each for _ in range(3) for each in claim_next(db) if each.id == id_of(started, "a")]
        assert len(claimed) == 1

        def found(**wanted: Any) -> list[UUID]:
            return [
                each.id for each in workflow_service.list_workflows(db, WorkflowFilter(user_id=user, **wanted)).items
            ]

        assert found() == [started.id, ended.id, pending.id]
        assert found(name="other") == [started.id]
        assert found(status=TaskStatus.REVOKED) == [ended.id]
        assert found(status=TaskStatus.RUNNING) == [started.id, pending.id]
        assert found(status=TaskStatus.PENDING) == []
        assert found(created_after=pending.created_at) == [started.id, ended.id]
        assert found(created_before=started.created_at) == [ended.id, pending.id]

    def test_pages(self, db: Session, user: UUID) -> None:
        made = [make(db, user, sleep("a")).id for _ in range(3)]
        first = workflow_service.list_workflows(db, WorkflowFilter(user_id=user), 2)
        assert ([each.id for each in first.items], first.last) == ([made[2], made[1]], made[1].hex)
        rest = workflow_service.list_workflows(db, WorkflowFilter(user_id=user), 2, cursor=first.last)
        assert ([each.id for each in rest.items], rest.last) == ([made[0]], None)

    def test_of_another_user_is_not_found(self, db: Session, user: UUID) -> None:
        workflow = make(db, user, sleep("a"))
        for call in (workflow_service.get_workflow, workflow_service.cancel_workflow, workflow_service.delete_workflow):
            with pytest.raises(WorkflowNotFound):
                call(db, workflow.id, owner=new_id())


class TestRetention:
    def test_deletes_ended_workflows_whole(self, db: Session, user: UUID) -> None:
        workflow = make(db, user, *DIAMOND)
        run(db, workflow)
        assert purge_finished(db, 0) == 4
        with pytest.raises(WorkflowNotFound):
            now(db, workflow)

    def test_spares_tasks_of_one_that_has_not_ended(self, db: Session, user: UUID) -> None:
        workflow = make(db, user, *DIAMOND, sleep("later", delay_seconds=3600))
        run(db, workflow)
        assert purge_finished(db, 0) == 0
        assert now(db, workflow).counts.succeeded == 4

    def test_spares_one_of_whose_tasks_a_pending_one_needs(self, db: Session, user: UUID) -> None:
        workflow = make(db, user, *DIAMOND)
        new_task(db, user, depends_on=[id_of(workflow, "end")], delay_seconds=3600)
        run(db, workflow)
        assert purge_finished(db, 0) == 0
        assert now(db, workflow).status == "succeeded"

    @pytest.mark.parametrize("by", ["age", "bytes"])
    def test_is_not_kept_by_one_that_stays(self, db: Session, user: UUID, by: str) -> None:
        """A batch may hold tasks of it alone, in whatever order they are read."""
        made = []
        for _ in range(3):
            made.append(make(db, user, *DIAMOND))
            run(db, made[-1])
        first, workflow, last = made
        for each in (first, last):
            new_task(db, user, depends_on=[id_of(each, "end")], delay_seconds=3600)
        if by == "age":
            number = retention.delete_older(db, timedelta(0), 2, 10**6)
        else:
            number, _ = retention.delete_oldest(db, user, 10**6, timedelta(0), 2)
        db.commit()
        assert number == 4
        assert [now(db, each).counts.succeeded for each in (first, last)] == [4, 4]
        with pytest.raises(WorkflowNotFound):
            now(db, workflow)

    def test_deletes_some_workflows_at_a_time(self, db: Session, user: UUID) -> None:
        """Their tasks ended in turn, so that a batch has tasks of each."""
        made = [make(db, user, sleep("a"), sleep("b")) for _ in range(3)]
        claimed = {each.id: each for _ in range(6) for each in claim_next(db)}
        for ref in ("a", "b"):
            for workflow in made:
                attempt = claimed[id_of(workflow, ref)]
                assert ends.end_attempt(db, attempt.id, attempt.attempt, ends.succeeded(1))
                db.commit()
        settle(db)
        assert [retention.delete_oldest(db, user, 10**6, timedelta(0), 3)[0] for _ in range(3)] == [4, 2, 0]

    def test_by_bytes_deletes_whole_ones_too(self, db: Session, user: UUID) -> None:
        workflow = make(db, user, *DIAMOND)
        run(db, workflow)
        number, freed = retention.delete_oldest(db, user, 1, timedelta(0), 100)
        assert (number, freed > 4000) == (4, True)


class TestPatch:
    @pytest.fixture
    def second(self, db: Session, user: UUID) -> UUID:
        workflow = make(db, user, sleep("a"), sleep("b", args=[{"$result": "a"}]), sleep("other"))
        return id_of(workflow, "b")

    def test_may_refer_to_parents_alone(self, db: Session, second: UUID) -> None:
        changed = task_service.update_task(db, second, {"args": [{"$result": "a", "path": ["n"]}]})
        assert changed.args == [{"$result": "a", "path": ["n"]}]
        for wrong, told in (
            ([{"$result": "other"}], "args: refers to a task on which this one does not depend"),
            ([{"$result": 7}], "args: $result is the ref of a task"),
            (["no number"], "args.duration: must be a number"),
        ):
            with pytest.raises(InvalidInput, match=re.escape(told)):
                task_service.update_task(db, second, {"args": wrong})

    def test_of_another_user_refers_to_no_more_results(self, db: Session, second: UUID) -> None:
        """A result may hold what is hidden from them, and the task would show it as an argument of another name."""
        for args in ([{"$result": "a", "path": ["token"]}], [[{"$result": "a"}, {"$result": "a", "path": [0]}]]):
            with pytest.raises(InvalidInput, match="only the task's owner may refer to another result"):
                task_service.update_task(db, second, {"args": args}, owns=lambda _: False)
        changed = task_service.update_task(db, second, {"args": [{"$result": "a"}, 3]}, owns=lambda _: False)
        assert changed.args == [{"$result": "a"}, 3]

    def test_a_retry_with_a_body_needs_values(self, db: Session, second: UUID) -> None:
        task_service.cancel_task(db, second)
        with pytest.raises(InvalidInput, match="args: refers to results of its workflow"):
            task_service.retry_with_changes(db, second, {"name": "again"})
        task, _ = task_service.retry_with_changes(db, second, {"args": [2]})
        assert (task.args, task.workflow_id, task.depends_on) == ([2], None, None)


class TestCanvas:
    def test_runs_with_its_results_prepended(self, db: Session, user: UUID) -> None:
        task = celery_app.tasks[LONG_RUNNING]
        canvas = chain(task.s(1), group(task.si(2), task.si(3, a=1)), task.si(4))
        workflow = task_service.create_from_canvas(db, canvas, user_id=user, priority="high")
        assert workflow.name == LONG_RUNNING
        rounds = run(db, workflow)
        assert [[ref.partition("-")[0] for ref in each] for each in rounds] == [["1"], ["2", "3"], ["4"]]
        assert task_service.get_task(db, id_of(workflow, "3-long_running_task")).priority == "high"

    def test_is_named_without_its_arguments(self, db: Session, user: UUID) -> None:
        task = celery_app.tasks[LONG_RUNNING]
        workflow = task_service.create_from_canvas(db, chain(task.s(1, password="s3cr3t"), task.si(2)), user_id=user)
        assert "s3cr3t" not in workflow.name

    def test_that_cannot_be_carried_over_is_refused_by_name(self, db: Session, user: UUID) -> None:
        task = celery_app.tasks[LONG_RUNNING]
        with pytest.raises(InvalidWorkflow, match="option link_error, which a workflow does not have: subscribe"):
            task_service.create_from_canvas(db, task.s(1).set(link_error=task.s(1)), user_id=user)
