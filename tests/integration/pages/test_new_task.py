"""The form of a new task in a browser without JavaScript: nested fields, form or JSON, and errors at their fields."""

import json
import re
from typing import Any

import pytest

from app.catalogue import catalogue
from app.core.signatures import encode_secret
from app.db.session import SessionLocal
from app.services.operations import limit_service
from app.web.task_form.fields import MAX_INPUTS, OPTIONS
from tests.support.controls import Controls
from tests.support.form_tasks import INVOICE
from tests.support.page_reader import Reader
from tests.support.settings import settings
from tests.support.task_client import TaskClient
from tests.support.tasks import LONG_RUNNING

NAME = INVOICE.celery_task_name
WEBHOOK_SECRET = encode_secret(bytes(range(32)))
FETCH = "app.tasks.common_tasks.fetch_url"
KWARGS: dict[str, Any] = {
    "customer": "ACME", "to": {"street": "a <b>\n road", "since": "2030-01-01T00:00:30Z"},
    "lines": [{"article": "x", "notes": ["1", "2"]}, {"article": "y", "sent_to": {"street": "z", "code": 1234}}],
    "mode": "cheap", "day": "2030-01-02", "other": {"a": 1}, "wet": False, "ratio": 0.25,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _invoice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalogue(), NAME, INVOICE)


def form_of(reader: Reader, name: str = NAME) -> Controls:
    return Controls(reader.get(f"/new?task={name}").text)


def send(reader: Reader, form: dict[str, str], path: str = "/new", **typed: str) -> Controls:
    """What the page is after this form was sent, with what is typed besides."""
    answer = reader.post(path, **form | typed)
    assert answer.status_code in {200, 422}, answer.text
    return Controls(answer.text)


def created(reader: Reader, tasks: TaskClient, form: dict[str, str], path: str = "/new") -> dict[str, Any]:
    answer = reader.post(path, **form)
    assert answer.status_code == 303, answer.text
    return dict(tasks.get(answer.headers["location"].rpartition("/")[2]).json())


def as_json(**kwargs: Any) -> dict[str, str]:
    task = {"name": "n", "task_type": "t", "celery_task_name": NAME, "kwargs": kwargs}
    return {"by": "json", "celery_task_name": NAME, "json": json.dumps(task)}


