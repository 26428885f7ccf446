"""What a hostile client sends to each route of the pages that changes something: refused in a page, never a 5xx."""

import itertools
import json

import httpx
import pytest
from fastapi.testclient import TestClient

from app.core.json_text import MAX_DEPTH
from app.schemas.task import TaskCreate
from app.web.schedule_fields import FIELDS, PREFIX
from tests.support.accounts import PASSWORD, register
from tests.support.amounts import some_of
from tests.support.page_forms import ROUTES, fields_of, path_of
from tests.support.page_reader import HTTPS, SAME, Reader, signed_in
from tests.support.tables import cases
from tests.support.task_client import module_client
from tests.support.tasks import LONG_RUNNING
from tests.support.things import Things
from tests.support.throttle import UNBOUNDED_DEEDS
from tests.support.ways import Caller

shared = module_client(WEB_UI="true", **UNBOUNDED_DEEDS)

FORGERIES: tuple[dict[str, str], ...] = (
    {},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": HTTPS.replace("https", "http")},
    {"Origin": HTTPS.replace("https", "ftp"), **SAME},
    {"Origin": f"{HTTPS}:8443"},
    {"Origin": HTTPS.replace("//", "//user@")},
    {"Origin": HTTPS, "Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
)
DEEP = 5000
HOSTILE = {
    "deep": "[" * DEEP + "]" * DEEP, "half": "[" * DEEP, "just too deep": "[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2),
    "digits": "9" * 5000, "nines": "9" * 420, "negative nines": "-" + "9" * 420, "exponent": "1e400", "NaN": "NaN", "negative": "-1", "surrogate": '"\\ud800"', "NUL": "\x00",
    "long": "x" * 4097, "the end": "9999-12-31T23:59:59-14:00", "the beginning": "0001-01-01T00:00:00+14:00",
    "fraction of an offset": "2026-01-01T00:00:00.123456789+00:00:30.5", "empty": "", "markup": "<script>alert(1)</script>",
}  # fmt: skip
# Fields of a form that no signature names: one of each kind, and all that a task or a schedule may have.
FREE = ("json", "metadata", "kwargs.duration", "tags")
OF_TASKS = (*TaskCreate.model_fields, "kwargs.steps", *(f"{PREFIX}{name}" for name in FIELDS))
TASK_FORM = {
    "celery_task_name": LONG_RUNNING, "name": "a", "task_type": "t", "kwargs.duration": "1",
    f"{PREFIX}name": "s", f"{PREFIX}by": "cron", f"{PREFIX}cron": "* * * * *",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _many_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.services.audit.ANONYMOUS_PER_MINUTE", 10**6)


def is_clean(answer: httpx.Response) -> None:
    assert answer.status_code < 500, answer.text[:300]
    if answer.status_code >= 400:
        assert answer.headers["content-type"].startswith("text/html")
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "<script>alert" not in answer.text


def test_all_are_known() -> None:
    assert len(ROUTES) >= 25


def test_no_forgery_is_taken_for_a_form_of_a_page(reader: Reader) -> None:
    with cases() as case:
        for route, headers in some_of(ROUTES.values(), FORGERIES):
            with case(route.path_format, headers):
                answer = reader.post(path_of(route), headers, value="dark", celery_task_name=LONG_RUNNING)
                assert answer.status_code == 403
                is_clean(answer)
    assert reader.get("/tasks").status_code == 200  # still signed in


def test_no_number_breaks_a_form(client: TestClient) -> None:
    """The same quickly: a number that is no float, in all fields of each form, about an object of the reader's own."""
    shared_caller = Caller(client)
    with cases() as case:
        for path, route in ROUTES.items():
            caller = Caller(client) if path in {"/sign-out", "/account/logins/others/end"} else shared_caller
            there = Things(caller).path(path)
            fields = (*OF_TASKS, *FREE) if path.endswith(("/new", "/change")) else fields_of(route)
            with case(path):
                for kept in ({"celery_task_name", "json"}, {*TASK_FORM, "json"}):
                    form = dict.fromkeys({*fields} - kept, HOSTILE["nines"])
                    is_clean(caller.reader.post(there, **TASK_FORM | form))


@pytest.mark.parametrize("path", ROUTES)
def test_no_value_breaks_a_page(client: TestClient, path: str) -> None:
    """About an object of the reader's own, so that the form is read."""
    route, caller = ROUTES[path], Caller(client)
    reader, there = caller.reader, Things(caller).path(path)
    is_free = path.endswith(("/new", "/change"))
    rows = [*itertools.product([*fields_of(route), *(FREE if is_free else FREE[:1])], HOSTILE.items())]
    rows += itertools.product(OF_TASKS if is_free else (), [(kind, HOSTILE[kind]) for kind in ("nines", "NUL")])
    with cases() as case:
        for name, (kind, value) in rows:
            with case(name, kind):
                is_clean(reader.post(there, **TASK_FORM | {"by": "json" if name == "json" else "form"} | {name: value}))
                if path.startswith(("/sign", "/account")) and reader.get("/account").status_code != 200:
                    reader = signed_in(client, register(client))  # it was a form that ends the login


def test_deep_json_is_refused_as_the_api_refuses_it(reader: Reader) -> None:
    form = {"celery_task_name": LONG_RUNNING, "by": "json"}
    for kind in ("deep", "half", "just too deep"):
        answer = reader.post("/new", **form, json=HOSTILE[kind])
        assert answer.status_code == 422
        assert "This is not JSON" in answer.text
    answer = reader.post("/new", celery_task_name=LONG_RUNNING, name="a", metadata=HOSTILE["deep"])
    assert answer.status_code == 422
    assert f"is not JSON: JSON nested more than {MAX_DEPTH} deep" in answer.text, answer.text


def test_a_large_form_is_parsed_as_a_small_one(reader: Reader) -> None:
    text = "ä<&+ %" * 10_000
    body = {"name": "large", "task_type": "a", "celery_task_name": LONG_RUNNING, "args": [0.1], "kwargs": {"x": text}}
    answer = reader.post("/new", celery_task_name=LONG_RUNNING, by="json", json=json.dumps(body))
    assert answer.status_code == 303, answer.text[:500]
    page = reader.get(answer.headers["location"].removeprefix("/ui"))
    assert "ä&lt;&amp;+ %" in page.text


def test_another_large_body_is_refused_by_its_media_type(reader: Reader) -> None:
    for kind in ("multipart/form-data; boundary=x", "text/plain"):
        headers = {**SAME, "Content-Type": kind}
        answer = reader.request("POST", "/ui/new", headers, content=b"x" * 20_000)
        assert answer.status_code == 415
        assert "application/x-www-form-urlencoded" in answer.text


def test_a_password_of_any_length_is_refused_in_a_page(reader: Reader) -> None:
    for length in (4097, 10_000):
        answer = reader.post("/account/password", current_password="x" * length, new_password=PASSWORD)
        assert answer.status_code == 422
        answer = reader.post("/account/password", current_password=PASSWORD, new_password="x" * length)
        assert answer.status_code == 422


@pytest.mark.parametrize("moment", ["before:9999-12-31T23:59:59-14:00", "after:0001-01-01T00:00:00+14:00"])
def test_the_ends_of_time_are_no_search(reader: Reader, moment: str) -> None:
    page = reader.get("/tasks?q=" + moment.replace("+", "%2B"))
    assert page.status_code == 200
    assert reader.post("/bulk/cancel/preview", q=moment, all="true").status_code in {200, 422}
