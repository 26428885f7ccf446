"""The form of a new task: its fields, and what was typed into them as a task."""

import json
from typing import Any

import pytest

from app.errors import InvalidTask, UniqueKeyTaken
from app.schemas.task import TaskCreate
from app.web.task_form import values as values_module
from app.web.task_form.fields import MAX_INPUTS, OPTIONS, Field, changed_form, fields_of
from app.web.task_form.shapes import MAX_DEPTH
from app.web.task_form.values import Reading, body_of
from tests.support.form_tasks import INVOICE, PAINT, kind_of
from tests.support.tables import check_rows


def arguments(form: dict[str, str]) -> dict[str, Field]:
    return {each.name: each for each in fields_of(INVOICE, form).all() if each.name.startswith("kwargs.")}


def task_of(form: dict[str, str], kind: Any = INVOICE) -> Any:
    return Reading(kind, form).checked()


def given(**typed: str) -> dict[str, str]:
    return {f"kwargs.{name.replace('__', '.')}": value for name, value in typed.items()}


class TestFields:
    def test_each_parameter_has_that_of_its_kind(self) -> None:
        shown = {
            field.label: (field.kind.value, field.required, field.shape.default, tuple(field.choices))
            for field in fields_of(PAINT, {}).arguments
        }
        assert shown == {
            "size": ("number", True, "", ()),
            "title": ("text", False, "x", ()),
            "colour": ("choice", False, "red", ("red", "blue")),
            "wet": ("choice", False, "false", ("true", "false")),
            "ratio": ("number", False, "", ()),
            "points": ("list", False, "[]", ()),
        }

    def test_of_models_lists_and_times(self) -> None:
        found = arguments({})
        assert {name.removeprefix("kwargs."): field.kind.value for name, field in found.items()} == {
            "customer": "text", "to": "object", "to.street": "text", "to.code": "number", "to.since": "moment",
            "lines": "list", "mode": "choice", "day": "date", "at": "moment", "remind": "time", "other": "json",
            "either": "json", "also": "object", "ratio": "number", "code": "text", "wet": "choice",
        }  # fmt: skip
        assert [found[f"kwargs.{name}"].is_given for name in ("to", "lines", "also")] == [True, True, False]
        types = [found[f"kwargs.{name}"].input_type for name in ("customer", "to.code", "day", "at", "remind")]
        assert types == ["text", "number", "date", "datetime-local", "time"]

    def test_say_their_bounds(self) -> None:
        found = arguments({})
        shown = {name: (each.shape.attributes, each.shape.hint) for name, each in found.items()}
        assert shown["kwargs.to.code"] == ({"min": "1000", "max": "9999", "step": "1"}, "≥ 1000, < 10000")
        assert shown["kwargs.ratio"] == ({"min": "0", "max": "1", "step": "any"}, "> 0, ≤ 1")
        assert shown["kwargs.code"] == ({"minlength": "2", "title": "^[a-z]+$"}, "/^[a-z]+$/")
        assert shown["kwargs.to.street"] == ({"maxlength": "100"}, "")

    def test_are_described(self) -> None:
        found = arguments({})
        assert (found["kwargs.to"].shape.description, found["kwargs.to.street"].shape.description) == (
            "Where it goes.", "With the number.",
        )  # fmt: skip

    def test_of_a_list_are_its_rows_and_deep_ones_are_json(self) -> None:
        found = arguments({"kwargs.lines" + ".0.parts" * 3: "x", "kwargs.lines.7.article": "y"})
        assert [each.name for each in found["kwargs.lines"].fields] == ["kwargs.lines.0", "kwargs.lines.7"]
        assert found["kwargs.lines.7.article"].title == "lines #2 article"  # as it is counted on the page
        deepest = {each.name: each.kind.value for each in found.values() if each.shape.depth == MAX_DEPTH}
        part = "kwargs.lines.0.parts.0"
        assert deepest == {
            f"{part}.article": "text",
            f"{part}.notes": "json",
            f"{part}.parts": "json",
            f"{part}.sent_to": "json",
        }

    def test_that_a_browser_would_empty_are_texts(self) -> None:
        typed = {"day": "tomorrow", "at": "2030-01-01T00:00:00+08:00", "remind": "noon", "ratio": "half"}
        found = arguments(given(**typed))
        assert {found[f"kwargs.{name}"].input_type for name in typed} == {"text"}
        assert arguments(given(customer="one\ntwo"))["kwargs.customer"].has_lines

    def test_of_options_are_all_that_a_client_may_set(self) -> None:
        assert OPTIONS.keys() == TaskCreate.model_fields.keys() - {"celery_task_name", "args", "kwargs"}


