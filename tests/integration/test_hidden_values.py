"""Secrets in the answers of the task endpoints. What is not hidden comes back unchanged: test_hostile_input.py."""

from typing import Any, ClassVar

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.db.session import SessionLocal
from app.services.execution import ends
from app.services.execution.attempts import AttemptError
from app.services.task_service import task_service
from app.worker.shared.error_text import describe
from tests.support.accounts import MakeUser
from tests.support.databases import ENGINE
from tests.support.tables import cases
from tests.support.task_client import BODY, TaskClient, module_client, stored, task_client
from tests.support.tasks import claim, new_task

client = module_client()
HIDDEN = {"password": "hunter2", "nested": [{"apiKey": {"a": 1}}], "max_tokens": 512}
SHOWN = {"password": "***", "nested": [{"apiKey": "***"}], "max_tokens": 512}


class TestAnswers:
    def test_hide_and_the_row_keeps(self, tasks: TaskClient) -> None:
        key = {"Idempotency-Key": "one"}
        body = BODY | {"kwargs": HIDDEN, "metadata": HIDDEN}
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
            ends.end_attempt(db, task.id, claim(db, task).attempt, ends.failed(error))
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

    def test_a_copy_of_what_was_shown_is_no_new_task(self, tasks: TaskClient) -> None:
        for name in ("kwargs", "metadata"):
            answer = tasks.post(body=BODY | {name: SHOWN})
            assert (answer.status_code, answer.json()["errors"][0]["type"]) == (422, "hidden_value"), name


class TestKeptElsewhere:
    """A kept secret must not go where its owner has not sent it (ATTACK 1): with another URL beside it, it would."""

    KWARGS: ClassVar = {"url": "https://mine.example/", "password": "hunter2", "pin": 1}

    @pytest.fixture
    def callers(self, client: httpx.Client, tasks: TaskClient, make_user: MakeUser) -> dict[str, TaskClient]:
        body = {"name": "k", "scopes": ["tasks:write", "tasks:read"]}
        key = client.post("/api/v1/auth/api-keys", json=body, headers=tasks.headers).json()["key"]
        admin = task_client(client, make_user, "admin")
        return {"owner": tasks, "key": TaskClient(client, tasks.user, key), "admin": admin}

    def send(self, caller: TaskClient, owner: TaskClient, how: str, changes: dict[str, Any]) -> httpx.Response:
        """A retry of a task that has ended, or a PATCH of one that waits, with what was shown and these changes."""
        created = owner.create(kwargs=self.KWARGS, delay_seconds=3600)
        kwargs = {"kwargs": created["kwargs"] | changes}
        if how == "patch":
            return caller.patch(created["id"], kwargs)
        owner.post(f"{created['id']}/cancel")
        return caller.post(f"{created['id']}/retry", kwargs)

    def test_only_the_owner_by_a_login_keeps_one_beside_another_url(
        self, tasks: TaskClient, callers: dict[str, TaskClient]
    ) -> None:
        with cases() as case:
            for how in ("retry", "patch"):
                for name, caller in callers.items():
                    with case(how, name):
                        answer = self.send(caller, tasks, how, {"url": "https://evil.example/"})
                        if name == "owner":
                            assert answer.is_success, answer.text
                            assert stored(answer.json()["id"]).kwargs["password"] == "hunter2"
                        else:
                            assert (answer.status_code, answer.json()["errors"][0]["type"]) == (422, "hidden_value")

    def test_nor_beside_arguments_that_are_left_out(self, tasks: TaskClient, callers: dict[str, TaskClient]) -> None:
        """They are kept whole, with what is hidden in them."""
        for name, caller in callers.items():
            created = tasks.create(args=[1], kwargs={"parameters": {"password": "hunter2"}}, delay_seconds=3600)
            answer = caller.patch(created["id"], {"args": [2]})
            if name == "owner":
                assert answer.is_success, answer.text
                continue
            assert (answer.status_code, answer.json()["errors"][0]["type"]) == (422, "hidden_value")
            assert caller.patch(created["id"], {"args": [1]}).is_success
            tasks.post(f"{created['id']}/cancel")
            assert caller.post(f"{created['id']}/retry", {"args": [2]}).status_code == 422

    def test_everyone_keeps_one_where_nothing_else_changes_or_sends_another(
        self, tasks: TaskClient, callers: dict[str, TaskClient]
    ) -> None:
        with cases() as case:
            for how in ("retry", "patch"):
                for name, caller in callers.items():
                    for changes in ({}, {"url": "https://other.example/", "password": "new"}):
                        with case(how, name, changes):
                            answer = self.send(caller, tasks, how, changes)
                            assert answer.is_success, answer.text
                            assert stored(answer.json()["id"]).kwargs == self.KWARGS | changes

    def test_nobody_else_finds_a_second_one_by_trying(self, tasks: TaskClient, callers: dict[str, TaskClient]) -> None:
        """Refused for a wrong guess alone, a right one would be told from it."""
        for name in ("key", "admin"):
            created = tasks.create(kwargs=self.KWARGS | {"secret_pin": "0137"}, delay_seconds=3600)
            for pin in ("0136", "0137"):
                answer = callers[name].patch(created["id"], {"kwargs": created["kwargs"] | {"secret_pin": pin}})
                assert (answer.status_code, answer.json()["errors"][0]["type"]) == (422, "hidden_value")
            one = {"kwargs": created["kwargs"] | {"pin": True}}  # which Python takes for equal to 1
            assert callers[name].patch(created["id"], one).status_code == 422

    def test_a_position_is_an_argument_like_a_name(self, tasks: TaskClient, callers: dict[str, TaskClient]) -> None:
        created = tasks.create(args=[1], kwargs={"steps": 2, "password": "hunter2"}, delay_seconds=3600)
        kept = {"steps": 2, "password": "***"}
        answer = callers["admin"].patch(created["id"], {"args": [2], "kwargs": kept})
        assert answer.json()["errors"][0]["type"] == "hidden_value"
        answer = callers["admin"].patch(created["id"], {"args": [], "kwargs": kept | {"duration": 1}})
        assert answer.status_code == 200, answer.text


def test_no_error_of_a_statement_holds_its_parameters(client: httpx.Client) -> None:
    fails = "SELECT 1 / 0 FROM tasks WHERE name = :name OR true"
    if ENGINE != "postgresql":  # to which 1 / 0 is NULL; and PostgreSQL would quote this row
        fails = "INSERT INTO users (username) VALUES (:name)"
    statement = text(fails)
    with SessionLocal() as db:
        new_task(db)
        with pytest.raises(DBAPIError) as raised:
            db.execute(statement, {"name": "hunter2"})
    assert "hunter2" not in str(raised.value)
    with SessionLocal() as db, pytest.raises(DBAPIError) as raised:
        db.execute(text("SELECT missing FROM tasks WHERE name = :name"), {"name": "hunter2"})
    assert "hunter2" not in describe(raised.value).message
