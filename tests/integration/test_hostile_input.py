"""What a hostile client puts into every place that it may write: a clean answer, never a 5xx, and all still answers.

`test_tasks_create.py` has what POST /tasks/ refuses field by field; here the same values go everywhere else.
"""

import itertools
import json
import time
from decimal import Decimal
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from app.core.redaction import redact
from app.db.session import SessionLocal
from app.services.task_service import task_service
from tests.support.amounts import amount, some_of
from tests.support.tables import cases
from tests.support.task_client import BODY, TaskClient, module_client, stored

client = module_client()
JSON = {"Content-Type": "application/json"}
DEEP = 100_000
CHANGEABLE = ("name", "tags", "metadata", "priority", "run_at", "status", "progress", "progress_detail", "result")
CALLS = (
    ("GET", ""),
    ("PATCH", ""),
    ("DELETE", ""),
    ("POST", "/cancel"),
    ("GET", "/attempts"),
    ("GET", "/logs"),
    ("GET", "/output"),
)
# As raw JSON: what Python's own encoder would not write, and what its decoder takes or chokes on.
VALUES = {
    "NaN": "NaN", "Infinity": "-Infinity", "1e400": "1e400", "5000 digits": "9" * 5000, "4301 digits": "1" * 4301,
    "-5000 digits": "-" + "9" * 5000, "1e99999": "1e99999", "a lone surrogate": '"\\ud800"', "NUL": '"a\\u0000b"',
    "a surrogate as key": '{"\\udfff": 1}', "NUL as key": '{"\\u0000": 1}', "deep array": "[" * DEEP + "]" * DEEP,
    "deep object": '{"a":' * DEEP + "1" + "}" * DEEP, "half": "[" * DEEP, "a raw control": '"a\x01b"',
}  # fmt: skip
IDS = {
    "5000 digits": "9" * 5000, "NUL": "%00", "raw bytes": "%ff%fe", "surrogate": "%ed%a0%80", "SQL": "'; DROP TABLE tasks--",
    "climb": "..%2f..%2fetc%2fpasswd", "urn": "urn:uuid:019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11", "braces": "{019a1f3c}",
    "spaces": "%20%20", "line": "a%0d%0aX-Injected:%20yes", "percent": "%25%25", "nil": "0" * 32,
    "one": "1", "word": "not-a-uuid", "40 digits": "0" * 40, "a letter of another script": "数",
}  # fmt: skip
# Patterns that take an age where an expression backtracks.
SLOW = {
    "a…!": "a" * 30_000 + "!", "(a)…": "(" * 15_000, "spaces": " " * 30_000 + "x", "commas": "," * 30_000,
    "dots": "a." * 15_000, "at": "a@" * 15_000, "quotes": '"' * 30_001, "backslashes": "\\" * 30_000,
    "dashes": "-" * 30_000, "percents": "%" * 30_000, "underscores": "_" * 30_000,
}  # fmt: skip
SLOW_SECONDS = 5.0


def clean(answer: httpx.Response, what: str = "") -> None:
    assert answer.status_code < 500, (what, answer.status_code, answer.text[:300])
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json", what
        assert len(answer.content) < 20_000, what
        assert "x-injected" not in answer.headers, what


def with_value(fields: dict[str, Any], name: str, raw: str) -> bytes:
    """This body with one field as raw JSON."""
    rest = json.dumps({key: value for key, value in fields.items() if key != name})[1:-1]
    return ("{" + rest + (", " if rest else "") + f'"{name}": {raw}' + "}").encode()