class TestTheForm:
    def test_creates_a_task_of_models_and_lists_row_by_row(self, reader: Reader, tasks: TaskClient) -> None:
        form = form_of(reader).fields | {"kwargs.customer": "ACME", "kwargs.to.street": "road"}
        for deed in ("add kwargs.lines", "add kwargs.lines", "add kwargs.lines.1.notes", "give kwargs.also"):
            page = send(reader, form, edit=deed)
            form = page.fields
        assert form["kwargs.customer"] == "ACME"  # what was typed stays
        form |= {
            "kwargs.lines.0.article": "a",
            "kwargs.lines.1.article": "b",
            "kwargs.lines.1.notes.0": "n",
            "kwargs.also.street": "s",
        }
        form = send(reader, form, edit="drop kwargs.lines.0").fields
        assert created(reader, tasks, form)["kwargs"] == {
            "customer": "ACME", "to": {"street": "road"}, "lines": [{"article": "b", "notes": ["n"]}], "also": {"street": "s"},
        }  # fmt: skip

    def test_has_the_focus_in_the_row_that_is_new(self, reader: Reader) -> None:
        form = form_of(reader)
        assert form.focus() == ["name"]
        page = send(reader, form.fields, edit="add kwargs.lines")
        assert page.focus() == ["kwargs.lines.0.article"]
        assert send(reader, page.fields, edit="drop kwargs.lines.0").focus() == ["kwargs.lines"]
        assert send(reader, page.fields, edit="give kwargs.also").focus() == ["kwargs.also.street"]

    def test_sends_all_fields_of_a_task(self, reader: Reader, tasks: TaskClient) -> None:
        with SessionLocal() as db:
            limit_service.put_limit(db, "licences", concurrency=1)
        form = form_of(reader, LONG_RUNNING)
        assert {*OPTIONS} <= form.fields.keys()
        given = {
            "priority": "low", "run_at": "2099-01-02T03:04", "expires_at": "2099-02-01T00:00:30", "timeout_seconds": "60", "max_attempts": "3",
            "retry_backoff_seconds": "2.5", "tags": "a, b", "metadata": '{"x": [1]}', "unique_key": "k", "on_conflict": "return",
            "limit": "licences", "limit_key": "ACME", "name": "all", "task_type": "t", "kwargs.duration": "1",
            "webhook_url": "https://example.com/hooks",
        }  # fmt: skip
        with settings({"WEBHOOK_SECRET": WEBHOOK_SECRET}):
            task = created(reader, tasks, form.fields | given)
        assert {name: task[name] for name in given if name in task} == {
            "priority": "low", "run_at": "2099-01-02T03:04:00Z", "expires_at": "2099-02-01T00:00:30Z", "timeout_seconds": 60, "max_attempts": 3,
            "retry_backoff_seconds": 2.5, "tags": ["a", "b"], "metadata": {"x": [1]}, "unique_key": "k", "on_conflict": "return",
            "limit": "licences", "limit_key": "ACME", "name": "all", "task_type": "t",
            "webhook_url": "https://example.com/hooks",
        }  # fmt: skip
        assert '<option value="licences">' in reader.get("/new").text

    def test_shows_bounds_descriptions_and_the_docstring(self, reader: Reader) -> None:
        form = form_of(reader)
        code: dict[str, Any] = form.attributes["kwargs.to.code"]
        assert (code["type"], code["min"], code["max"], code["placeholder"]) == ("number", "1000", "9999", "1000")
        assert form.texts[code["aria-describedby"]] == "≥ 1000, < 10000"
        assert form.texts["field-kwargs.to.street-hint"] == "With the number."
        assert "Connects to public addresses" in reader.get(f"/new?task={FETCH}").text

    def test_is_sent_by_the_enter_key_and_changes_no_row(self, reader: Reader) -> None:
        """Browsers press the first button of a form."""
        assert form_of(reader).buttons[0] == (None, None)

    def test_that_is_full_offers_no_more_rows(self, reader: Reader) -> None:
        form = form_of(reader).fields
        rows = {f"kwargs.lines.{row}.article": "x" for row in range(MAX_INPUTS // 5)}
        page = send(reader, form | rows, edit="none")
        assert page.fields["kwargs.lines.0.article"] == "x"
        assert ("edit", "add kwargs.lines") not in page.buttons


class TestFormOrJSON:
    def test_json_is_what_the_form_would_send(self, reader: Reader, tasks: TaskClient) -> None:
        form = form_of(reader).fields | {
            "kwargs.customer": "ACME",
            "kwargs.to.street": "road",
            "tags": "a",
            "max_attempts": "2",
        }
        page = send(reader, form, show="json")
        assert "kwargs.customer" not in page.fields
        task = json.loads(page.fields["json"])
        assert task == {
            "name": "_invoice", "task_type": "manual", "celery_task_name": NAME, "priority": "normal", "tags": ["a"], "max_attempts": 2,
            "kwargs": {"customer": "ACME", "to": {"street": "road"}, "lines": []},
        }  # fmt: skip
        assert created(reader, tasks, page.fields)["kwargs"] == task["kwargs"]

    def test_the_form_is_filled_with_the_json_and_comes_back_the_same(self, reader: Reader, tasks: TaskClient) -> None:
        page = send(reader, as_json(**KWARGS), show="form")
        assert "json" not in page.fields
        assert page.fields["kwargs.lines.1.sent_to.code"] == "1234"
        assert page.fields["kwargs.to.street"] == "a <b>\n road"
        again = send(reader, page.fields, show="json")
        assert json.loads(again.fields["json"])["kwargs"] == KWARGS
        assert created(reader, tasks, page.fields)["kwargs"] == KWARGS

    def test_what_the_form_cannot_say_stays_json(self, reader: Reader) -> None:
        typed = as_json(customer="", to={"street": "x"}, lines=[], unknown=1)
        typed["json"] = "  " + typed["json"]
        answer = reader.post("/new", **typed, show="form")
        assert re.findall(r"<li><code>(.*?)</code></li>", answer.text) == ["kwargs.customer", "kwargs.unknown"]
        assert Controls(answer.text).fields["json"] == typed["json"]

    def test_what_is_no_task_stays_as_it_was_typed(self, reader: Reader) -> None:
        for typed, said in (
            ('\n{"name": ', "This is not JSON"),
            ("[1]", "A task is a JSON object"),
            ('{"celery_task_name": "x"}', "is no task that can be created"),
        ):
            answer = reader.post("/new", by="json", celery_task_name=NAME, json=typed, show="form")
            assert (answer.status_code, said in answer.text) == (422, True)
            assert Controls(answer.text).fields["json"] == typed

    def test_a_form_that_is_no_json_stays_a_form(self, reader: Reader) -> None:
        page = send(reader, form_of(reader).fields, show="json", **{"kwargs.other": "{", "kwargs.customer": "ACME"})
        assert (page.fields["kwargs.other"], page.fields["kwargs.customer"]) == ("{", "ACME")
        assert "is not JSON" in page.said_at("kwargs.other")

    def test_the_json_may_name_another_task(self, reader: Reader) -> None:
        task = {"name": "n", "task_type": "t", "celery_task_name": LONG_RUNNING, "args": [3]}
        page = send(reader, {"by": "json", "celery_task_name": NAME, "json": json.dumps(task)}, show="form")
        assert (page.fields["form_of"], page.fields["kwargs.duration"], page.fields["name"]) == (LONG_RUNNING, "3", "n")

    def test_a_task_that_is_kept_for_others_has_no_form(self, reader: Reader) -> None:
        with settings({"OUTBOUND_USERS": "role:admin"}):
            answer = reader.post(
                "/new", by="json", celery_task_name=NAME, json=json.dumps({"celery_task_name": FETCH}), show="form"
            )
        assert (answer.status_code, "form_of" in answer.text) == (403, False)

    def test_any_text_can_be_shown(self, reader: Reader) -> None:
        page = send(reader, as_json(customer="\ud800", to={"street": "\ud800"}, lines=[]), show="form")
        assert json.loads(page.fields["json"])["kwargs"]["customer"] == "\ud800"
        page = send(reader, as_json(customer="x", to={"street": "\ud800"}, lines=[]), show="form")
        assert json.loads(page.fields["kwargs.to"]) == {"street": "\ud800"}


class TestAUniqueKeyThatIsTaken:
    @pytest.mark.parametrize("path", ["/new", "/tasks/{id}/change"])
    def test_leads_to_its_task_and_says_what_became_of_it(self, reader: Reader, tasks: TaskClient, path: str) -> None:
        path = path.format(id=tasks.task_in("failed"))
        found = []
        for on_conflict in ("return", "return", "replace"):
            task = {"name": "n", "task_type": "t", "celery_task_name": LONG_RUNNING, "args": [1], "unique_key": "k"}
            task |= {"on_conflict": on_conflict, "delay_seconds": 3600}
            form = {"by": "json", "celery_task_name": LONG_RUNNING, "json": json.dumps(task)}
            answer = reader.post(path, **form)
            assert answer.status_code == 303, answer.text
            place = answer.headers["location"].removeprefix("/ui")
            found.append((place, re.findall(r'role="status">(.*?)<', reader.get(place).text)))
        assert {place for place, _ in found} == {found[0][0]}
        assert [said for _, said in found] == [
            ["The task is created."],
            ["No new task is created: this one has the unique key, and stays as it was."],
            ["No new task is created: this one has the unique key, and is now what you sent."],
        ]


class TestErrors:
    def test_stand_at_their_fields_and_the_first_has_the_focus(self, reader: Reader) -> None:
        form = form_of(reader).fields | {
            "kwargs.customer": "ACME",
            "kwargs.to.code": "99",
            "kwargs.lines.4.article": "",
            "max_attempts": "0",
        }
        answer = reader.post("/new", **form)
        page = Controls(answer.text)
        assert answer.status_code == 422
        assert page.focus() == ["kwargs.to.street"]
        assert page.said_at("kwargs.to.street") == "With the number. is required"
        assert page.said_at("kwargs.to.code") == "≥ 1000, < 10000 must be 1000 or more"
        assert page.said_at("kwargs.lines.4.article") == "is required"
        assert page.said_at("max_attempts") == "must be 1 or more"
        links = re.findall(r'<li><a href="#([^"]*)">', answer.text)
        assert "lines #1 article</a>: is required" in answer.text
        assert links == [
            f"field-{name}" for name in ("kwargs.to.street", "kwargs.to.code", "kwargs.lines.4.article", "max_attempts")
        ]
        assert (page.fields["kwargs.customer"], page.fields["kwargs.to.code"]) == ("ACME", "99")

    @pytest.mark.parametrize(
        ("typed", "field"),
        [
            ({"run_at": "2099-01-01T00:00", "delay_seconds": "5"}, "run_at"),
            ({"run_at": "2099-01-02T00:00", "expires_at": "2099-01-01T00:00"}, "expires_at"),
            ({"on_conflict": "return"}, "unique_key"),
            ({"limit": "none such"}, "limit"),
            ({"limit": "nonesuch"}, "limit"),
            ({"limit_key": "x"}, "limit_key"),
            ({"unique_key": "taken"}, "unique_key"),
            ({"name": ""}, "name"),
            ({"tags": "x" * 101}, "tags"),
            ({"metadata": "[1]"}, "metadata"),
        ],
    )
    def test_of_options_stand_at_theirs(self, reader: Reader, typed: dict[str, str], field: str) -> None:
        form = form_of(reader, LONG_RUNNING).fields | {"kwargs.duration": "1"}
        assert reader.post("/new", **form | {"unique_key": "taken"}).status_code == 303
        answer = reader.post("/new", **form | typed)
        page = Controls(answer.text)
        assert answer.status_code in {409, 422}
        assert (page.focus(), bool(page.said_at(field))) == ([field], True)
        assert "<details open>" in answer.text

    def test_of_json_name_the_place(self, reader: Reader) -> None:
        answer = reader.post("/new", **as_json(customer="ACME", to={"street": 1}, lines=[]))
        assert (answer.status_code, "<code>kwargs.to.street</code> must be text" in answer.text) == (422, True)
        assert Controls(answer.text).focus() == ["json"]

    def test_are_read_in_the_readers_language_and_as_text(self, reader: Reader) -> None:
        form = form_of(reader).fields | {"kwargs.mode": "<b>%s</b>", "kwargs.to.code": "x"}
        reader.cookies["language"] = "zh"
        answer = reader.post("/new", **form)
        assert "必须是整数" in Controls(answer.text).said_at("kwargs.to.code")
        assert "<b>%s" not in answer.text


class TestARepeatedTask:
    def test_has_the_form_of_its_models_and_keeps_its_secrets(self, reader: Reader, tasks: TaskClient) -> None:
        old = tasks.create(
            celery_task_name=NAME,
            args=[],
            kwargs=KWARGS | {"other": {"password": 7}},
            metadata={"token": "x y"},
            limit_key=None,
        )
        tasks.post(f"{old['id']}/cancel")
        path = f"/tasks/{old['id']}/change"
        form = Controls(reader.get(path).text).fields
        assert form["kwargs.lines.0.notes.1"] == "2"
        assert json.loads(form["metadata"]) == {"token": "***"}
        form = send(reader, send(reader, form, path, show="json").fields, path, show="form").fields
        new = created(reader, tasks, form | {"kwargs.lines.0.notes.1": "3"}, path)
        assert new["kwargs"]["lines"][0]["notes"] == ["1", "3"]
        assert (new["kwargs"]["other"], new["metadata"], new["retry_of"]) == (
            {"password": "***"},
            {"token": "***"},
            old["id"],
        )

    def test_is_no_other_task(self, reader: Reader, tasks: TaskClient) -> None:
        old = tasks.task_in("failed")
        answer = reader.post(f"/tasks/{old}/change", **as_json() | {"celery_task_name": LONG_RUNNING}, show="form")
        assert "<code>celery_task_name</code>" in answer.text

    def test_says_what_keeps_it_from_being_a_form(self, reader: Reader, tasks: TaskClient) -> None:
        old = tasks.create(celery_task_name=NAME, args=[], kwargs=KWARGS | {"customer": ""})
        tasks.post(f"{old['id']}/cancel")
        page = reader.get(f"/tasks/{old['id']}/change").text
        assert "<code>kwargs.customer</code>" in page
        assert json.loads(Controls(page).fields["json"])["kwargs"] == KWARGS | {"customer": ""}


def test_a_hostile_form_costs_little(reader: Reader) -> None:
    form = {"celery_task_name": NAME, "name": "a", "task_type": "t"}
    for more in (
        {f"kwargs.lines.{row}": "{}" for row in range(900)},
        {f"kwargs.lines.{10**9 - row}.sent_to": "{}" for row in range(1, 900)},
        {"kwargs.lines" + ".0.parts" * 10_000: "x"},
        {"edit": "add kwargs." + "0." * 10_000},
    ):
        for button in ({}, {"show": "json"}, {"edit": "add kwargs.lines"}):
            answer = reader.post("/new", **form | button | more)
            assert answer.status_code in {200, 422}
            assert len(answer.content) < 2_000_000
