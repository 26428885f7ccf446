"""The endpoint without a service: off, refused before the database is asked, and its start without the package."""

from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from app.core import exit_codes
from app.core.api_key_tokens import new_api_key
from app.core.security import create_access_token
from app.main import create_app
from tests.support.settings import settings
from tests.support.sources import run_program

ORIGIN = "https://agent.example.com"
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
WITHOUT_THE_PACKAGE = """
import sys
sys.modules["mcp"] = None
sys.stderr = sys.stdout
try:
    import app.main
except SystemExit as end:
    print(end.code)
"""


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with settings({"MCP_ENABLED": "true", "CORS_ORIGINS": ORIGIN}):
        yield TestClient(create_app())


def code(client: TestClient, **headers: str) -> tuple[int, str]:
    answer = client.post("/mcp", json=PING, headers=headers)
    return answer.status_code, answer.json()["code"]


def test_is_not_there_unless_it_is_enabled() -> None:
    with settings({"MCP_ENABLED": "false"}):
        off = TestClient(create_app())
        for method in ("GET", "POST"):
            answer = off.request(method, "/mcp")
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_needs_a_key(client: TestClient) -> None:
    assert code(client) == (401, "not_authenticated")
    assert code(client, Origin=ORIGIN) == (401, "not_authenticated")
    login = create_access_token(uuid4(), uuid4(), datetime.now(UTC))
    assert code(client, Authorization=f"Bearer {login}") == (401, "not_authenticated")
    wrong = new_api_key()[:-1] + "!"
    assert code(client, Authorization=f"Bearer {wrong}") == (401, "invalid_token")


@pytest.mark.parametrize("origin", ["https://evil.example.com", "http://testserver", "null", f"{ORIGIN}.evil.example"])
def test_refuses_pages_of_other_origins(client: TestClient, origin: str) -> None:
    assert code(client, Origin=origin) == (403, "foreign_origin")


def test_pages_of_the_origins_in_the_settings_may_send_its_headers(client: TestClient) -> None:
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, mcp-protocol-version",
    }
    assert client.options("/mcp", headers=asked).status_code == 200


def test_other_methods_are_405(client: TestClient) -> None:
    answer = client.get("/mcp")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


def test_without_the_package_the_start_says_which_extra_brings_it() -> None:
    said, code = run_program(WITHOUT_THE_PACKAGE, SECRET_KEY="x" * 40, MCP_ENABLED="true").splitlines()
    assert said == "configuration: MCP_ENABLED=true needs the package mcp: pip install 'task-service[mcp]'"
    assert code == str(exit_codes.CONFIGURATION)
