"""Of a task's fields only what the OpenAPI document offers is taken: pydantic by itself would guess more."""

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from app.core.validation_errors import MAX_ERRORS
from app.models.task import TaskPriority
from app.schemas.task import TaskBatchCreate, TaskCreate
from app.schemas.task_changes import TaskPatch, TaskRetry
from app.schemas.values import Moment
from tests.support.tables import check_rows

NEEDED: dict[str, Any] = {"name": "n", "task_type": "t", "celery_task_name": "c"}


def refusal(model: type[TaskCreate | TaskBatchCreate | TaskPatch | TaskRetry], **fields: Any) -> str:
    """The type of the first error."""
    with pytest.raises(ValidationError) as caught:
        model(**fields)
    error, *_ = caught.value.errors()
    return error["type"]


class TestMoment:
    def test_is_no_number(self) -> None:
        """Seconds or milliseconds since 1970? pydantic guesses by their size."""

        def check(number: Any) -> None:
            assert refusal(TaskCreate, **NEEDED, run_at=number) in {"datetime_parsing", "timezone_aware"}

        check_rows(check, [0, 0.5, 1_900_000_000, "0", "0.5", "1900000000", "1e9", True, "2030-01-01"])

    def test_is_a_time_with_an_offset(self) -> None:
        texts = ("2030-01-01T08:00:00Z", "2030-01-01T10:00:00+02:00", "2030-01-01t08:00:00z")
        assert {*map(TypeAdapter(Moment).validate_python, texts)} == {datetime(2030, 1, 1, 8, tzinfo=UTC)}

    def test_python_callers_give_a_datetime(self) -> None:
        moment = datetime(2030, 1, 1, tzinfo=UTC)
        assert TaskCreate(**NEEDED, run_at=moment).run_at == moment


class TestExpiry:
    def test_is_later_than_the_start(self) -> None:
        """At that very moment the task is revoked, and can never run."""
        start = datetime(2030, 1, 1, tzinfo=UTC)
        assert refusal(TaskCreate, **NEEDED, run_at=start, expires_at=start) == "expires_before_start"
        later = start + timedelta(microseconds=1)
        assert TaskCreate(**NEEDED, run_at=start, expires_at=later).expires_at == later


class TestNumbers:
    def test_are_neither_texts_nor_truths(self) -> None:
        def check(field: str) -> None:
            assert [refusal(TaskCreate, **NEEDED, **{field: value}) for value in (True, "1", "1.0")] == [
                "number_type"
            ] * 3

        check_rows(check, ["delay_seconds", "timeout_seconds", "retry_backoff_seconds", "max_attempts"])
        assert refusal(TaskPatch, progress=False) == "number_type"

    def test_a_whole_float_is_whole(self) -> None:
        """JSON knows one kind of number."""
        assert TaskPatch(progress=0).progress == 0
        task = TaskCreate(**NEEDED, max_attempts=3.0, priority=3.0)
        assert (task.max_attempts, task.priority) == (3, TaskPriority.HIGH)


class TestUniqueKey:
    def test_has_one_of_three_conflicts_which_require_it(self) -> None:
        def check(on_conflict: str) -> None:
            task = TaskCreate.model_validate(NEEDED | {"unique_key": "a key", "on_conflict": on_conflict})
            assert (task.unique_key, task.on_conflict) == ("a key", on_conflict)
            for key in ({}, {"unique_key": None}):
                assert refusal(TaskCreate, **NEEDED, **key, on_conflict=on_conflict) == "on_conflict_without_key"

        check_rows(check, ["reject", "return", "replace"])
        assert TaskCreate(**NEEDED, unique_key="a key").on_conflict == "reject"
        assert refusal(TaskCreate, **NEEDED, unique_key="a key", on_conflict="ignore") == "enum"

    def test_is_a_short_text(self) -> None:
        def check(key: Any, kind: str) -> None:
            assert refusal(TaskCreate, **NEEDED, unique_key=key) == kind

        check_rows(check, [
            ("", "string_too_short"), ("x" * 201, "string_too_long"), ("a\0b", "string_nul"), (17, "string_type"),
        ])  # fmt: skip
        assert TaskCreate(**NEEDED, unique_key="👍" * 200).unique_key == "👍" * 200


class TestTheDocument:
    @pytest.mark.parametrize("model", [TaskPatch, TaskRetry])
    def test_offers_null_where_it_is_taken_and_nowhere_else(self, model: type[TaskPatch | TaskRetry]) -> None:
        schema = model.model_json_schema()["properties"]
        nullable = {name for name, field in schema.items() if {"type": "null"} in field.get("anyOf", [])}
        assert nullable == model.nullable - {"progress_detail", "result"}  # these are any JSON
        assert all(model(**{name: None}).model_fields_set == {name} for name in model.nullable)
        assert all(refusal(model, **{name: None}) == "null_not_allowed" for name in schema.keys() - model.nullable)

    def test_lets_a_retry_name_all_that_a_submit_names(self) -> None:
        assert TaskRetry.model_fields.keys() == TaskCreate.model_fields.keys()
        assert TaskRetry.nullable <= {
            name for name, field in TaskCreate.model_fields.items() if type(None) in get_args(field.annotation)
        }

    def test_keeps_the_limits_of_numbers(self) -> None:
        schema = TaskCreate.model_json_schema()["properties"]["timeout_seconds"]
        assert schema["anyOf"][0] == {"type": "number", "exclusiveMinimum": 0, "maximum": 366 * 24 * 3600}


class TestBatch:
    def test_errors_end_with_the_first_tasks_that_have_enough(self) -> None:
        with pytest.raises(ValidationError) as refused:
            TaskBatchCreate(tasks=[NEEDED, {}] * 500)
        places = [each["loc"][1] for each in refused.value.errors()]
        assert MAX_ERRORS <= len(places) <= MAX_ERRORS + len(NEEDED)
        assert places == sorted(places)
        assert {place % 2 for place in places} == {1}

    def test_an_error_is_that_of_a_task_alone(self) -> None:
        wrong = {**NEEDED, "tags": ["x" * 101, "{type}"], "priority": "soon", "args": [float("nan")], "more": 1}
        with pytest.raises(ValidationError) as alone:
            TaskCreate(**wrong)
        with pytest.raises(ValidationError) as among:
            TaskBatchCreate(tasks=[NEEDED, wrong])
        expected = [(("tasks", 1, *each["loc"]), each["msg"], each["type"]) for each in alone.value.errors()]
        assert [(each["loc"], each["msg"], each["type"]) for each in among.value.errors()] == expected

    def test_its_size_is_looked_at_first(self) -> None:
        for tasks, kind in (([], "too_short"), ([NEEDED] * 1001, "too_long"), ("x", "list_type")):
            assert refusal(TaskBatchCreate, tasks=tasks) == kind
