"""POST /tasks/: what is accepted, how it comes back, and what is refused in which words."""

import itertools
import json
from typing import Any

import httpx
import pytest

from app.catalogue import catalogue, find_type
from app.db.session import engine, group_engine
from app.services.tasks import new_rows
from tests.support.settings import settings
from tests.support.tables import cases
from tests.support.task_client import BODY, TASKS, TaskClient, module_client
from tests.support.tasks import LONG_RUNNING

client = module_client()

# CONTRACT: every one of them is there from the first release, null where nothing fills it yet.
FIELDS = {
    "name", "task_type", "celery_task_name", "args", "kwargs", "priority", "run_at", "delay_seconds", "expires_at",
    "timeout_seconds", "max_attempts", "retry_backoff_seconds", "tags", "metadata", "unique_key", "on_conflict",
    "depends_on", "webhook_url", "schedule_id", "workflow_id", "id", "celery_id", "user_id", "status", "queue", "progress", "progress_detail", "result", "error",
    "attempt", "worker", "version", "created_at", "updated_at", "started_at", "finished_at", "cancel_requested_at",
}  # fmt: skip
# What `apply_async` takes, what Celery writes into headers, and what a row keeps for itself.
MESSAGE = (
    "celery_id", "task_id", "queue", "exchange", "routing_key", "headers", "serializer", "compression", "link",
    "link_error", "callbacks", "errbacks", "chain", "chord", "group", "group_id", "root_id", "parent_id", "reply_to",
    "eta", "countdown", "expires", "time_limit", "soft_time_limit", "retries", "shadow", "ignore_result", "producer",
    "connection", "add_to_parent", "stamped_headers", "immutable", "options", "task_record", "task_generation", "task_signature",
    "generation", "due_at", "claim_id", "attempt", "worker", "status", "user_id", "id",
)  # fmt: skip
MARK = "rejected-value-4711"


def refused(answer: httpx.Response, *loc: Any) -> dict[str, Any]:
    """A 422 that names the field and repeats nothing of what was sent."""
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert MARK not in answer.text
    problem = dict(answer.json())
    if loc:
        assert list(loc) in [error["loc"][: len(loc)] for error in problem["errors"]], problem
    return problem


class TestAccepted:
    def test_answers_the_task_its_url_and_its_tag(self, tasks: TaskClient) -> None:
        answer = tasks.post(body=BODY | {"kwargs": {"param": "value"}})
        assert answer.status_code == 201
        task = answer.json()
        assert task.keys() >= FIELDS
        assert answer.headers["location"] == TASKS + task["id"]
        assert answer.headers["etag"] == f'"{task["version"]}"'
        read = tasks.http.get(answer.headers["location"], headers=tasks.headers)
        assert {**read.json(), "status": "pending"} == task
        assert (task["name"], task["user_id"]) == (BODY["name"], tasks.user["id"])
        assert (task["status"], task["attempt"], task["max_attempts"]) == ("pending", 0, 1)
        assert task["id"][14] == "7"
        assert task["created_at"].endswith("Z")
        nothing_yet = (
            *("unique_key", "on_conflict", "depends_on", "webhook_url", "schedule_id", "workflow_id"),
            *("worker", "error", "result", "started_at", "run_at"),
        )
        assert [task[name] for name in nothing_yet] == [None] * len(nothing_yet)

    def test_priorities_by_name_and_number(self, tasks: TaskClient) -> None:
        with cases() as case:
            for given, priority, queue in (
                ("low", "low", "low_priority"), (1, "low", "low_priority"),
                ("normal", "normal", "default"), (2, "normal", "default"),
                ("high", "high", "high_priority"), (3, "high", "high_priority"),
                ("critical", "critical", "high_priority"), (4, "critical", "high_priority"),
                ("urgent", "critical", "high_priority"),
            ):  # fmt: skip
                with case(given):
                    task = tasks.create(priority=given)
                    assert (task["priority"], task["queue"]) == (priority, queue)

    def test_json_comes_back_exactly(self, tasks: TaskClient) -> None:
        more = {
            "big": 10**30,
            "float": 1e22,
            "zero": -0.0,
            "tiny": 5e-324,
            "text": "数据 ✓ 👍 \0",
            "self_": [{}],
            "": None,
        }
        created = tasks.create(args=[1.5], kwargs=more)
        for task in (created, tasks.get(created["id"]).json(), tasks.get().json()[0]):
            assert json.dumps(task["kwargs"]) == json.dumps(more)
            assert json.dumps(task["args"]) == "[1.5]"

    def test_every_option(self, tasks: TaskClient) -> None:
        options = {
            "run_at": "2100-01-01T08:00:00+08:00", "expires_at": "2100-01-02T00:00:00Z", "timeout_seconds": 7.5,
            "max_attempts": 4, "retry_backoff_seconds": 2.5, "tags": ["夜", "b"], "metadata": {"order": [17, None]},
        }  # fmt: skip
        task = tasks.create(**options)
        assert {name: task[name] for name in options} == options | {"run_at": "2100-01-01T00:00:00Z"}

    def test_a_delay_is_counted_from_the_acceptance(self, tasks: TaskClient) -> None:
        task = tasks.create(delay_seconds=3600)
        assert task["delay_seconds"] == 3600
        assert task["run_at"][14:] == task["created_at"][14:]  # an hour later to the microsecond
        assert task["run_at"] > task["created_at"]