class TestJsonBodies:
    def test_in_a_patch(self, admin: TaskClient) -> None:
        task = admin.task_in("running")
        with cases() as case:
            for (name, raw), field in some_of(VALUES.items(), CHANGEABLE):
                with case(name, field):
                    for value in (raw, f'{{"a": {raw}}}', f"[{raw}]"):
                        answer = admin.request("PATCH", task, content=with_value({}, field, value), headers=JSON)
                        clean(answer)
                        assert admin.get(task).json()["status"] == "running"
        assert admin.get(task).status_code == admin.get().status_code == 200

    def test_in_a_new_task(self, tasks: TaskClient) -> None:
        fields = (*BODY, "kwargs", "metadata", "tags", "priority", "delay_seconds", "max_attempts", "x")
        with cases() as case:
            for (name, raw), field in some_of(VALUES.items(), fields):
                with case(name, field):
                    for value in (raw, f'{{"a": {raw}}}', f"[{raw}]"):
                        clean(tasks.request("POST", content=with_value(BODY, field, value), headers=JSON))
        assert tasks.get(limit=200).status_code == 200

    def test_about_users(self, admin: TaskClient) -> None:
        person = {"username": "somebody", "email": "somebody@example.com", "password": "correct horse battery"}
        calls = (
            ("POST", "auth/register", person), ("POST", "auth/refresh", {"refresh_token": "x"}),
            ("PATCH", "users/me", {"username": "a"}), ("PATCH", f"users/{admin.user['id']}", {"email": "a"}),
            ("PUT", "users/me/password", {"current_password": "x", "new_password": "y"}),
        )  # fmt: skip
        with cases() as case:
            for (name, raw), (method, path, fields) in itertools.product(VALUES.items(), calls):
                for field in fields:
                    with case(name, path, field):
                        content, headers = with_value(fields, field, raw), admin.headers | JSON
                        answer = admin.http.request(method, f"/api/v1/{path}", content=content, headers=headers)
                        clean(answer)
                        assert answer.status_code in {400, 401, 403, 413, 422}


class TestTargets:
    def test_as_an_id(self, admin: TaskClient) -> None:
        with cases() as case:
            for (name, text), prefix, call in itertools.product(IDS.items(), ("tasks", "users"), CALLS):
                with case(name, prefix, call):
                    method, suffix = call
                    path, json_ = f"/api/v1/{prefix}/{text}{suffix}", {} if method == "PATCH" else None
                    answer = admin.http.request(method, path, headers=admin.headers, json=json_)
                    clean(answer)
                    assert answer.status_code in {400, 404, 405, 422}

    def test_as_a_parameter(self, admin: TaskClient) -> None:
        names = ("cursor", "status", "task_type", "priority", "queue", "tag", "name", "created_after", "user_id", "skip",
                 "limit", "unknown")  # fmt: skip
        paths = ("tasks/", "tasks/count", "users/")
        with cases() as case:
            for (kind, text), name, path in itertools.product(IDS.items(), names, paths):
                with case(kind, name, path):
                    clean(admin.http.get(f"/api/v1/{path}?{name}={text}", headers=admin.headers))


@pytest.mark.parametrize("text", SLOW.values(), ids=SLOW)
class TestPatterns:
    """Nothing that is matched against an expression takes long, whatever it is."""

    def test_in_headers(self, tasks: TaskClient, text: str) -> None:
        begun = time.monotonic()
        for name in ("Authorization", "If-Match", "If-None-Match", "Idempotency-Key", "X-Request-ID", "Host", "Origin",
                     "Content-Type", "Accept", "Cookie", "Last-Event-ID", "Expect", "Range", "X-Forwarded-For"):  # fmt: skip
            for value in (text, f"Bearer {text}") if name == "Authorization" else (text,):
                headers = {name: value}
                clean(tasks.http.get("/api/v1/users/me", headers={**tasks.headers, **headers}), name)
                clean(tasks.request("POST", content=b"{}", headers={**JSON, **headers}), name)
        assert time.monotonic() - begun < SLOW_SECONDS

    def test_in_bodies_and_forms(self, tasks: TaskClient, text: str) -> None:
        begun = time.monotonic()
        for field in ("name", "task_type", "celery_task_name", "priority", "run_at", "tags", "metadata"):
            clean(tasks.post(body=BODY | {field: text}), field)
            clean(tasks.post(body=BODY | {field: [text]}), field)
        person = {"username": text, "email": text, "password": text}
        for field in person:
            clean(
                tasks.http.post(
                    "/api/v1/auth/register", json={"username": "a", "email": "b", "password": "c", field: text}
                )
            )
        clean(tasks.http.post("/api/v1/auth/login", data=person))
        clean(tasks.http.post("/api/v1/auth/refresh", json={"refresh_token": text}))
        assert time.monotonic() - begun < SLOW_SECONDS * 2

    def test_in_queries(self, tasks: TaskClient, text: str) -> None:
        begun = time.monotonic()
        for name in ("cursor", "name", "tag", "created_after", "priority", "user_id", "limit"):
            clean(tasks.get(**{name: text[:8000]}), name)
        assert time.monotonic() - begun < SLOW_SECONDS


