"""The endpoint without a service: off, refused before the database is asked, and its start without the package."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from fastapi import HTTPException
from starlette.testclient import TestClient

from app.core import process_start
from app.core.fair_threads import CallerGone
from app.core.json_text import MAX_VALUES, SMALL_BYTES
from app.core.security import create_access_token, new_api_key
from app.errors import InvalidInput
from app.main import create_app
from app.mcp.large_bodies import UserTurns, without_arguments
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
    assert code == str(process_start.EXIT_CONFIGURATION)


def request(method: str = "tools/call", name: str = "app-tasks-x", **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"name": name, **params}}


LARGE = {"x": ["a" * 100] * 1000}


class TestALargeBody:
    def test_is_a_call_without_its_arguments_and_these(self) -> None:
        body, arguments = without_arguments(json.dumps(request(arguments=LARGE, _meta={"y": 1})).encode())
        assert (json.loads(body), arguments) == (request(_meta={"y": 1}), LARGE)
        assert len(body) < SMALL_BYTES

    @pytest.mark.parametrize(
        "body",
        [
            request("initialize", arguments=LARGE),
            request("ping", arguments=LARGE),
            request(name="get_task", arguments=LARGE),
            request(arguments={}, _meta=LARGE),
        ],
        ids=["initialize", "ping", "get_task", "_meta"],
    )
    def test_of_another_request_is_413(self, body: dict[str, Any]) -> None:
        with pytest.raises(HTTPException, match="413"):
            without_arguments(json.dumps(body).encode())

    @pytest.mark.parametrize(
        ("body", "kind"),
        [
            ([1] * (MAX_VALUES + 1), "too_many_values"),
            ("{" * 20_000, "invalid_request"),
            (request(arguments=[1] * 9_000), "invalid_request"),
            ({**request(arguments=LARGE), "jsonrpc": "1.0"}, "invalid_request"),
            (
                {"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "x", "arguments": LARGE}},
                "invalid_request",
            ),
            ({"jsonrpc": "2.0", "id": 1, "result": LARGE}, "invalid_request"),
        ],
    )
    def test_that_is_no_request_is_refused(self, body: Any, kind: str) -> None:
        with pytest.raises(InvalidInput) as refused:
            without_arguments(json.dumps(body).encode())
        assert refused.value.errors[0]["type"] == kind
        with pytest.raises(InvalidInput):
            without_arguments(b"[" * 1000)


def test_one_large_call_of_a_user_is_in_progress_at_a_time() -> None:
    async def here() -> bool:
        return False

    async def gone() -> bool:
        return True

    async def scenario() -> None:
        turns, user, other = UserTurns(), uuid4(), uuid4()
        first, has_waited = await turns.begin(user, here)
        assert not has_waited
        await turns.begin(other, here)
        second = asyncio.create_task(turns.begin(user, here))
        await asyncio.sleep(0)
        assert not second.done()
        first.forget()
        first.forget()  # ends no other turn
        assert (await second)[1]
        with pytest.raises(CallerGone):
            await turns.begin(user, gone)

    asyncio.run(scenario())
