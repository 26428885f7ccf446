"""References in the arguments of a workflow's tasks: filled as the task is claimed, checked then, and shown as they are."""

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
from celery.app.trace import build_tracer
from sqlalchemy.orm import Session

from app.db.session import SessionLocal
from app.messaging.application import celery_app
from app.models.task import Task
from app.schemas.workflow import WorkflowRead
from app.services.execution import ends
from app.services.task_service import task_service
from app.services.workflows import dependents
from app.workflows import references
from tests.support.services import Services
from tests.support.settings import on_new_database, settings
from tests.support.tasks import ERROR, new_task, new_user, next_run
from tests.support.workflows import settle, sleep


@pytest.fixture(autouse=True)
def database(services: Services) -> Iterator[None]:
    """A child's connection sees what is committed alone."""
    with on_new_database(services):
        yield
        assert dependents.flush_releases(10)


@pytest.fixture
def db() -> Iterator[Session]:
    with SessionLocal() as session:
        yield session


def two(db: Session, result: Any, *args: Any, on_failure: str = "cancel", **kwargs: Any) -> WorkflowRead:
    """A workflow whose second task has these arguments, with the first one at its end."""
    tasks = [sleep("first"), {**sleep("second", "first"), "args": list(args), "kwargs": kwargs}]
    workflow = task_service.create_workflow(db, "two", tasks, user_id=new_user(db), on_failure=on_failure)
    finish(db, ends.failed(ERROR) if result is ERROR else ends.succeeded(result))
    return workflow


def finish(db: Session, ending: ends.Ending) -> None:
    run = next_run()
    assert run is not None
    assert ends.end_attempt(db, run.claim.id, run.claim.attempt, ending)
    db.commit()
    settle(db)


def row(db: Session, workflow: WorkflowRead, at: int = 1) -> Task:
    task_id = workflow.tasks[at].id
    assert task_id is not None
    return task_service.get_task(db, task_id)


def arguments() -> tuple[list[Any], dict[str, Any]]:
    """What the next body is called with."""
    run = next_run()
    assert run is not None
    found = run.arguments()
    return found.args, found.kwargs


def run_body() -> None:
    """Run the next body under Celery's tracer, as a pool process does."""
    run = next_run()
    assert run is not None
    task = celery_app.tasks[run.claim.celery_task_name]
    request = {"id": str(run.claim.celery_id), "retries": 0, "attempt_run": run, "hostname": "test"}
    build_tracer(task.name, task, eager=True, app=celery_app)(request["id"], [], {}, request)


