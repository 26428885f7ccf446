"""Every error is answered as a problem: wrong requests, missing things, breakage."""

import json
import logging
from typing import Annotated, Any, ClassVar

import pytest
from fastapi import FastAPI, Query
from pydantic import BaseModel, EmailStr
from sqlalchemy import exc as sa_exc
from starlette.testclient import TestClient

from app import errors
from app.api.http.error_handlers import add_problem_handlers
from app.api.http.middleware import RequestContext, UnhandledErrors
from app.api.http.problems import Answers, declared_responses, problems, raises
from tests.support.tables import check_rows

app = FastAPI(redirect_slashes=False)
add_problem_handlers(app)
app.add_middleware(UnhandledErrors)
app.add_middleware(RequestContext)


class Body(BaseModel, extra="forbid"):
    email: EmailStr
    count: int = 0


def stopped() -> Exception:
    """As PostgreSQL stops a statement; psycopg2's own error cannot be given a code."""
    error = Exception("canceling statement due to statement timeout")
    error.pgcode = "57014"  # type: ignore[attr-defined]
    return error


RAISED: dict[str, BaseException] = {
    "database": sa_exc.OperationalError("SELECT secret", {"password": "hidden"}, Exception("connection refused\nmore")),
    "timeout": sa_exc.OperationalError("SELECT secret", {}, stopped()),
    "pool": sa_exc.TimeoutError(),
    "interface": sa_exc.InterfaceError("SELECT 1", {}, Exception("closed")),
    "programming": sa_exc.ProgrammingError("SELECT hidden", {}, Exception("syntax")),
    "broken": RuntimeError("hidden detail"),
    "throttled": errors.TooManyRequests(retry_after=17),
    "not_ready": errors.NotReady({"database": "ok", "broker": "does not answer"}),
    "arguments": errors.InvalidArguments(errors=[{"loc": ["kwargs", "n"], "msg": "no", "type": "x"}]),
    **{kind.code: kind() for kind in (errors.Unauthenticated, errors.InvalidToken, errors.InvalidCredentials)},
}


@app.get("/raise/{name}")
@app.post("/raise/{name}")
async def fail(name: str) -> None:
    raise RAISED[name]


@app.post("/body")
async def take(body: Body) -> None: ...


@app.get("/query/{number}")
async def ask(number: int, size: Annotated[int, Query(le=5)] = 1) -> None: ...


@app.put("/query/{number}")
async def put(number: int) -> None: ...


@app.get("/query/sum")
async def total() -> None: ...


def problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"] == f"urn:task-service:problem:{code}"
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


class TestShape:
    def test_an_unknown_path(self, client: TestClient) -> None:
        body = problem(client.get("/nowhere/<b>?q=1"), 404, "not_found")
        assert body["instance"] == "/nowhere/%3Cb%3E"
        assert body.keys() == {"type", "title", "status", "detail", "instance", "code", "request_id"}

    def test_a_wrong_method_names_all_that_are_allowed(self, client: TestClient) -> None:
        def check(method: str, path: str, allowed: str) -> None:
            answer = client.request(method, path)
            problem(answer, 405, "method_not_allowed")
            assert answer.headers["allow"] == allowed

        check_rows(check, [
            ("DELETE", "/query/1", "GET, PUT"),
            # `/query/sum` matches `/query/{number}` as well, which has a PUT
            ("PUT", "/query/sum", "GET"),
            ("OPTIONS", "/query/sum", "GET"),
        ])  # fmt: skip

    def test_any_other_word_is_a_mistaken_id(self, client: TestClient) -> None:
        problem(client.put("/query/summe"), 422, "validation_error")

    def test_a_service_error_with_a_wait(self, client: TestClient) -> None:
        answer = client.get("/raise/throttled")
        problem(answer, 429, "too_many_requests")
        assert answer.headers["retry-after"] == "17"

    def test_not_ready_names_what_is_not(self, client: TestClient) -> None:
        body = problem(client.get("/raise/not_ready"), 503, "not_ready")
        assert body["checks"] == {"database": "ok", "broker": "does not answer"}
        assert body["detail"] == "broker: does not answer"


class TestInChinese:
    ZH: ClassVar = {"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"}

    def test_title_detail_and_fields_are_and_the_rest_stays(self, client: TestClient) -> None:
        english = client.get("/query/1?size=9")
        answer = client.get("/query/1?size=9", headers=self.ZH)
        problem(answer, 422, "validation_error")
        assert answer.headers["content-language"] == "zh"
        assert english.headers["content-language"] == "en"
        assert "Accept-Language" in english.headers["vary"]
        assert english.json()["detail"] == "query.size: must be 5 at most"
        assert answer.json()["detail"] == "query.size: 必须不大于 5"
        (error,) = answer.json()["errors"]
        assert error == {"loc": ["query", "size"], "msg": "必须不大于 5", "type": "less_than_equal"}

    def test_a_service_error_is(self, client: TestClient) -> None:
        answer = client.get("/raise/throttled", headers=self.ZH)
        problem(answer, 429, "too_many_requests")
        assert answer.json()["detail"] == answer.json()["title"]
        assert not answer.json()["detail"].isascii()


class TestChallenge:
    def test_names_the_error_when_a_token_was_shown(self, client: TestClient) -> None:
        def check(code: str, more: str) -> None:
            answer = client.get(f"/raise/{code}")
            problem(answer, 401, code)
            assert answer.headers["www-authenticate"] == f"Bearer{more}"

        check_rows(check, [
            ("not_authenticated", ""),
            ("invalid_credentials", ""),
            ("invalid_token", ' error="invalid_token", error_description="The token is invalid, expired or revoked"'),
        ])  # fmt: skip


