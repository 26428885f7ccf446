"""`unique_key` in a batch, with an `Idempotency-Key`, against quotas: all of it or nothing."""

from typing import Any
from uuid import UUID

import pytest

from app.core.config import get_settings
from app.core.setting_fields import SettingFields
from app.db.session import SessionLocal
from app.services.execution import attempts
from app.services.task_service import task_service
from app.services.tasks import task_creation
from app.services.tasks.quotas import Quotas
from tests.support.task_client import BODY, TaskClient, module_client
from tests.support.tasks import claim
from tests.support.unique_keys import ANOTHER_TASK, KEY, answered, batch, created, ids, keyed, taken, want

client = module_client()
LIMIT = "one-at-a-time"
RESULT = SettingFields.model_fields["max_result_bytes"].default


def placed(answer: Any) -> list[str]:
    assert answer.status_code == 201, answer.text
    return [task["id"] for task in answer.json()["tasks"]]


def set_limit(**options: Any) -> None:
    with SessionLocal() as db:
        task_service.put_limit(db, LIMIT, **options)


class TestABatch:
    def test_has_returned_replaced_and_new_tasks_at_their_places(self, tasks: TaskClient) -> None:
        kept, replaced = (created(keyed(tasks, unique_key=key)) for key in ("kept", "replaced"))
        answer = batch(
            tasks,
            want(None, name="plain"),
            want("replaced", "replace", name="new"),
            want("z", name="z"),
            want("kept", "return", name="ignored"),
            want("a", "return", name="a"),
            want(None, name="last"),
        )
        first, second, third, fourth, fifth, sixth = placed(answer)
        assert (second, fourth) == (replaced, kept)
        names = [task["name"] for task in answer.json()["tasks"]]
        assert [names[0], names[1], names[2], names[4], names[5]] == ["plain", "new", "z", "a", "last"]
        assert len({first, second, third, fourth, fifth, sixth}) == 6
        assert ids(tasks) == {first, second, third, fourth, fifth, sixth}
        assert {task_id: tasks.get(task_id).json() for task_id in placed(answer)} == {
            task["id"]: task for task in answer.json()["tasks"]
        }

    @pytest.mark.parametrize("last", [want(KEY), want(KEY, "replace", **ANOTHER_TASK)], ids=["rejected", "other"])
    def test_with_one_taken_key_does_nothing(self, tasks: TaskClient, last: dict[str, Any]) -> None:
        holder, other = created(keyed(tasks)), created(keyed(tasks, unique_key="other"))
        answer = batch(tasks, want(None), want("other", "replace", name="new"), want("free"), last)
        assert taken(answer) == holder
        assert answer.json()["detail"].startswith("tasks[3]: ")
        assert ids(tasks) == {holder, other}
        assert tasks.get(other).json()["version"] == 1

    def test_counts_a_key_that_stands_twice_as_taken(self, tasks: TaskClient) -> None:
        answer = batch(tasks, want(KEY, name="first"), want(None), want(KEY))
        assert taken(answer) is None
        assert answer.json()["detail"].startswith("tasks[2]: tasks[0] ")
        assert ids(tasks) == set()

    def test_returns_the_first_of_two_with_the_same_key(self, tasks: TaskClient) -> None:
        answer = batch(tasks, want(KEY, name="first"), want(None), want(KEY, "return", name="second"))
        first, plain, again = placed(answer)
        assert first == again != plain
        assert answer.json()["tasks"][0] == answer.json()["tasks"][2] == tasks.get(first).json()
        assert tasks.get(first).json()["name"] == "first"

    @pytest.mark.parametrize("held", [False, True])
    def test_replaces_the_first_of_two_with_the_same_key(self, tasks: TaskClient, held: bool) -> None:
        holder = created(keyed(tasks)) if held else None
        answer = batch(tasks, want(KEY, "return", name="first"), want(KEY, "replace", name="second"))
        first, again = placed(answer)
        assert first == again == (holder or first)
        task = tasks.get(first).json()
        assert (task["name"], task["version"]) == ("second", 1 + held)
        assert ids(tasks) == {first}

    def test_does_not_replace_within_itself_by_another_task(self, tasks: TaskClient) -> None:
        assert taken(batch(tasks, want(KEY), want(KEY, "replace", **ANOTHER_TASK))) is None
        assert ids(tasks) == set()

    def test_that_would_answer_more_than_its_bound_is_refused(self, tasks: TaskClient) -> None:
        wanted = [want(f"key {number}", "return") for number in range(20)]
        for task_id in placed(batch(tasks, *wanted)):
            with SessionLocal() as db:
                task = task_service.get_task(db, UUID(task_id))
                attempts.report_progress(db, task.id, claim(db, task).attempt, 1, "x" * (RESULT - 10))
                db.commit()
        answer = batch(tasks, *wanted, want(None))
        assert (answer.status_code, answer.json()["code"]) == (409, "kept_tasks_too_large")
        assert tasks.get("count").json()["total"] == 20

    @pytest.mark.parametrize("on_conflict", ["return", "replace"])
    def test_shows_a_task_that_a_later_one_of_it_cancels_by_its_limit(
        self, tasks: TaskClient, on_conflict: str
    ) -> None:
        """As if the requests came one after the other."""
        set_limit(concurrency=1, on_excess="cancel_oldest")
        oldest = created(keyed(tasks, limit=LIMIT))
        answer = batch(tasks, want(KEY, on_conflict, limit=LIMIT), {"limit": LIMIT})
        assert answer.status_code == 201, answer.text
        first, second = answer.json()["tasks"]
        assert (first["id"], first["status"], second["status"]) == (oldest, "revoked", "pending")

    def test_that_cancels_a_task_before_it_asks_for_its_key_is_refused(self, tasks: TaskClient) -> None:
        """One after the other, the key would be free by then. Nothing that was accepted runs for this request."""
        set_limit(concurrency=1, on_excess="cancel_oldest")
        oldest = created(keyed(tasks, limit=LIMIT))
        refused = batch(tasks, {"limit": LIMIT}, want(KEY, "return", limit=LIMIT))
        assert taken(refused) == oldest
        assert "send this one before it, or alone" in refused.text
        assert tasks.get(oldest).json()["status"] == "pending"