class TestReading:
    def test_makes_a_task_of_what_was_typed(self) -> None:
        form = {
            "name": "n", "task_type": "t", "tags": "a, b ,", "delay_seconds": "", "max_attempts": "3", "run_at": "2030-01-02T03:04",
            "metadata": '{"a": 1}', "unique_key": "k", "on_conflict": "return", "kwargs.size": "4", "kwargs.title": "true",
            "kwargs.colour": "blue", "kwargs.wet": "true", "kwargs.points": "[]", "kwargs.points.3": "2", "kwargs.points.11": "1",
        }  # fmt: skip
        assert task_of(form, PAINT) == {
            "celery_task_name": PAINT.celery_task_name, "name": "n", "task_type": "t", "tags": ["a", "b"], "max_attempts": 3,
            "run_at": "2030-01-02T03:04:00Z", "metadata": {"a": 1}, "unique_key": "k", "on_conflict": "return",
            "kwargs": {"size": 4, "title": "true", "colour": "blue", "wet": True, "points": [2, 1]},
        }  # fmt: skip

    def test_takes_models_and_lists(self) -> None:
        form = given(
            customer="ACME", to__street="a\r\nb", to__since="2030-01-01T00:00:30", lines__0__article="x", lines__1="{}",
            lines__0__notes__5="n", lines__0__notes__6="", day="2030-01-01", remind="09:00", other='{"a": 1}', either='"x"',
        )  # fmt: skip
        assert task_of(form)["kwargs"] == {
            "customer": "ACME", "to": {"street": "a\nb", "since": "2030-01-01T00:00:30Z"},
            "lines": [{"article": "x", "notes": ["n"]}, {}], "day": "2030-01-01", "remind": "09:00", "other": {"a": 1}, "either": "x",
        }  # fmt: skip

    def test_leaves_out_what_is_empty_but_for_what_is_given(self) -> None:
        assert task_of({})["kwargs"] == {"to": {}, "lines": []}
        assert task_of(given(also="{}"))["kwargs"]["also"] == {}
        assert task_of({"kwargs.points": "[]"}, PAINT)["kwargs"] == {"points": []}
        assert task_of(given(also='{"street": null}'))["kwargs"]["also"] == {"street": None}  # any other text is JSON

    def test_keeps_a_secret_that_is_hidden(self) -> None:
        typed = given(customer="***", to="***", ratio="***", mode="***", other="***", at="***")
        read = task_of(typed)["kwargs"]
        assert [read[name] for name in ("customer", "to", "ratio", "mode", "other", "at")] == ["***"] * 6

    def test_tells_what_is_wrong_by_its_field(self) -> None:
        form = given(
            to__code="four", lines__2__article="", lines__2__notes__0="x", lines__2__parts="[1,", mode="x", other="{"
        )
        with pytest.raises(InvalidTask) as refused:
            task_of(form | {"metadata": "{", "delay_seconds": "NaN"})
        assert {".".join(map(str, error["loc"])): error["msg"].partition(":")[0] for error in refused.value.errors} == {
            "delay_seconds": "must be a number", "metadata": "is not JSON", "kwargs.to.code": "must be a whole number",
            "kwargs.lines.0.parts": "is not JSON", "kwargs.mode": "must be 'fast' or 'cheap'", "kwargs.other": "is not JSON",
        }  # fmt: skip

    def test_gives_by_position_what_has_no_name_for_callers(self) -> None:
        def by_position(self: Any, first: int, second: int = 2, /, third: int = 3) -> None: ...

        kind = kind_of(by_position)
        for typed, args, kwargs in (
            ({"first": "1", "third": "3"}, [1], {"third": 3}), ({"first": "1", "second": "2"}, [1, 2], {}), ({"third": "3"}, None, {"third": 3}),
        ):  # fmt: skip
            task = task_of(given(**typed), kind)
            assert (task.get("args"), task["kwargs"]) == (args, kwargs)