class TestValidation:
    def test_names_the_fields_and_never_the_values(self, client: TestClient) -> None:
        answer = client.post("/body", json={"email": "hidden@@value", "count": "hidden", "extra": "hidden"})
        body = problem(answer, 422, "validation_error")
        assert "hidden" not in answer.text
        assert [each["loc"] for each in body["errors"]] == [["body", "email"], ["body", "count"], ["body", "extra"]]
        assert all(each.keys() == {"loc", "msg", "type"} for each in body["errors"])
        assert body["errors"][0]["msg"] == "must be an e-mail address"

    def test_of_path_and_query(self, client: TestClient) -> None:
        body = problem(client.get("/query/x?size=6"), 422, "validation_error")
        assert [each["loc"] for each in body["errors"]] == [["path", "number"], ["query", "size"]]

    def test_of_a_service(self, client: TestClient) -> None:
        body = problem(client.get("/raise/arguments"), 422, "invalid_arguments")
        assert body["errors"] == [{"loc": ["body", "kwargs", "n"], "msg": "no", "type": "x"}]

    def test_a_thousand_errors_are_cut(self, client: TestClient) -> None:
        answer = client.post("/body", json={"k" * 5000 + str(number): 1 for number in range(200)})
        assert len(problem(answer, 422, "validation_error")["errors"]) == 50
        assert len(answer.content) < 20_000

    def test_hostile_json_is_a_clean_4xx(self, client: TestClient) -> None:
        def check(raw: bytes) -> None:
            answer = client.post("/body", content=raw, headers={"Content-Type": "application/json"})
            assert answer.status_code in {400, 422}
            problem(answer, answer.status_code, {400: "bad_request", 422: "validation_error"}[answer.status_code])

        check_rows(check, [
            b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
            b'{"email": "\xff"}', b'{"email": "\\ud800"}', b'{"email": "a@example.com", "\\ud800": 1}',
            b'{"count": ' + b"9" * 5000 + b"}", b'{"count": NaN}', b'{"count": 1e400}', b"{", b"", b"null",
        ])  # fmt: skip


class TestBreakage:
    @pytest.mark.parametrize("name", ["database", "pool", "interface"])
    def test_a_database_that_is_away_is_503(
        self, client: TestClient, name: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        answer = client.get(f"/raise/{name}")
        problem(answer, 503, "database_unavailable")
        assert answer.headers["retry-after"] == "5"
        assert "hidden" not in answer.text + caplog.text
        assert "database unavailable" in caplog.text

    def test_a_scan_by_filters_that_was_stopped_is_not_to_be_repeated(self, client: TestClient) -> None:
        answer = client.get("/raise/timeout?name=x")
        assert "use narrower filters" in problem(answer, 503, "took_too_long")["detail"]
        assert "retry-after" not in answer.headers

    def test_what_has_waited_for_a_lock_is(self, client: TestClient) -> None:
        for method, query in (("GET", ""), ("POST", ""), ("POST", "?name=x")):
            answer = client.request(method, f"/raise/timeout{query}")
            problem(answer, 503, "database_unavailable")
            assert answer.headers["retry-after"] == "5"

    @pytest.mark.parametrize("name", ["broken", "programming"])
    def test_an_unforeseen_error_is_500_and_in_the_log_alone(
        self, client: TestClient, name: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.ERROR):
            answer = client.get(f"/raise/{name}")
        problem(answer, 500, "internal_error")
        assert "hidden" not in answer.text
        assert "Traceback" not in answer.text
        assert "hidden" in caplog.text
        assert answer.headers["x-content-type-options"] == "nosniff"


class TestDeclarations:
    def test_list_the_errors_and_what_any_route_may_answer(self) -> None:
        declared = problems(401, errors.TaskNotFound, errors.TaskActive, errors.InvalidTransition)
        assert list(declared) == [400, 401, 404, 409, 413, 415, 422, 429, 431, 500, 503]
        content = declared[409]["content"]["application/problem+json"]
        assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
        assert set(content["examples"]) == {"task_active", "invalid_transition"}
        assert "WWW-Authenticate" in declared[401]["headers"]
        assert 503 not in problems(database=False)

    def test_come_from_the_types_of_parameters_and_from_the_endpoint(self) -> None:
        header = {"Next": {"schema": {"type": "string"}}}
        task_id = Annotated[str, Answers(401, errors.TaskNotFound)]
        cursor = Annotated[str, Answers(errors.InvalidCursor, headers=header)]

        @raises(errors.TaskActive)
        def endpoint(of: task_id, page: cursor, more: int) -> Annotated[str, Answers(errors.LimitReached)]:
            return f"{of}{page}{more}"

        told = problems(401, errors.TaskNotFound, errors.InvalidCursor, errors.TaskActive)
        assert declared_responses(endpoint) == {200: {"headers": header}} | told

    def test_every_error_of_the_tree_can_be_declared_and_has_a_code_of_its_own(self) -> None:
        def below(kind: type[errors.ServiceError]) -> list[type[errors.ServiceError]]:
            return [kind, *(each for child in kind.__subclasses__() for each in below(child))]

        tree = [kind for kind in below(errors.ServiceError) if kind.__module__ == "app.errors"][1:]
        for kind in tree:
            json.dumps(problems(kind))
        codes = [kind.code for kind in tree if kind is not errors.InvalidTask]
        assert len(codes) == len(set(codes))
