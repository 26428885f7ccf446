"""Paths with and without the slash."""

import pytest
from fastapi import APIRouter, FastAPI
from starlette.testclient import TestClient

from app.api import routes
from app.api.http.router import SlashRouter
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


def test_a_plain_router_of_fastapi_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its routes would take any query parameter, and bodies of any length."""
    monkeypatch.setattr(routes, "ROUTERS", (*routes.ROUTERS, APIRouter(prefix="/reports", tags=["reports"])))
    with pytest.raises(TypeError, match="the router of /reports below /api/v1 is no SlashRouter"):
        create_app()