class TestLoginForm:
    def test_odd_forms(self, client: httpx.Client) -> None:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        with cases() as case:
            for content in (
                b"username=%00&password=%00", b"username=%ff&password=%fe", b"username=%ed%a0%80&password=x",
                b"username=\xff", b"&" * 100_000, b"username=a&" * 5000, b"=" * 5000, b"username", b"%",
                b"username=%&password=%z", b"", b"username=" + b"9" * 5000 + b"&password=" + b"x" * 5000, b"a=1&" * 20_000,
            ):  # fmt: skip
                with case(content[:24]):
                    answer = client.post("/api/v1/auth/login", content=content, headers=headers)
                    clean(answer)
                    assert answer.status_code in {400, 401, 413, 415, 422}

    def test_odd_types(self, client: httpx.Client) -> None:
        kinds = ("multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "x" * 5000,
                 "multipart/form-data; boundary=\xff", "application/x-www-form-urlencoded; charset=nonsense", "a/b",
                 ";;;")  # fmt: skip
        contents = (b"", b"--x\r\n\r\n", b"--" * 10_000, b"--x\r\nContent-Disposition: form-data\r\n\r\n\r\n--x--")
        with cases() as case:
            for kind, content in itertools.product(kinds, contents):
                with case(kind[:60], content[:24]):
                    headers = [(b"Content-Type", kind.encode("latin-1"))]
                    answer = client.post("/api/v1/auth/login", content=content, headers=headers)
                    clean(answer)
                    assert answer.status_code in {400, 401, 413, 415, 422}

    def test_thousands_of_parts(self, client: httpx.Client) -> None:
        part = b'--x\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\nc\r\n'
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        answer = client.post("/api/v1/auth/login", content=part * 20_000 + b"--x--\r\n", headers=headers)
        clean(answer)
        assert answer.status_code in {400, 413, 422}

    @pytest.mark.parametrize(
        ("charset", "name"),
        [
            ("utf-7", b"+2AA-x"),
            ("unicode_escape", b"\\ud800"),
            ("idna", b"xn--\xff"),
            ("punycode", b"a-" + b"a" * 500_000),
        ],
    )
    def test_a_charset_that_is_none(self, client: httpx.Client, charset: str, name: bytes) -> None:
        """Python decodes them to lone surrogates, or in a time that grows with the square of their size."""
        begun = time.monotonic()
        part = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
        content = part % (b"username", name) + part % (b"password", name[:100]) + b"--x--\r\n"
        headers = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
        answer = client.post("/api/v1/auth/login", content=content, headers=headers)
        clean(answer)
        assert answer.status_code == 400
        assert time.monotonic() - begun < SLOW_SECONDS

    def test_a_multipart_form_logs_in(self, client: httpx.Client) -> None:
        form = {"username": (None, "nobody"), "password": (None, "wrong")}
        assert client.post("/api/v1/auth/login", files=form).status_code == 401


class TestHeaders:
    def test_odd_bytes(self, tasks: TaskClient) -> None:
        task = tasks.create()["id"]
        values = (
            b"\xff\xfe",
            b"\xed\xa0\x80",
            "é".encode(),
            b"9" * 5000,
            b"W/" * 1000,
            b'"' * 999,
            b"\x7f",
            b"*, *",
            b"",
        )
        names = (b"Authorization", b"If-Match", b"If-None-Match", b"Idempotency-Key", b"X-Request-ID", b"Content-Type",
                 b"Content-Length", b"Accept", b"Cookie", b"Transfer-Encoding")  # fmt: skip
        calls = (("GET", task, None), ("PATCH", task, b"{}"), ("POST", "", json.dumps(BODY).encode()))
        with cases() as case:
            for value, name, (method, path, content) in itertools.product(values, names, calls):
                if name == b"Content-Length" and content is not None:
                    continue  # the client's own
                with case(value[:24], name, method):
                    own = [(key.encode(), text.encode()) for key, text in tasks.headers.items() if key.encode() != name]
                    headers = [*own, (name, value)]
                    clean(tasks.http.request(method, f"/api/v1/tasks/{path}", content=content, headers=headers))


def test_12_mb(tasks: TaskClient) -> None:
    body = b'{"name": "' + b"x" * 12_000_000 + b'"}'
    with cases() as case:
        for path, sized in itertools.product(
            ("tasks/", "auth/login", "auth/register", "users/me", "nowhere"), (True, False)
        ):
            with case(path, "with a size" if sized else "without a size"):
                content = body if sized else (body[at : at + 65536] for at in range(0, len(body), 65536))
                method = "PATCH" if path == "users/me" else "POST"
                answer = tasks.http.request(method, f"/api/v1/{path}", content=content, headers=tasks.headers | JSON)
                clean(answer)
                # Without a size it is refused as it is read: not where it is never read (no route, or no form).
                unread = {"nowhere": 404, "auth/login": 415}.get(path) if not sized else None
                assert answer.status_code in {413, unread}


