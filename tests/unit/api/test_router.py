"""Paths with and without the slash."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.testclient import TestClient

from app.api import routes
from app.api.deps import TaskReader, check_token, oauth2_scheme
from app.api.http.body_route import DEFAULT_BYTES, bound_bodies
from app.api.http.error_handlers import add_problem_handlers
from app.api.http.openapi import openapi_document
from app.api.http.router import SlashRouter
from app.core.config import Settings
from app.core.fair_threads import FairThreads
from app.main import create_app

router = SlashRouter(prefix="/things")


@router.get("/")
async def list_things() -> str:
    return "list"


@router.post("/")
async def create_thing() -> str:
    return "create"


@router.get("/{thing}")
async def get_thing(thing: str) -> str:
    return thing


app = FastAPI(redirect_slashes=False)
router.add_to(app, "/api")


def test_both_forms_answer_without_a_redirect(client: TestClient) -> None:
    for path in ("/api/things", "/api/things/"):
        assert client.get(path).json() == "list"
        assert client.post(path).json() == "create"


def test_a_path_without_a_slash_has_no_twin(client: TestClient) -> None:
    assert client.get("/api/things/x").json() == "x"
    assert client.get("/api/things/x/").status_code == 404


def test_the_schema_shows_the_documented_form_alone(client: TestClient) -> None:
    assert set(client.get("/openapi.json").json()["paths"]) == {"/api/things/", "/api/things/{thing}"}


class Report(BaseModel):
    name: str
    note: str | None = None


class Numbered(APIRoute):
    """A class of routes of a user's own, which adds a header."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_numbered(request: Request) -> Response:
            answer = await handle(request)
            answer.headers["X-Number"] = "1"
            return answer

        return handle_numbered


async def note_seen(response: Response) -> None:
    response.headers["X-Seen"] = "1"


# As a module of FastAPI's documentation has it.
plain = APIRouter(prefix="/reports", tags=["reports"], dependencies=[Depends(note_seen)])
of_admins = APIRouter(prefix="/admin", route_class=Numbered)


@plain.get("")
def list_reports(first: int = 0):
    return [{"name": "a", "first": first}]


@plain.post("/", status_code=201, response_model=Report, response_model_exclude_none=True)
def create_report(report: Report) -> dict[str, Any]:
    """Create it."""
    return {"name": report.name, "note": None, "secret": 1}


@plain.get("/{name}/page", response_class=HTMLResponse)
async def show_report(name: str) -> str:
    return f"<p>{name}</p>"


@plain.get("/rows")
def stream_rows() -> Iterator[Report]:
    yield Report(name="a")


@of_admins.get("/secret")
def secret(_user: TaskReader) -> str:
    return "x"


plain.include_router(of_admins)
plain.mount("/mounted", PlainTextResponse("mounted"))


class TestPlainRouter:
    """A module of `app/api/endpoints/` with an APIRouter works as in any FastAPI project, within the bounds."""

    @pytest.fixture
    def reports(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
        @asynccontextmanager
        async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Any]]:
            yield {"threads": FairThreads(4, 16)}

        monkeypatch.setattr(routes, "ROUTERS", (plain,))
        made = FastAPI(redirect_slashes=False, lifespan=lifespan)
        add_problem_handlers(made)
        routes.add_routes(made)
        bound_bodies(made.router.routes, Settings(), oauth2_scheme, check_token)
        with TestClient(made, follow_redirects=False) as client:
            yield client

    def test_answers_with_and_without_the_slash(self, reports: TestClient) -> None:
        for slash in ("", "/"):
            listed = reports.get(f"/api/v1/reports{slash}", params={"first": 2})
            assert (listed.json(), listed.headers["x-seen"]) == ([{"name": "a", "first": 2}], "1")
            made = reports.post(f"/api/v1/reports{slash}", json={"name": "b"})
            assert (made.status_code, made.json()) == (201, {"name": "b"})
            page = reports.get(f"/api/v1/reports/x/page{slash}")
            assert (page.text, page.headers["content-type"]) == ("<p>x</p>", "text/html; charset=utf-8")
            assert reports.get(f"/api/v1/reports/rows{slash}").json() == {"name": "a", "note": None}
        assert reports.get("/api/v1/mounted/").text == "mounted"

    def test_has_the_bounds_of_the_service(self, reports: TestClient) -> None:
        for slash in ("", "/"):
            for wrong in ({"frist": 1}, {"first": [1, 2]}):
                assert reports.get(f"/api/v1/reports{slash}", params=wrong).status_code == 422
            large = {"name": "x" * DEFAULT_BYTES}
            assert reports.post(f"/api/v1/reports{slash}", json=large).json()["code"] == "body_too_large"
            assert reports.post(f"/api/v1/reports{slash}", content=b"{}").status_code == 415
            assert reports.get(f"/api/v1/reports/admin/secret{slash}").status_code == 401

    def test_is_in_the_document(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(routes, "ROUTERS", (*routes.ROUTERS, plain))
        paths = openapi_document(create_app())["paths"]
        assert {"/api/v1/reports", "/api/v1/reports/", "/api/v1/reports/{name}/page"} <= paths.keys()
        assert "/api/v1/reports/{name}/page/" not in paths
        assert paths["/api/v1/reports/admin/secret"]["get"]["description"] == "API keys need the scope `tasks:read`."