class TestFilling:
    def test_puts_results_and_what_is_in_them_in_their_places(self, db: Session) -> None:
        result = {"rows": [1, {"n": 2}]}
        part = {"$result": "first", "path": ["rows", 1, "n"]}
        workflow = two(db, result, part, whole={"$result": "first"}, inner=[part], data={"$literal": part})
        assert arguments() == ([2], {"whole": result, "inner": [2], "data": part})
        assert row(db, workflow).args == [part]

    def test_of_a_plain_task_is_data(self, db: Session) -> None:
        parent = new_task(db)
        kwargs = {"a": {"$result": "first"}, "b": {"$literal": 1}}
        new_task(db, parent.user_id, kwargs=kwargs, depends_on=[parent.id])
        finish(db, ends.succeeded(1))
        assert arguments() == ([1], kwargs)

    def test_of_a_literal_alone_is_unwrapped(self, db: Session) -> None:
        two(db, 1, duration={"$literal": 0.5})
        assert arguments() == ([], {"duration": 0.5})

    def test_of_a_failed_parent_is_null_with_continue(self, db: Session) -> None:
        two(db, ERROR, {"$result": "first", "path": ["rows"]}, on_failure="continue")
        assert arguments() == ([None], {})

    def test_reads_many_results_in_groups(self, db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("app.worker.child.references._BYTES", 10)
        parents = [sleep(f"p{number}") for number in range(5)]
        wanted = [{"$result": task["ref"]} for task in parents]
        task_service.create_workflow(db, "many", [*parents, sleep("last", args=[wanted])], user_id=new_user(db))
        for number in range(5):
            finish(db, ends.succeeded(str(number) * 4))
        assert arguments() == ([["0000", "1111", "2222", "3333", "4444"]], {})


class TestFailure:
    @pytest.mark.parametrize(
        ("result", "path", "told"),
        [
            ({"rows": []}, ["rows", 0], "the result of 'first'['rows'] has no 0: it is a list of 0"),
            ({"rows": 1}, ["columns"], "the result of 'first' has no 'columns': it is an object"),
            ("text", [0], "the result of 'first' has no 0: it is one value"),
            ([1], [1], "has no 1"),
            (None, ["a"], "it is null"),
            ({}, ["a" * 10_000], f"has no '{'a' * 199}: it is an object"),
        ],
    )
    def test_of_a_missing_path_names_it(self, db: Session, result: Any, path: list[Any], told: str) -> None:
        workflow = two(db, result, {"$result": "first", "path": path})
        run_body()
        task = row(db, workflow)
        assert (task.status, task.error_type, task.failures) == ("failed", "app.errors.UnusableResult", 1)
        assert told in str(task.error_message)

    def test_of_a_misfit_names_the_parameter_and_is_not_retried(self, db: Session) -> None:
        tasks = [sleep("first"), sleep("second", args=[{"$result": "first"}], max_attempts=3)]
        workflow = task_service.create_workflow(db, "two", tasks, user_id=new_user(db))
        finish(db, ends.succeeded("ten"))
        run_body()
        task = row(db, workflow)
        assert (task.status, task.error_type) == ("failed", "app.errors.InvalidArguments")
        assert "duration: must be a number" in str(task.error_message)

    def test_of_too_large_results_says_so(self, db: Session) -> None:
        with settings({"MAX_ARGUMENTS_BYTES": "2000"}):
            workflow = two(db, "x" * 3000, {"$result": "first"})
            run_body()
            assert dependents.flush_releases(10)  # the settings take the engine of its session with them
        assert (
            "the arguments with the result of 'first' in them takes 3002 bytes of JSON, MAX_ARGUMENTS_BYTES allows 2000"
            in str(row(db, workflow).error_message)
        )

    def test_of_many_uses_of_a_result_is_told_before_they_are_filled(self, db: Session) -> None:
        with settings({"MAX_ARGUMENTS_BYTES": "50000"}):
            workflow = two(db, "x" * 1000, 1, all=[{"$result": "first"}] * 1000)
            with patch.object(references, "fill") as filled:
                run_body()
            assert dependents.flush_releases(10)
        assert not filled.called
        assert (
            "the arguments with the result of 'first' in them takes 1002000 bytes of JSON, MAX_ARGUMENTS_BYTES allows"
            in str(row(db, workflow).error_message)
        )

    def test_of_too_deep_results_is_not_retried(self, db: Session) -> None:
        deep: Any = 1
        for _ in range(190):
            deep = [deep]
        tasks = [sleep("first"), sleep("second", args=[[[[[[[[[[[{"$result": "first"}]]]]]]]]]]], max_attempts=3)]
        workflow = task_service.create_workflow(db, "deep", tasks, user_id=new_user(db))
        finish(db, ends.succeeded(deep))
        run_body()
        task = row(db, workflow)
        assert (task.status, task.error_type, task.failures) == ("failed", "app.errors.UnusableResult", 1)
        assert "nested more than" in str(task.error_message)

    def test_of_a_deleted_parent_says_so(self, db: Session) -> None:
        workflow = two(db, 1, {"$result": "first"})
        run = next_run()
        assert run is not None
        task_service.delete_task(db, row(db, workflow, 0).id)
        settle(db)
        with pytest.raises(ValueError, match="the task 'first', whose result is needed, is deleted"):
            run.arguments()


class TestSecrets:
    def test_of_a_result_are_hidden_by_value(self, db: Session) -> None:
        two(db, {"token": "s3cr3t-of-a-parent"}, {"$result": "first", "path": ["token"]})
        run = next_run()
        assert run is not None
        assert list(run.arguments().secrets) == ["s3cr3t-of-a-parent"]
