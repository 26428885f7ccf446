"""Secrets in the answers of the task endpoints; what is not hidden round-trips unchanged."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.core.redaction import redact
from app.db.session import SessionLocal
from app.services.execution import attempts
from app.services.execution.attempts import AttemptError
from app.services.task_service import task_service
from app.worker.child.attempt_run import describe
from tests.support.services import Services
from tests.support.task_client import TaskClient, shared_client, stored, task_client
from tests.support.tasks import claim, new_task

HIDDEN = {"password": "hunter2", "nested": [{"apiKey": {"a": 1}}], "max_tokens": 512}
SHOWN = {"password": "***", "nested": [{"apiKey": "***"}], "max_tokens": 512}
CHARACTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(CHARACTERS, max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(CHARACTERS, max_size=8), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@pytest.fixture(scope="module")
def client(services: Services) -> Iterator[httpx.Client]:
    with shared_client(services) as shared:
        yield shared


@pytest.fixture
def tasks(client: httpx.Client, make_user: Callable[..., Any]) -> TaskClient:
    return task_client(client, make_user)


class TestAnswers:
    def test_hide_and_the_row_keeps(self, tasks: TaskClient) -> None:
        key = {"Idempotency-Key": "one"}
        body = {"name": "n", "task_type": "t", "celery_task_name": "app.tasks.common_tasks.long_running_task",
                "args": [60], "kwargs": HIDDEN, "metadata": HIDDEN}  # fmt: skip
        created = tasks.post(body=body, headers=key)
        task_id = created.json()["id"]
        answers = [
            created,
            tasks.post(body=body, headers=key),
            tasks.get(task_id),
            tasks.patch(task_id, {"name": "another"}),
            tasks.post(f"{task_id}/cancel"),
            tasks.post(f"{task_id}/retry"),
        ]
        for answer in answers:
            assert answer.status_code < 300
            assert (answer.json()["kwargs"], answer.json()["metadata"]) == (SHOWN, SHOWN)
        assert tasks.get().json()[0]["kwargs"] == SHOWN
        assert answers[1].headers["Idempotency-Replayed"] == "true"
        task = stored(task_id)
        assert (task.kwargs, task.metadata_) == (HIDDEN, HIDDEN)

    def test_of_an_old_row_hide_too(self, tasks: TaskClient) -> None:
        """Written before errors were redacted on their way in."""
        with SessionLocal() as db:
            task = new_task(db, tasks.user["id"])
            error = AttemptError("ValueError", "password=hunter2", "Traceback\n  token='hunter2'\nValueError: x")
            attempts.fail(db, task.id, claim(db, task).attempt, error)
            db.commit()
        assert tasks.get(task.id).json()["error"]["message"] == "password=***"
        (attempt,) = tasks.get(f"{task.id}/attempts").json()
        assert (attempt["error_message"], attempt["traceback"]) == (
            "password=***", "Traceback\n  token='***'\nValueError: x"
        )  # fmt: skip

    def test_an_error_that_is_reported_from_outside_is_hidden_on_its_way_in(self, tasks: TaskClient) -> None:
        with SessionLocal() as db:
            task = new_task(db, tasks.user["id"])
            claim(db, task)
            task_service.update_task_status(db, task.id, "failed", error="password=hunter2")
        assert stored(str(task.id)).error_message == "password=***"


class TestSentBack:
    def test_what_was_shown_keeps_what_stands_there(self, tasks: TaskClient) -> None:
        created = tasks.create(metadata=HIDDEN | {"order": 1})
        answer = tasks.patch(created["id"], {"metadata": created["metadata"] | {"order": 2}})
        assert (answer.status_code, answer.json()["metadata"]) == (200, SHOWN | {"order": 2})
        assert stored(created["id"]).metadata_ == HIDDEN | {"order": 2}
        assert tasks.patch(created["id"], {"metadata": {"password": "new"}}).status_code == 200
        assert stored(created["id"]).metadata_ == {"password": "new"}

    def test_three_stars_for_no_secret_are_refused(self, tasks: TaskClient) -> None:
        created = tasks.create(metadata={"order": 1})
        answer = tasks.patch(created["id"], {"metadata": {"token": "***"}})
        assert (answer.status_code, answer.json()["errors"][0]["type"]) == (422, "hidden_value")
        assert answer.json()["errors"][0]["loc"] == ["body", "metadata"]
        assert stored(created["id"]).metadata_ == {"order": 1}

    @pytest.mark.parametrize("fields", [{"kwargs": SHOWN}, {"metadata": SHOWN}])
    def test_a_copy_of_what_was_shown_is_no_new_task(self, tasks: TaskClient, fields: dict[str, Any]) -> None:
        body = {
            "name": "n",
            "task_type": "t",
            "celery_task_name": "app.tasks.common_tasks.long_running_task",
            "args": [1],
        }
        answer = tasks.post(body=body | fields)
        assert (answer.status_code, answer.json()["errors"][0]["type"]) == (422, "hidden_value")


def test_no_error_of_a_statement_holds_its_parameters(client: httpx.Client) -> None:
    statement = text("SELECT 1 / 0 FROM tasks WHERE name = :name OR true")
    with SessionLocal() as db:
        new_task(db)
        with pytest.raises(DBAPIError) as raised:
            db.execute(statement, {"name": "hunter2"})
    assert "hunter2" not in str(raised.value)
    with SessionLocal() as db, pytest.raises(DBAPIError) as raised:
        db.execute(text("SELECT missing FROM tasks WHERE name = :name"), {"name": "hunter2"})
    assert "hunter2" not in describe(raised.value).message


@hypothesis_settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.dictionaries(st.text(CHARACTERS, min_size=1, max_size=8), VALUES, max_size=4))
def test_what_is_not_hidden_round_trips_unchanged(tasks: TaskClient, value: dict[str, Any]) -> None:
    kwargs = {f"x{key}": inner for key, inner in value.items()}
    created = tasks.create(args=[1], kwargs=kwargs)
    shown = tasks.get(created["id"]).json()
    assert repr(shown["kwargs"]) == repr(redact(kwargs))
    assert repr(stored(created["id"]).kwargs) == repr(kwargs)
