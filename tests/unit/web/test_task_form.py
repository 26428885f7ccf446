"""The form of a new task."""

import enum
import json
from typing import Any

import pytest

from app.catalogue import TaskType, type_of
from app.errors import InvalidTask
from app.messaging.application import celery_app
from app.schemas.task import TASK, TaskRead
from app.web.task_form import body_of, fields_of, task_of, typed_of
from tests.support.tables import check_rows


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@pytest.fixture(scope="module")
def kind() -> TaskType:
    @celery_app.task(bind=True, name="tests.form_of_a_task", lazy=False)
    def paint(
        self: Any, size: int, title: str = "x", *, colour: Colour = Colour.RED, wet: bool = False, ratio: float | None = None, points: list[int] = []  # noqa: B006
    ) -> None:  # fmt: skip
        """Paint."""

    found = type_of(celery_app.tasks["tests.form_of_a_task"])
    del celery_app.tasks["tests.form_of_a_task"]
    return found


MOST = 100  # values


def test_each_parameter_is_a_field_of_its_kind(kind: TaskType) -> None:
    shown = {
        field.name: (field.kind, field.required, field.default, tuple(field.choices)) for field in fields_of(kind, {})
    }
    assert shown == {
        "size": ("number", True, "", ()),
        "title": ("text", False, "x", ()),
        "colour": ("choice", False, "red", ("red", "blue")),
        "wet": ("choice", False, "false", ("true", "false")),
        "ratio": ("number", False, "", ()),
        "points": ("json", False, "[]", ()),
    }


def test_what_was_typed_is_a_task(kind: TaskType) -> None:
    form = {
        "name": "n", "task_type": "t", "tags": "a, b ,", "delay_seconds": "", "max_attempts": "3",
        "kwargs.size": "4", "kwargs.title": "true", "kwargs.colour": "blue", "kwargs.wet": "true", "kwargs.points": "[1, 2]",
    }  # fmt: skip
    assert task_of(kind, form, MOST) == {
        "celery_task_name": "tests.form_of_a_task", "name": "n", "task_type": "t", "tags": ["a", "b"], "max_attempts": 3,
        "kwargs": {"size": 4, "title": "true", "colour": "blue", "wet": True, "points": [1, 2]},
    }  # fmt: skip


def test_what_is_no_json_is_told_by_its_field(kind: TaskType) -> None:
    with pytest.raises(InvalidTask) as refused:
        task_of(kind, {"kwargs.size": "four", "kwargs.points": "[1,", "metadata": "{"}, MOST)
    assert [error["loc"] for error in refused.value.errors] == [["metadata"], ["kwargs", "size"], ["kwargs", "points"]]


def repeated(kind: TaskType, **fields: Any) -> dict[str, str]:
    task = {
        **TASK,
        "metadata_": {},
        "args": [],
        "kwargs": {},
        "delay_seconds": 60,
        "celery_task_name": kind.celery_task_name,
    }
    return typed_of(TaskRead.model_validate({**task, **fields}), kind)


def test_a_task_that_is_repeated_fills_the_form_and_does_not_wait_again(kind: TaskType) -> None:
    typed = repeated(kind, args=[4], kwargs={"title": "a", "points": [1]}, tags=["x", "y"])
    given = {name: value for name, value in typed.items() if name.startswith("kwargs.")}
    assert given == {"kwargs.size": "4", "kwargs.title": "a", "kwargs.points": "[1]"}
    assert (typed["tags"], typed.get("delay_seconds"), typed.get("by")) == ("x, y", None, None)
    assert "delay_seconds" not in typed["json"]


def test_what_the_form_cannot_say_stands_in_the_json_alone(kind: TaskType) -> None:
    def check(fields: dict[str, Any]) -> None:
        typed = repeated(kind, **fields)
        assert typed["by"] == "json"
        written = json.loads(typed["json"])
        assert {name: written[name] for name in fields} == fields

    check_rows(check, [
        {"kwargs": {"size": 1, "customer": "ACME"}},
        {"args": [1, "x", "red", True, 0.5, [], "one more"]},
        {"kwargs": {"size": 1, "ratio": None}},
        {"kwargs": {"size": 1, "title": ""}},
    ])  # fmt: skip


def test_several_positional_arguments_are_no_field() -> None:
    @celery_app.task(bind=True, name="tests.form_of_several", lazy=False)
    def several(self: Any, first: int, *others: int) -> None: ...

    found = type_of(celery_app.tasks["tests.form_of_several"])
    del celery_app.tasks["tests.form_of_several"]
    assert [field.name for field in fields_of(found, {})] == ["first"]
    assert repeated(found, args=[1, 2, 3])["by"] == "json"
    assert repeated(found, args=[1]).get("by") is None


def test_a_task_as_json_is_an_object() -> None:
    def check(typed: str) -> None:
        with pytest.raises(InvalidTask):
            body_of(typed, MOST)

    check_rows(check, ["", "{", "[]", "1", "null"])
