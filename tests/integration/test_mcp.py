"""The tasks as tools of the Model Context Protocol: the SDK's own client, a real server and a worker."""

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp.client.client import Client
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolResult, TextContent

from tests.support.mcp_client import MODES, ask, call, new_key
from tests.support.running import Running, example_stack, started
from tests.support.services import Services
from tests.support.waiting import wait_for

CALL_SECONDS = 2.0
ORIGIN = "https://agent.example.com"
HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


@pytest.fixture(scope="module")
def running(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    named = {"MCP_ENABLED": "true", "MCP_CALL_SECONDS": str(CALL_SECONDS), "CORS_ORIGINS": ORIGIN}
    with example_stack(services, tmp_path_factory.mktemp("mcp"), **named) as stack:
        stack.stack.worker(concurrency=2)
        yield stack


@pytest.fixture(scope="module")
def key(running: Running) -> str:
    return new_key(running)


def names(running: Running, key: str, mode: str = "auto") -> set[str]:
    async def listed(client: Client) -> set[str]:
        return {tool.name for tool in (await client.list_tools()).tools}

    return ask(running, key, listed, mode)


def state(result: CallToolResult) -> dict[str, Any]:
    """The structured content, which the last text repeats."""
    assert isinstance(result.structured_content, dict), result
    last = result.content[-1]
    assert isinstance(last, TextContent)
    assert json.loads(last.text) == result.structured_content
    return result.structured_content


def refusal(result: CallToolResult) -> tuple[str, str]:
    """The code and the words of an error."""
    assert result.is_error
    said, problem = result.content
    assert isinstance(said, TextContent)
    assert isinstance(problem, TextContent)
    code = str(json.loads(problem.text)["code"])
    assert said.text.startswith(f"{code}: ")
    return code, said.text


def post(running: Running, body: Any = PING, **headers: str) -> httpx.Response:
    with httpx.Client(base_url=running.stack.url) as client:
        return client.post("/mcp", json=body, headers={**HEADERS, **headers})


class TestTools:
    @pytest.mark.parametrize("mode", MODES)
    def test_are_the_tasks_of_the_catalogue_and_three_more(self, running: Running, key: str, mode: str) -> None:
        known = {each["celery_task_name"] for each in running.http.get("/api/v1/tasks/types").json()}
        expected = {name.replace(".", "-") for name in known} | {"get_task", "wait_task", "cancel_task"}
        assert names(running, key, mode) == expected

    def test_have_the_schema_and_the_first_paragraph_of_the_task(self, running: Running, key: str) -> None:
        async def listed(client: Client) -> Any:
            return {tool.name: tool for tool in (await client.list_tools()).tools}

        tool = ask(running, key, listed)["tests-hold"]
        (kind,) = (
            each for each in running.http.get("/api/v1/tasks/types").json() if each["celery_task_name"] == "tests.hold"
        )
        assert tool.input_schema == kind["parameters"]
        assert tool.description == "Run until the gate opens, or until it is cancelled."

    def test_of_a_key_are_those_of_its_scopes(self, running: Running) -> None:
        assert names(running, new_key(running, "tasks:read")) == {"get_task", "wait_task"}
        writing = names(running, new_key(running, "tasks:write"))
        assert {"cancel_task", "tests-echo"} <= writing
        assert writing & {"get_task", "wait_task"} == set()


class TestACall:
    @pytest.mark.parametrize("mode", MODES)
    def test_answers_with_the_result(self, running: Running, key: str, mode: str) -> None:
        result = call(running, key, "tests-echo", mode=mode, text="数据", number=3)
        found = state(result)
        assert (found["status"], result.is_error) == ("succeeded", False)
        assert found["result"] == {"args": [], "kwargs": {"text": "数据", "number": 3}}
        task = running.get(found["task_id"])
        assert (task["task_type"], task["celery_task_name"]) == ("mcp", "tests.echo")

    def test_may_name_arguments_that_python_takes_by_place(self, running: Running, key: str) -> None:
        assert state(call(running, key, "tests-echo", args=[1, 2], more=3))["result"] == {
            "args": [1, 2],
            "kwargs": {"more": 3},
        }

    @pytest.mark.parametrize("mode", MODES)
    def test_may_have_large_arguments(self, running: Running, key: str, mode: str) -> None:
        large = ["数据" * 1000] * 20
        assert state(call(running, key, "tests-echo", mode=mode, large=large))["result"]["kwargs"] == {"large": large}
        code, said = refusal(call(running, key, "tests-hold", mode=mode, unknown=large))
        assert (code, "kwargs.unknown" in said) == ("invalid_arguments", True)

    def test_that_waits_for_a_large_task_lets_the_next_one_begin(
        self, running: Running, key: str, tmp_path: Path
    ) -> None:
        gate, large = tmp_path / "gate", "x" * 20_000

        async def talk(client: Client) -> CallToolResult:
            arguments = {"gate": str(gate), "ledger": str(tmp_path / "ledger"), "answer": large}
            calling = asyncio.create_task(client.call_tool("tests-hold_deaf", arguments))
            await asyncio.to_thread(started, tmp_path / "ledger")
            echoed = await client.call_tool("tests-echo", {"large": large})
            assert not calling.done()
            gate.touch()
            await calling
            return echoed

        assert state(ask(running, key, talk))["status"] == "succeeded"

    def test_that_fails_says_so(self, running: Running, key: str, tmp_path: Path) -> None:
        result = call(running, key, "tests-say_and_fail", words="the words of the error")
        assert result.is_error
        assert state(result)["error"]["message"] == "the words of the error"
        said = result.content[0]
        assert isinstance(said, TextContent)
        assert said.text == "The task has failed: ValueError: the words of the error"

    def test_with_wrong_arguments_is_refused_in_words(self, running: Running, key: str) -> None:
        before = running.http.get("/api/v1/tasks/count").json()["total"]
        code, said = refusal(call(running, key, "tests-hold", gate=7, unknown=True))
        assert code == "invalid_arguments"
        assert "kwargs.ledger" in said or "kwargs.unknown" in said
        assert running.http.get("/api/v1/tasks/count").json()["total"] == before

    def test_of_an_unknown_tool_is_an_error_of_the_protocol(self, running: Running, key: str) -> None:
        async def talk(client: Client) -> None:
            with pytest.raises(MCPError, match="Unknown tool"):
                await client.call_tool("tests-no_such_task")

        ask(running, key, talk)

    @pytest.mark.parametrize("mode", MODES)
    def test_tells_of_the_progress(self, running: Running, key: str, tmp_path: Path, mode: str) -> None:
        gate, told = tmp_path / "gate", list[tuple[float, float | None]]()

        async def on_progress(progress: float, total: float | None, _: str | None) -> None:
            told.append((progress, total))
            gate.touch()

        async def talk(client: Client) -> CallToolResult:
            arguments = {"gate": str(gate), "ledger": str(tmp_path / "ledger")}
            return await client.call_tool("tests-hold", arguments, progress_callback=on_progress)

        assert state(ask(running, key, talk, mode))["status"] == "succeeded"
        assert told[0] == (40, 100)
        assert told == sorted(set(told))

    def test_counts_against_the_quotas(self, services: Services, tmp_path: Path) -> None:
        named = {"MCP_ENABLED": "true", "QUOTA_QUEUED_TASKS": "1", "MCP_CALL_SECONDS": "0.1"}
        with example_stack(services, tmp_path, **named) as alone:
            key = new_key(alone)
            assert state(call(alone, key, "tests-echo"))["status"] == "pending"
            assert refusal(call(alone, key, "tests-echo"))[0] == "queued_tasks_quota"


class TestALongCall:
    @pytest.mark.parametrize("mode", MODES)
    def test_answers_with_the_state_and_goes_on(self, running: Running, key: str, tmp_path: Path, mode: str) -> None:
        gate, ledger = tmp_path / "gate", tmp_path / "ledger"
        result = call(running, key, "tests-hold", mode=mode, gate=str(gate), ledger=str(ledger))
        found = state(result)
        assert (found["status"], result.is_error) == ("running", False)
        said = result.content[0]
        assert isinstance(said, TextContent)
        assert said.text == f"The task {found['task_id']} is running, at 40 %. It goes on: call wait_task with this id."
        task_id = found["task_id"]
        assert state(call(running, key, "get_task", mode=mode, task_id=task_id))["status"] == "running"
        assert state(call(running, key, "wait_task", mode=mode, task_id=task_id, seconds=0.1))["status"] == "running"
        gate.touch()
        ended = state(call(running, key, "wait_task", mode=mode, task_id=task_id))
        assert (ended["status"], ended["result"]["task_id"]) == ("succeeded", task_id)

    @pytest.mark.parametrize("mode", MODES)
    def test_is_answered_before_the_server_stops(self, services: Services, tmp_path: Path, mode: str) -> None:
        with example_stack(services, tmp_path, MCP_ENABLED="true") as alone:
            server, key = alone.stack.server(), new_key(alone)

            async def talk(client: Client) -> CallToolResult:
                await client.list_tools()  # the client looks the result's schema up, else behind the answer
                calling = asyncio.create_task(client.call_tool("tests-echo"))
                await asyncio.to_thread(wait_for, lambda: alone.http.get("/api/v1/tasks/").json(), 20, "the task")
                server.send(signal.SIGTERM)
                return await calling

            assert state(ask(alone, key, talk, mode))["status"] == "pending"
            wait_for(lambda: not server.running, 10, "the server to stop")

    def test_is_stopped_by_the_tool_for_that(self, running: Running, key: str, tmp_path: Path) -> None:
        arguments = {"gate": str(tmp_path / "gate"), "ledger": str(tmp_path / "ledger")}
        task_id = state(call(running, key, "tests-hold", **arguments))["task_id"]
        cancelled = call(running, key, "cancel_task", task_id=task_id)
        assert state(cancelled)["cancel_requested_at"] is not None
        assert running.ended(task_id)["status"] == "revoked"
        waited = call(running, key, "wait_task", task_id=task_id)
        assert (state(waited)["status_reason"], waited.is_error) == ("cancelled", True)
        assert not call(running, key, "get_task", task_id=task_id).is_error

    @pytest.mark.parametrize("mode", MODES)
    def test_that_the_client_gives_up_goes_on(self, running: Running, key: str, tmp_path: Path, mode: str) -> None:
        gate, ledger = tmp_path / "gate", tmp_path / "ledger"

        async def talk(client: Client) -> None:
            calling = asyncio.create_task(client.call_tool("tests-hold", {"gate": str(gate), "ledger": str(ledger)}))
            await asyncio.to_thread(started, ledger)
            calling.cancel()

        ask(running, key, talk, mode)
        (task,) = running.http.get("/api/v1/tasks/", params={"status": "running"}).json()
        gate.touch()
        assert running.ended(task["id"])["status"] == "succeeded"


class TestRights:
    def test_a_key_needs_the_scope_of_the_same_call(self, running: Running, key: str) -> None:
        reading, writing = new_key(running, "tasks:read"), new_key(running, "tasks:write")
        assert refusal(call(running, reading, "tests-echo")) == (
            "insufficient_scope",
            "insufficient_scope: The API key lacks the scope tasks:write",
        )
        created = state(call(running, writing, "tests-echo"))
        assert created["status"] == "pending"  # it may not see more, and does not wait
        assert refusal(call(running, writing, "get_task", task_id=created["task_id"]))[0] == "insufficient_scope"
        assert state(call(running, reading, "wait_task", task_id=created["task_id"]))["status"] == "succeeded"

    def test_a_denial_is_in_the_audit(self, running: Running) -> None:
        reading = new_key(running, "tasks:read")
        call(running, reading, "cancel_task", task_id="019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11")

        def recorded() -> bool:
            found = running.stack.sql(
                "SELECT actor_id FROM audit_events WHERE event = 'access.denied' AND object_id = 'POST /mcp'"
            )
            return bool(found) and found[0][0] is not None

        wait_for(recorded, 20, what="the denial to be recorded")

    def test_a_task_of_another_user_is_not_found(self, running: Running, key: str) -> None:
        task_id = state(call(running, key, "tests-echo"))["task_id"]
        other = new_key(running, token=running.stack.make_user("user")[1])
        for tool in ("get_task", "wait_task", "cancel_task"):
            assert refusal(call(running, other, tool, task_id=task_id))[0] == "task_not_found"
            assert refusal(call(running, key, tool, task_id="no id"))[0] == "validation_error"

    def test_no_key_and_a_login_are_401(self, running: Running) -> None:
        for headers in ({}, {"Authorization": f"Bearer {running.token}"}, {"Authorization": "Bearer tsk_wrong"}):
            answer = post(running, **headers)
            assert answer.status_code == 401, answer.text
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")

    def test_a_key_that_is_revoked_meanwhile_ends_the_call(self, running: Running, tmp_path: Path) -> None:
        revoked, ledger = new_key(running), tmp_path / "ledger"

        async def talk(client: Client) -> CallToolResult:
            arguments = {"gate": str(tmp_path / "gate"), "ledger": str(ledger)}
            calling = asyncio.create_task(client.call_tool("tests-hold", arguments))
            await asyncio.to_thread(started, ledger)
            keys = await asyncio.to_thread(running.http.get, "/api/v1/auth/api-keys")
            (found,) = [each["id"] for each in keys.json() if revoked.startswith(each["prefix"])]
            await asyncio.to_thread(running.http.delete, f"/api/v1/auth/api-keys/{found}")
            return await calling

        assert refusal(ask(running, revoked, talk))[0] == "invalid_token"
        (task,) = running.http.get("/api/v1/tasks/", params={"status": "running"}).json()
        running.post(task["id"], "cancel")
        running.ended(task["id"])


class TestTransport:
    def test_pages_of_foreign_origins_are_refused(self, running: Running, key: str) -> None:
        bearer = {"Authorization": f"Bearer {key}"}
        for origin in ("https://evil.example.com", "null", running.stack.url):
            refused = post(running, Origin=origin, **bearer)
            assert (refused.status_code, refused.json()["code"]) == (403, "foreign_origin"), origin
        assert post(running, Origin=ORIGIN, **bearer).status_code == 200

    def test_only_post_is_served(self, running: Running, key: str) -> None:
        with httpx.Client(base_url=running.stack.url, headers={"Authorization": f"Bearer {key}"}) as client:
            for method in ("GET", "DELETE"):
                answer = client.request(method, "/mcp")
                assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")

    def test_the_body_is_bounded(self, running: Running, key: str) -> None:
        bearer = {"Authorization": f"Bearer {key}"}
        huge = {**PING, "params": {"x": "a" * 3_000_000}}
        assert post(running, huge, **bearer).status_code == 413
        many = {**PING, "params": {"x": [1] * 200_000}}
        refused = post(running, many, **bearer)
        large = {**PING, "params": {"_meta": {"x": "a" * 20_000}}}
        assert (post(running, large, **bearer).status_code, post(running, [1] * 9_000, **bearer).status_code) == (
            413,
            422,
        )
        assert (refused.status_code, refused.json()["errors"][0]["type"]) == (422, "too_many_values")
        deep: Any = 1
        for _ in range(900):
            deep = [deep]
        assert post(running, {**PING, "params": {"x": deep}}, **bearer).status_code in {200, 400}
        assert post(running, "no object", **bearer).status_code == 400
        assert post(running, **bearer).headers["Cache-Control"].startswith("no-")

    def test_requests_are_counted_by_the_route(self, running: Running, key: str) -> None:
        assert post(running, Authorization=f"Bearer {key}").status_code == 200
        assert 'route="/mcp"' in running.http.get("/metrics").text
