"""A query parameter that a route does not have is refused, and so is a single one that is sent twice."""

from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query
from pydantic import BaseModel, Field
from starlette.testclient import TestClient

from app.api.deps import check_token, oauth2_scheme
from app.api.http.body_route import bound_bodies
from app.api.http.error_handlers import add_problem_handlers
from app.api.http.router import SlashRouter, StrictRoute
from app.core.config import get_settings
from app.main import create_app
from tests.support.tables import check_rows

router = SlashRouter(prefix="/things")


class Wanted(BaseModel):
    tag: list[str] = []
    status: str | None = None
    made_by: str | None = Field(None, alias="from")


async def wanted(query: Annotated[Wanted, Query()]) -> Wanted:
    return query


@router.get("/")
async def list_things(query: Annotated[Wanted, Depends(wanted)], limit: int = 5) -> dict[str, Any]:
    return query.model_dump() | {"limit": limit}


@router.get("/guarded")
async def guarded(_token: Annotated[str | None, Depends(oauth2_scheme)]) -> None: ...


app = FastAPI()
add_problem_handlers(app)
router.add_to(app, "", StrictRoute)
bound_bodies(app.router.routes, get_settings(), oauth2_scheme, check_token)


def refused(client: TestClient, query: str, code: str) -> Any:
    answer = client.get(f"/things/?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, code), query
    return answer.json()


def test_what_the_route_has_is_taken(client: TestClient) -> None:
    answer = client.get("/things/?tag=a&tag=b&status=x&from=me&limit=3")
    assert answer.json() == {"tag": ["a", "b"], "status": "x", "made_by": "me", "limit": 3}


def test_a_misspelt_one_is_named_with_the_nearest(client: TestClient) -> None:
    def check(name: str, meant: str) -> None:
        problem = refused(client, f"{name}=secret", "unknown_parameter")
        (error,) = problem["errors"]
        assert (error["loc"], error["type"]) == (["query", name], "unknown_parameter")
        assert error["msg"] == f"unknown parameter{meant}"
        assert problem["detail"] == (f"Unknown query parameter: {name}{meant}. Known: from, limit, status, tag")
        assert "secret" not in str(problem)

    check_rows(check, [
        ("tags", ", did you mean tag"),
        ("state", ", did you mean status"),
        ("LIMIT", ", did you mean limit"),
        ("made_by", ""),  # the field has another name outside
        ("page", ""),
    ])  # fmt: skip


def test_without_any_it_says_so(client: TestClient) -> None:
    answer = client.get("/things/guarded?x=1", headers={"Authorization": "Bearer no-token"})
    assert answer.status_code == 401  # who may not ask is told that first
    assert router.prefix == "/things"
    (route,) = [each for each in app.router.routes if getattr(each, "path", "") == "/things/guarded"]
    assert isinstance(route, StrictRoute)
    assert route.query_parameters == {}


def test_a_single_one_may_be_sent_once(client: TestClient) -> None:
    problem = refused(client, "limit=1&limit=2&tag=a&tag=b", "repeated_parameter")
    assert [each["loc"] for each in problem["errors"]] == [["query", "limit"]]


def test_many_unknown_ones_are_not_all_repeated(client: TestClient) -> None:
    problem = refused(client, "&".join(f"{'x' * 200}{number}=1" for number in range(100)), "unknown_parameter")
    assert len(problem["errors"]) == 1  # cut, they are the same
    problem = refused(client, "&".join(f"x{number}=1" for number in range(100)), "unknown_parameter")
    assert len(problem["errors"]) == 10


def test_every_route_of_the_api_is_strict() -> None:
    routes = [each for each in create_app().router.routes if getattr(each, "path", "").startswith("/api/v1")]
    assert routes
    assert [each for each in routes if not isinstance(each, StrictRoute)] == []