class TestPlaces:
    """Where an error is shown: `loc` as the service gives it, and the input that it is told at."""

    def test_of_errors(self) -> None:
        reading = Reading(
            INVOICE, given(lines__4__article="x", lines__9__notes__1="", lines__9__notes__3="n", either="1")
        )

        def check(place: list[str | int], name: str) -> None:
            error: Any = {"loc": place, "msg": "m", "type": "t"}
            assert reading.placed(InvalidTask(), [error]) == ({name: ["m"]}, [])

        check_rows(check, [
            (["kwargs", "lines", 0, "article"], "kwargs.lines.4.article"),
            (["kwargs", "lines", 1, "article"], "kwargs.lines.9.article"),
            (["kwargs", "lines", 1, "notes", 0], "kwargs.lines.9.notes.3"),
            (["kwargs", "lines"], "kwargs.lines"),
            (["kwargs", "to", "street"], "kwargs.to.street"),
            (["kwargs", "either", "int"], "kwargs.either"),
            (["tags", 3], "tags"),
        ])  # fmt: skip

    def test_of_what_concerns_no_field_stays_on_top(self) -> None:
        error: Any = {"loc": ["kwargs", "unknown"], "msg": "m", "type": "t"}
        assert Reading(INVOICE, {}).placed(InvalidTask(), [error]) == ({}, [error])

    def test_of_what_names_a_field_by_its_kind(self) -> None:
        reading = Reading(INVOICE, {})
        error: Any = {"loc": [], "msg": "m", "type": "start_given_twice"}
        assert reading.placed(InvalidTask(), [error]) == ({"run_at": ["m"]}, [])
        assert [*reading.placed(UniqueKeyTaken(), [])[0]] == ["unique_key"]


class TestButtons:
    def test_add_and_drop_rows(self) -> None:
        form, focus = changed_form({"kwargs.lines.4.article": "x"}, "add kwargs.lines")
        assert (focus, task_of(form)["kwargs"]["lines"]) == ("kwargs.lines.5", [{"article": "x"}, {}])
        form, focus = changed_form(form, "drop kwargs.lines.4")
        assert (focus, task_of(form)["kwargs"]["lines"]) == ("kwargs.lines", [{}])

    def test_give_and_leave_out_a_model(self) -> None:
        form, focus = changed_form({}, "give kwargs.also")
        assert (focus, task_of(form)["kwargs"]["also"]) == ("kwargs.also", {})
        form, _ = changed_form(form | {"kwargs.also.street": "x"}, "leave kwargs.also")
        assert form == {}

    def test_do_nothing_else(self) -> None:
        for deed in ("", "add", "add name", "sell kwargs.lines", "drop kwargs", "leave json", "add kwargs.x.y.z"):
            form, _ = changed_form({"name": "a", "kwargs.customer": "b"}, deed)
            task = task_of(form)
            assert (task["name"], task["kwargs"]["customer"]) == ("a", "b")


class TestBounds:
    """What a hostile client can have made of a form."""

    def test_of_rows(self) -> None:
        far = arguments(
            {"kwargs.lines.999999999.article": "x", "kwargs.lines.1000000000.article": "y", "kwargs.lines.-1": "{}"}
        )
        assert [each.name for each in far["kwargs.lines"].fields] == ["kwargs.lines.999999999"]
        assert task_of(changed_form({"kwargs.lines.999999999": "{}"}, "add kwargs.lines")[0])["kwargs"]["lines"] == [{}]
        names = ("kwargs.lines.01", "kwargs.lines.١", "kwargs.lines.+1", "kwargs.lines.", "kwargs.lines.1_0")
        assert arguments(dict.fromkeys(names, "x"))["kwargs.lines"].fields == ()

    def test_of_depth(self) -> None:
        form = {"kwargs.lines" + ".0.parts" * 5000: "x", "kwargs." + "." * 50_000: "x"}
        assert task_of(form)["kwargs"] == {"to": {}, "lines": []}

    def test_of_fields(self) -> None:
        form = {f"kwargs.lines.{row}": "{}" for row in range(1000)}
        found = fields_of(INVOICE, form)
        assert found.is_cut
        assert len([*found.all()]) < 3 * MAX_INPUTS
        with pytest.raises(InvalidTask) as refused:
            task_of(form)
        assert refused.value.errors[-1]["type"] == "too_many_fields"

    def test_of_values_in_all_fields_together(self, monkeypatch: pytest.MonkeyPatch) -> None:
        values = json.dumps([1] * 40)
        form = given(other=values, either=values)
        monkeypatch.setattr(values_module, "MAX_VALUES", 100)
        assert len(task_of(form)["kwargs"]["either"]) == 40
        monkeypatch.setattr(values_module, "MAX_VALUES", 60)
        with pytest.raises(InvalidTask) as refused:
            task_of(form)
        assert [error["msg"] for error in refused.value.errors] == ["is not JSON: more than 60 JSON values"]


def test_a_task_as_json_is_an_object() -> None:
    def check(typed: str) -> None:
        with pytest.raises(InvalidTask):
            body_of(typed)

    check_rows(check, ["", "{", "[]", "1", "null"])
