"""The fast path: what it answers, what it leaves to FastAPI, what becomes of its errors, which routes may have it."""

from collections.abc import Sequence
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Request, Response, Security
from fastapi.security import SecurityScopes
from starlette.testclient import TestClient

from app.api.http.error_handlers import add_problem_handlers
from app.api.http.fast_path import FastPath, json_body, read_fast
from app.api.http.middleware import RequestContext, RequestMetrics, UnhandledErrors, route_template
from app.core.metrics import TaskNumbers, exposition
from app.errors import TaskNotFound
from app.schemas.base import RequestModel

ID = "019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11"


class Thing(RequestModel):
    name: str


async def _create(request: Request, scopes: Sequence[str]) -> Response | None:
    thing = await json_body(request, Thing)
    return None if thing is None else Response(f"short {thing.name} {' '.join(scopes)}")


async def _get(request: Request, scopes: Sequence[str]) -> Response | None:
    assert scopes == ["read"]
    if "missing" in request.headers:
        raise TaskNotFound
    if "broken" in request.headers:
        raise RuntimeError("on purpose")
    return Response(f"short {request.path_params['part']} of {route_template(request.scope)}")


async def authorization(needed: SecurityScopes) -> str:
    return " ".join(needed.scopes)


Writer = Annotated[str, Security(authorization, scopes=["write"])]
Reader = Annotated[str, Security(authorization, scopes=["read"])]

app = FastAPI(redirect_slashes=False)
add_problem_handlers(app)
app.add_middleware(FastPath, routes=app.router.routes, authorization=authorization)
app.add_middleware(RequestMetrics)
app.add_middleware(UnhandledErrors)
app.add_middleware(RequestContext)


@app.post("/parts/")
@read_fast(_create)
async def create(_user: Writer, thing: Thing) -> str:
    return f"long {thing.name}"


@app.get("/parts/count")
async def count() -> str:
    return "long count"


@app.get("/parts/{part}")
@read_fast(_get)
async def get(_user: Reader, part: str) -> str:
    return f"long {part}"


def test_a_body_that_is_understood_is_answered_with_the_scopes_of_the_route(client: TestClient) -> None:
    assert client.post("/parts/", json={"name": "x"}).text == "short x write"


def test_fastapi_reads_again_what_was_given_up(client: TestClient) -> None:
    for kind in ("application/json; charset=utf-8", "application/JSON"):
        answer = client.post("/parts/", content='{"name": "x"}', headers={"Content-Type": kind})
        assert answer.json() == "long x", kind


def test_what_was_read_before_it_was_given_up_is_refused_by_fastapi(client: TestClient) -> None:
    answer = client.post("/parts/", json={"name": "x", "more": 1})
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["body", "more"])


def test_of_parameters_an_id_alone_is_taken(client: TestClient) -> None:
    texts = {
        ID: f"short {ID} of /parts/{{part}}", "count": '"long count"', "{}": '"long {}"', "%7Bpart%7D": '"long {part}"',
    }  # fmt: skip
    assert {path: client.get(f"/parts/{path}").text for path in texts} == texts


def test_fastapi_refuses_another_method(client: TestClient) -> None:
    answer = client.post(f"/parts/{ID}", json={"name": "x"})
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


def test_it_answers_below_a_prefix_too() -> None:
    below = TestClient(app, root_path="/svc")
    assert below.get(f"/svc/parts/{ID}").text.startswith("short")


def test_its_errors_are_problems_as_all_are(client: TestClient) -> None:
    answer = client.get(f"/parts/{ID}", headers={"missing": "1"})
    assert (answer.status_code, answer.json()["code"]) == (404, "task_not_found")
    assert answer.headers["x-frame-options"] == "DENY"


def test_an_unforeseen_error_is_a_500_that_is_counted_for_its_route(client: TestClient) -> None:
    answer = client.get(f"/parts/{ID}", headers={"broken": "1"})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    counted: Any = exposition(TaskNumbers, list).decode()
    assert 'http_requests_total{method="GET",route="/parts/{part}",status="500"}' in counted


@pytest.mark.parametrize("guard", ["none", "another", "one more"])
def test_a_route_that_is_guarded_otherwise_is_refused(guard: str) -> None:
    async def another() -> None: ...

    guarded = FastAPI()
    user = {"none": str, "another": Annotated[str, Depends(another)], "one more": Reader}[guard]
    more = [Depends(another)] if guard == "one more" else []

    @guarded.get("/parts/{part}", dependencies=more)
    @read_fast(_get)
    async def get(user: user, part: str) -> None: ...  # type: ignore[valid-type]

    with pytest.raises(ValueError, match="guarded by authorization alone"):
        FastPath(guarded, guarded.router.routes, authorization)