class TestRefused:
    def test_an_unknown_task(self, tasks: TaskClient) -> None:
        problem = refused(tasks.post(body=BODY | {"celery_task_name": MARK}), "body", "celery_task_name")
        assert problem["code"] == "unknown_task"

    def test_by_the_name_of_the_field(self, tasks: TaskClient) -> None:
        """Tasks that are not for clients, fields that do not work yet or are none, values out of range, missing fields."""
        wrong: dict[str, list[Any]] = {
            "celery_task_name": ["celery.backend_cleanup", "celery.chord_unlock", "celery.starmap", "celery.group", "os.system",
                                 "", "a\0", "app.tasks.common_tasks.purge_finished_tasks"],
            "depends_on": [MARK], "webhook_url": [MARK], MARK[:3]: [MARK],
            "name": ["", "x" * 201, "a\0b", None, 7], "task_type": ["\0"], "priority": [MARK, 0, 5, True, 2.5],
            "args": [{}, MARK], "kwargs": [[]], "tags": [[""], ["a\0"], MARK, ["x"] * 51],
            "metadata": [{"a": "\0"}, {"\0": 1}, []], "run_at": ["2026-01-01T00:00:00", MARK], "expires_at": [MARK],
            "delay_seconds": [-1, 1e300], "timeout_seconds": [0, -1], "max_attempts": [0, 101, 1.5],
            "retry_backoff_seconds": [-1],
        }  # fmt: skip
        bodies = [(field, BODY | {field: value}) for field, values in wrong.items() for value in values]
        bodies += [
            (field, {name: value for name, value in BODY.items() if name != field})
            for field in ("name", "task_type", "celery_task_name")
        ]
        with cases() as case:
            for field, body in bodies:
                with case(field, body.get(field, "missing")):
                    refused(tasks.post(body=body), "body", field)

    def test_a_field_of_the_message_that_brings_the_task_to_a_worker(self, tasks: TaskClient) -> None:
        with cases() as case:
            for field, value in itertools.product(MESSAGE, (MARK, None)):
                with case(field, value):
                    errors = refused(tasks.post(body=BODY | {field: value}))["errors"]
                    assert [(error["loc"], error["type"]) for error in errors] == [(["body", field], "extra_forbidden")]

    def test_wrong_arguments_name_the_parameter(self, tasks: TaskClient) -> None:
        wrong: tuple[tuple[list[Any], dict[str, Any], str | None], ...] = (
            ([], {}, "duration"),
            ([MARK], {}, "duration"),
            ([None], {}, "duration"),
            ([], {"duration": {"a": MARK}}, "duration"),
            ([1, MARK], {}, "steps"),
            ([MARK] * 20, {}, None),
            ([1], {"duration": MARK}, "duration"),
            ([1, 2, 3], {}, None),
            ([1], {"steps": "3"}, "steps"),
            ([1], {"steps": 1.5}, "steps"),
            ([1], {"task_id": MARK}, "task_id"),
            ([1], {"self": MARK}, "self"),
        )
        with cases() as case:
            for args, kwargs, named in wrong:
                with case(args, kwargs):
                    problem = refused(tasks.post(body=BODY | {"args": args, "kwargs": kwargs}))
                    assert problem["code"] == "invalid_arguments"
                    assert named is None or named in [error["loc"][2] for error in problem["errors"]]

    def test_times_that_contradict_each_other(self, tasks: TaskClient) -> None:
        start = {"run_at": "2100-01-01T00:00:00Z"}
        refused(tasks.post(body=BODY | start | {"delay_seconds": 1}))
        refused(tasks.post(body=BODY | start | {"expires_at": "2099-01-01T00:00:00Z"}))


def with_raw(raw: str) -> bytes:
    """A body that begins with this JSON."""
    rest = {name: value for name, value in BODY.items() if f'"{name}"' not in raw}
    return (raw + ", " + json.dumps(rest)[1:]).encode()


