"""A task as if it had been typed into its form: what the form can say comes back as it was."""

import json
from typing import Any

from app.catalogue import TaskType
from app.schemas.task import TASK, TaskRead
from app.web.task_form.fields import DEFAULTS, MAX_INPUTS, fields_of
from app.web.task_form.values import Filled, Reading, editable_json, filled_with, typed_of
from tests.support.amounts import amount
from tests.support.form_tasks import INVOICE, PAINT, kind_of
from tests.support.properties import given, settings, st
from tests.support.tables import check_rows


def filled(kind: TaskType = INVOICE, **kwargs: Any) -> Filled:
    return filled_with({"celery_task_name": kind.celery_task_name, "kwargs": kwargs}, kind)


def read(typed: dict[str, str], kind: TaskType = INVOICE) -> dict[str, Any]:
    return Reading(kind, typed).checked()


def repeated(kind: TaskType, **fields: Any) -> Filled:
    task = {
        **TASK,
        "metadata_": {},
        "args": [],
        "kwargs": {},
        "delay_seconds": 60,
        "celery_task_name": kind.celery_task_name,
    }
    return typed_of(TaskRead.model_validate({**task, **fields}), kind)


class TestARepeatedTask:
    def test_fills_the_form_and_does_not_wait_again(self) -> None:
        typed = repeated(PAINT, args=[4], kwargs={"title": "a", "points": [1]}, tags=["x", "y"]).typed
        given = {name: value for name, value in typed.items() if name.startswith("kwargs.")}
        points = {"kwargs.points": "[]", "kwargs.points.0": "1"}
        assert given == {"kwargs.size": "4", "kwargs.title": "a", **points}
        assert (typed["tags"], typed.get("delay_seconds"), typed["by"]) == ("x, y", None, "form")
        assert "delay_seconds" not in typed["json"]

    def test_stands_in_json_alone_where_the_form_cannot_say_it(self) -> None:
        def check(fields: dict[str, Any], lost: list[str]) -> None:
            found = repeated(PAINT, **fields)
            assert (found.typed["by"], found.lost) == ("json", lost)
            written = json.loads(found.typed["json"])
            assert {name: written[name] for name in fields} == fields

        check_rows(check, [
            ({"kwargs": {"size": 1, "customer": "ACME"}}, ["kwargs.customer"]),
            ({"args": [1, "x", "red", True]}, ["args"]),
            ({"args": [1], "kwargs": {"size": 1}}, ["args"]),
            ({"kwargs": {"size": 1, "ratio": None}}, ["kwargs.ratio"]),
            ({"kwargs": {"size": 1, "title": ""}}, ["kwargs.title"]),
            ({"kwargs": {"size": "1"}}, ["kwargs.size"]),
            ({"kwargs": {"size": True}}, ["kwargs.size"]),
            ({"kwargs": {"title": "a\rb"}}, ["kwargs.title"]),
            ({"kwargs": {"title": "a\0b"}}, ["kwargs.title"]),
            ({"tags": ["a,b"]}, ["tags"]),
        ])  # fmt: skip

    def test_of_several_positional_arguments_has_no_field_for_them(self) -> None:
        def several(self: Any, first: int, *others: int) -> None: ...

        kind = kind_of(several)
        assert [field.label for field in fields_of(kind, {}).arguments] == ["first"]
        assert repeated(kind, args=[1, 2, 3]).typed["by"] == "json"
        assert repeated(kind, args=[1]).typed["by"] == "form"


class TestModelsAndLists:
    def test_have_their_own_fields(self) -> None:
        typed = filled(to={"street": "x"}, lines=[{"article": "a", "notes": ["n"]}], also={}).typed
        assert typed == {
            "kwargs.to": "{}", "kwargs.to.street": "x", "kwargs.lines": "[]", "kwargs.lines.0": "{}",
            "kwargs.lines.0.article": "a", "kwargs.lines.0.notes": "[]", "kwargs.lines.0.notes.0": "n", "kwargs.also": "{}",
        }  # fmt: skip

    def test_are_json_as_deep_as_their_fields_cannot_say_them(self) -> None:
        def check(value: dict[str, Any], where: str) -> None:
            found = filled(**value)
            assert found.lost == []
            assert [name for name, text in found.typed.items() if len(text) > 2] == [where]
            assert read(found.typed)["kwargs"] == {"to": {}, "lines": []} | value

        check_rows(check, [
            ({"to": {"street": None}}, "kwargs.to"),
            ({"to": {"road": 1}}, "kwargs.to"),
            ({"to": None}, "kwargs.to"),
            ({"lines": [{"notes": [""]}]}, "kwargs.lines.0.notes"),
            ({"lines": [{}, {"sent_to": {"code": "1"}}]}, "kwargs.lines.1.sent_to"),
            ({"lines": [None]}, "kwargs.lines.0"),
            ({"lines": {"a": 1}}, "kwargs.lines"),
        ])  # fmt: skip

    def test_are_json_where_they_have_more_inputs_than_a_form(self) -> None:
        lines = [{"article": "x"}] * MAX_INPUTS
        found = filled(customer="ACME", lines=lines, also={"street": "x"})
        assert (found.lost, json.loads(found.typed["kwargs.lines"])) == ([], lines)
        assert found.typed["kwargs.also.street"] == "x"  # others have their fields

    def test_of_any_text_can_be_shown(self) -> None:
        found = filled(to={"street": "\ud800"}, customer="\ud800")
        assert found.lost == ["kwargs.customer"]
        assert read(found.typed)["kwargs"]["to"] == {"street": "\ud800"}
        "".join(found.typed.values()).encode()
        editable_json({"name": "\ud800"}).encode()