JSON_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.one_of(
    st.integers(), st.integers(-(10**400), 10**400), st.floats(allow_nan=False, allow_infinity=False), st.just(-0.0)
)
VALUE = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, JSON_TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(JSON_TEXT, inner, max_size=4)),
    max_leaves=12,
)
TYPED = {"__type__": "uuid", "__value__": "019a1f3c7b1e7c3a9f573b1f4a0c2d11"}


def as_text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def as_numbers(value: Any) -> str:
    """JSONB keeps the number and not its spelling: 1e22 comes back as an integer, and -0.0 as 0.0."""

    def spelled(number: str) -> str:
        return str(Decimal(number).normalize() + 0)

    return as_text(json.loads(json.dumps(value), parse_float=spelled, parse_int=spelled))


def without_nul(value: Any) -> Any:
    return json.loads(json.dumps(value).replace("\\u0000", ""))


class TestRoundTrip:
    """Whatever is accepted comes back unchanged: from POST, from GET and in the list."""

    @settings(
        max_examples=amount(day=15, night=60),
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(
        args=st.lists(VALUE, max_size=3),
        kwargs=st.dictionaries(JSON_TEXT, VALUE, max_size=3),
        metadata=st.dictionaries(JSON_TEXT, VALUE, max_size=3),
    )
    def test_of_any_json(
        self, tasks: TaskClient, args: list[Any], kwargs: dict[str, Any], metadata: dict[str, Any]
    ) -> None:
        # One parameter of the task takes the test's own values as they are.
        sent = {"args": [60], "kwargs": {"param": args, "more": kwargs}, "metadata": without_nul(metadata)}
        created = tasks.post(body=BODY | sent)
        assert created.status_code == 201, created.text[:300]
        task = created.json()
        for read in (task, tasks.get(task["id"]).json(), tasks.get(limit=1).json()[0]):
            assert read["id"] == task["id"]
            # The value of a key that names a secret is not shown (test_hidden_values.py).
            assert as_text(read["kwargs"]) == as_text(redact(sent["kwargs"]))
            assert as_numbers(read["metadata"]) == as_numbers(redact(sent["metadata"]))
        assert as_text(stored(task["id"]).kwargs) == as_text(sent["kwargs"])

    def test_of_what_kombu_would_decode(self, tasks: TaskClient) -> None:
        others = [{"__type__": kind, "__value__": "x"} for kind in ("datetime", "decimal", "bytes", "no-such")]
        with cases() as case:
            for value in (TYPED, [TYPED], {"a": {"b": [TYPED]}}, *others):
                with case(value):
                    sent = {"kwargs": {"param": value}, "metadata": {"a": value}}
                    task = tasks.create(**sent)
                    for read in (task, tasks.get(task["id"]).json(), tasks.get().json()[0]):
                        assert {name: read[name] for name in sent} == sent

    def test_of_deep_json(self, tasks: TaskClient) -> None:
        with cases() as case:
            for depth in (2, 64, 65, 200, 201, 300):
                with case(depth):
                    value: Any = 1
                    for _ in range(depth - 1):
                        value = [value]
                    answer = tasks.post(body=BODY | {"kwargs": {"param": value}})
                    assert answer.status_code == (201 if depth <= 64 else 422)
                    if depth <= 64:
                        assert tasks.get(answer.json()["id"]).json()["kwargs"] == {"param": value}
                    assert tasks.get().status_code == 200

    def test_of_what_a_body_may_store_200_deep(self, admin: TaskClient) -> None:
        """Deeper than clients may nest: what a body returned. Reading it, and a list that holds it, still answers."""
        value: Any = 1
        for _ in range(200):
            value = {"a": value}
        task = admin.task_in("running")
        with SessionLocal() as db:
            task_service.update_task_progress(db, task, 1, value)
            task_service.update_task_status(db, task, "succeeded", 100, value)
            with pytest.raises(ValueError, match="deep"):
                task_service.update_task_status(db, admin.task_in("running"), "succeeded", 100, [value])
        assert admin.get(task).json()["result"] == value
        assert task in [each["id"] for each in admin.get().json()]