class TestWithAnIdempotencyKey:
    HEADERS = {"Idempotency-Key": "once"}  # noqa: RUF012

    @pytest.mark.parametrize("on_conflict", ["reject", "return", "replace"])
    def test_a_repetition_answers_the_first_task(self, tasks: TaskClient, on_conflict: str) -> None:
        body = BODY | want(KEY, on_conflict)
        first = created(tasks.post(body=body, headers=self.HEADERS))
        again = tasks.post(body=body, headers=self.HEADERS)
        assert (created(again), again.headers["idempotency-replayed"]) == (first, "true")
        assert again.json()["version"] == 1  # not replaced again

    def test_a_repetition_after_its_end_creates_nothing(self, tasks: TaskClient) -> None:
        body = BODY | want(KEY)
        first = created(tasks.post(body=body, headers=self.HEADERS))
        tasks.post(f"{first}/cancel")
        other = created(keyed(tasks))
        assert created(tasks.post(body=body, headers=self.HEADERS)) == first
        assert ids(tasks) == {first, other}

    @pytest.mark.parametrize(("on_conflict", "version"), [("return", 1), ("replace", 2)])
    def test_a_task_that_was_there_is_answered_and_repeated(
        self, tasks: TaskClient, on_conflict: str, version: int
    ) -> None:
        holder = created(keyed(tasks))
        body = BODY | want(KEY, on_conflict, name="new")
        first = answered(tasks.post(body=body, headers=self.HEADERS))
        again = tasks.post(body=body, headers=self.HEADERS)
        assert (first["id"], first["version"]) == (holder, version)
        assert again.headers["idempotency-replayed"] == "true"
        assert again.json() == first

    def test_a_refused_request_does_not_use_the_key_up(self, tasks: TaskClient) -> None:
        holder = created(keyed(tasks))
        body = BODY | want(KEY)
        assert taken(tasks.post(body=body, headers=self.HEADERS)) == holder
        tasks.post(f"{holder}/cancel")
        assert created(tasks.post(body=body, headers=self.HEADERS)) != holder

    def test_a_repeated_batch_answers_the_same_places(self, tasks: TaskClient) -> None:
        created(keyed(tasks))
        wanted = [want(KEY, "return"), want(None), want("a"), want("a", "return")]
        first = batch(tasks, *wanted, headers=self.HEADERS)
        again = batch(tasks, *wanted, headers=self.HEADERS)
        assert placed(first) == placed(again)
        assert again.headers["idempotency-replayed"] == "true"

    def test_another_conflict_is_another_body(self, tasks: TaskClient) -> None:
        tasks.post(body=BODY | want(KEY), headers=self.HEADERS)
        answer = tasks.post(body=BODY | want(KEY, "return"), headers=self.HEADERS)
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")


class TestQuotas:
    def test_a_returned_task_counts_nothing(self, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(get_settings(), "quota_queued_tasks", 2)
        holder = created(keyed(tasks))
        tasks.create()
        for _ in range(3):
            assert answered(keyed(tasks, "return"))["id"] == holder
            assert answered(keyed(tasks, "replace"))["id"] == holder
            assert taken(keyed(tasks)) == holder
        assert tasks.post(body=BODY).json()["code"] == "queued_tasks_quota"
        assert keyed(tasks, unique_key="new").json()["code"] == "queued_tasks_quota"

    def test_a_refused_one_gives_its_quota_back(self, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(get_settings(), "quota_queued_tasks", 3)
        holder = created(keyed(tasks))
        for _ in range(3):
            assert taken(batch(tasks, want("a"), want("b"), want(KEY))) == holder
        assert len(placed(batch(tasks, want("a"), want("b")))) == 2

    def test_a_replacement_counts_the_bytes_that_it_adds(
        self, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(get_settings(), "quota_queued_bytes", 1000)
        created(keyed(tasks, kwargs={"x": "y" * 600}))
        answered(keyed(tasks, "replace", kwargs={"x": "y" * 800}))
        answered(keyed(tasks, "replace", kwargs={"x": "y" * 100}))
        refused = keyed(tasks, "replace", kwargs={"x": "y" * 1100})
        assert (refused.status_code, refused.json()["code"]) == (429, "queued_bytes_quota")

    def test_a_replacement_is_counted_once_by_a_process_that_knows_nothing_of_the_user(
        self, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(get_settings(), "quota_queued_bytes", 1000)
        created(keyed(tasks, kwargs={"x": "y" * 80}))
        monkeypatch.setattr(task_creation, "quotas", Quotas())
        answered(keyed(tasks, "replace", kwargs={"x": "y" * 600}))

    def test_a_replacement_that_is_undone_counts_nothing(
        self, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(get_settings(), "quota_queued_bytes", 1000)
        set_limit(concurrency=1, on_excess="reject")
        created(tasks.post(body=BODY | {"limit": LIMIT}))
        created(keyed(tasks))
        monkeypatch.setattr(task_creation, "quotas", Quotas())
        refused = batch(tasks, want(KEY, "replace", kwargs={"x": "y" * 500}), {"limit": LIMIT})
        assert (refused.status_code, refused.json()["code"]) == (409, "limit_reached")
        tasks.create(kwargs={"x": "y" * 700})