class TestHostileJson:
    def test_is_refused_cleanly(self, tasks: TaskClient) -> None:
        wrong = (
            '{"kwargs": {"a": NaN}', '{"kwargs": {"a": -Infinity}', '{"kwargs": {"a": 1e999}',
            '{"kwargs": {"a": "\\ud800"}', '{"kwargs": {"\\udfff": 1}', '{"name": "\\ud800"', '{"tags": ["\\ud800"]',
            '{"metadata": {"a": "\\ud800"}', '{"metadata": {"a": NaN}', '{"\\ud800": 1',
            '{"kwargs": {"a": ' + "[" * 300 + "]" * 300 + "}",
            '{"kwargs": {"a": ' + "[" * 100_000 + "]" * 100_000 + "}",
            '{"metadata": {"a": ' + "[" * 300 + "]" * 300 + "}",
            '{"kwargs": {"a": ' + "9" * 5000 + "}", '{"metadata": {"a": ' + "9" * 5000 + "}",
            '{"args": [' + "9" * 5000 + "]", '{"delay_seconds": ' + "9" * 400,
            '{"run_at": "0001-01-01T00:00:00+23:59"', '{"run_at": "9999-12-31T23:59:59-23:59"',
            '{"expires_at": "9999-12-31T23:59:59-23:59"', '{"run_at": 1e300', '{"run_at": -99999999999999',
            '{"kwargs": ',
        )  # fmt: skip
        no_objects = (b"", b"null", b"[]", b"7", b'"x"', b"{", b"\xff\xfe", b"{'a': 1}")
        with cases() as case:
            for content in (*map(with_raw, wrong), *no_objects):
                with case(content[:34]):
                    answer = tasks.request("POST", content=content, headers={"Content-Type": "application/json"})
                    assert answer.status_code in {400, 422}, answer.text[:300]
                    assert answer.headers["content-type"] == "application/problem+json"
                    assert len(answer.content) < 5000
                    assert tasks.get().json() == []

    def test_what_is_accepted_can_be_read_and_listed(self, tasks: TaskClient) -> None:
        with cases() as case:
            for number, raw in enumerate((
                '{"kwargs": {"a": ' + "9" * 4000 + "}", '{"metadata": {"a": ' + "9" * 4000 + "}",
                '{"metadata": {"a": 1e308, "b": 5e-324}', '{"kwargs": {"a": ' + "[" * 60 + "]" * 60 + "}",
                '{"run_at": "9999-12-31T23:59:59Z"', '{"expires_at": "9999-12-31T23:59:59.999999Z"',
                '{"run_at": "0001-01-01T00:00:00Z"', '{"kwargs": {"a": 1, "a": 2}',
            ), 1):  # fmt: skip
                with case(raw[:34]):
                    headers = {"Content-Type": "application/json"}
                    answer = tasks.request("POST", content=with_raw(raw), headers=headers)
                    assert answer.status_code == 201, answer.text[:300]
                    assert tasks.get(answer.json()["id"]).status_code == 200
                    assert len(tasks.get().json()) == number


def test_types_tell_what_may_be_created(tasks: TaskClient) -> None:
    types = {kind["celery_task_name"]: kind for kind in tasks.get("types").json()}
    assert not [name for name in types if name.startswith("celery.") or "purge" in name]
    kind = types[LONG_RUNNING]
    assert kind.keys() >= {"summary", "description", "parameters", "default_queue", "time_limit"}
    assert kind["parameters"]["required"] == ["duration"]
    assert kind["parameters"]["properties"].keys() == {"duration", "steps"}
    assert (kind["default_queue"], kind["parameters"]["additionalProperties"]) == ("default", True)
    assert tasks.http.get(TASKS + "types").status_code == 401


def test_types_tell_the_time_limit_in_force(tasks: TaskClient) -> None:
    named = {name: kind.time_limit for name, kind in catalogue().items() if kind.time_limit}
    with cases() as case:
        for variables, shown in (
            ({}, 86_400),
            ({"TASK_TIME_LIMIT_SECONDS": "60"}, 60),
            ({"TASK_TIME_LIMIT_SECONDS": "0"}, None),
        ):
            with case(variables), settings(variables):
                kinds = tasks.get("types").json()
                limits = {kind["celery_task_name"]: kind["time_limit"] for kind in kinds}
                assert limits == {name: named.get(name, shown) for name in limits}
                assert limits[LONG_RUNNING] == shown


class TestTheCatalogue:
    @pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "one"}], ids=["plain", "with a key"])
    def test_is_asked_while_no_connection_is_held(
        self, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
    ) -> None:
        """The first look imports every task: the server would end a transaction that sat idle through it."""
        held = []

        def note(name: str) -> Any:
            held.extend(each.pool.checkedout() for each in (engine(), group_engine()))  # type: ignore[attr-defined]
            return find_type(name)

        monkeypatch.setattr(new_rows, "find_type", note)
        assert tasks.post(body=BODY, headers=headers).status_code == 201
        assert held[:2] == [0, 0]