class TestOptions:
    def test_are_filled(self) -> None:
        task = {
            "name": "n", "task_type": "t", "priority": 3, "run_at": "2030-01-01T08:00:00Z", "expires_at": "2030-01-01T08:00:00+08:00",
            "metadata": {"a": [1]}, "tags": ["a", "b c"], "unique_key": "k", "on_conflict": "replace", "limit": "l", "limit_key": "x",
            "webhook_url": "https://example.com/",
            "timeout_seconds": 1.5, "max_attempts": 2, "retry_backoff_seconds": 5,
        }  # fmt: skip
        found = filled_with(task, INVOICE)
        assert found.lost == []
        again = read(found.typed)
        assert {name: again[name] for name in task} == task | {"priority": "high"}

    def test_that_say_what_holds_without_them_are_left_out(self) -> None:
        said = {"priority": "normal", "tags": [], "metadata": {}, "run_at": None, "on_conflict": "reject", "args": []}
        assert filled_with(said, INVOICE) == Filled()

    def test_that_the_form_does_not_know_are_lost(self) -> None:
        said = {
            "name": None,
            "depends_on": 5,
            "priority": 9,
            "max_attempts": "2",
            "kwargs": [],
            "metadata": None,
            "tags": "x",
        }
        assert filled_with(said, INVOICE).lost == ["kwargs", "name", "depends_on", "priority", "max_attempts", "tags"]


# What a browser can send: it sends no NUL, and the end of a line as both characters.
TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\r"), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
NUMBER = (
    st.integers().map(str) | st.floats(allow_nan=False, allow_infinity=False).map(str) | st.sampled_from(["", "1e3"])
)
# No browser sends a zone from such an input: one that was typed would be taken for the zone of a time.
NO_ZONE = TEXT.filter(lambda text: not text.endswith("Z"))
MOMENT = st.datetimes().map(lambda at: at.isoformat()[:16]) | st.sampled_from(["2030-01-01T00:00:30.5", "x"]) | NO_ZONE
TYPED = {
    "customer": TEXT, "to.street": TEXT, "to.code": NUMBER, "to.since": MOMENT, "lines.0.article": TEXT, "lines.3.notes.1": TEXT,
    "lines.3.notes.2": TEXT, "lines.3.parts.0.article": TEXT, "lines.3.sent_to": st.sampled_from(["", "{}"]), "lines": JSON.map(json.dumps),
    "lines.3.sent_to.code": NUMBER, "mode": st.sampled_from(["", "fast", "cheap", "***"]), "day": st.dates().map(str) | TEXT, "at": MOMENT,
    "remind": TEXT, "other": JSON.map(json.dumps) | st.just("***"), "either": JSON.map(json.dumps), "also": JSON.map(json.dumps),
    "also.street": TEXT, "ratio": NUMBER, "code": TEXT, "wet": st.sampled_from(["", "true", "false"]), "lines.3": JSON.map(json.dumps),
}  # fmt: skip
OF_OPTIONS = {
    "name": TEXT, "task_type": TEXT, "priority": st.sampled_from(["low", "normal", "critical"]), "tags": TEXT, "metadata": JSON.map(json.dumps),
    "run_at": MOMENT, "delay_seconds": NUMBER, "unique_key": TEXT, "on_conflict": st.sampled_from(["", "return", "reject"]), "limit": TEXT,
}  # fmt: skip
FORMS = st.fixed_dictionaries({}, optional={f"kwargs.{name}": typed for name, typed in TYPED.items()} | OF_OPTIONS)


def told(task: dict[str, Any]) -> str:
    """The task without what holds anyway, as JSON: 1 and 1.0 differ."""
    return json.dumps(
        {
            name: each
            for name, each in task.items()
            if name not in DEFAULTS or name == "kwargs" or each != DEFAULTS[name]
        },
        sort_keys=True,
    )


@settings(max_examples=amount(day=60, night=300))
@given(FORMS)
def test_whatever_was_typed_comes_back(form: dict[str, str]) -> None:
    task = read(form)
    found = filled_with(task, INVOICE)
    assert found.lost == []
    assert told(read(found.typed)) == told(task)


def test_spaces_that_the_form_takes_for_an_empty_input_are_lost() -> None:
    assert filled(day=" ").lost == ["kwargs.day"]


@settings(max_examples=amount(day=60, night=300))
@given(st.dictionaries(st.sampled_from([name for name in TYPED if "." not in name]), JSON, max_size=5))
def test_whatever_is_not_lost_comes_back(kwargs: dict[str, Any]) -> None:
    found = filled(**kwargs)
    kept = {name: value for name, value in kwargs.items() if f"kwargs.{name}" not in found.lost}
    assert told({"kwargs": read(found.typed)["kwargs"]}) == told({"kwargs": {"to": {}, "lines": []} | kept})
