"""Which tools a key has, and what they say of themselves."""

import asyncio
import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import jsonschema
import pytest
from fastapi import Request
from mcp.types import CallToolResult, TextContent

from app.catalogue import catalogue
from app.core.fair_threads import CallerGone
from app.errors import InvalidArguments, TooManyRequests, TooManyStreams
from app.mcp.calls import Call, refusal_answer, task_answer, wait_for_end, wanted_task
from app.mcp.large_bodies import LARGE_ARGUMENTS, LargeArguments
from app.mcp.tools import input_schema, tools_for
from app.schemas.task import TASK, TaskRead
from app.services.accounts.auth_service import Principal

USER = Principal(UUID(int=1), "ada", "user", "critical", api_key_id=UUID(int=2))
FIRST = "app.tasks.common_tasks.long_running_task"


def names(*scopes: str) -> list[str]:
    return [tool.name for tool in tools_for(replace(USER, scopes=scopes))]


def task(**fields: Any) -> TaskRead:
    return TaskRead.model_validate({**TASK, "metadata_": {}, **fields})


class TestTools:
    def test_are_those_of_the_scopes(self) -> None:
        assert names() == []
        assert names("tasks:read") == ["get_task", "wait_task"]
        assert names("tasks:write")[0] == "cancel_task"
        with_both = {*names("tasks:write", "tasks:read")} - {*names("tasks:write"), *names("tasks:read")}
        assert "app-tasks-common_tasks-export_tasks" in with_both
        assert with_both == {each.replace(".", "-") for each, kind in catalogue().items() if kind.always_reads}
        assert FIRST.replace(".", "-") in names("tasks:write")

    @pytest.mark.parametrize("tool", ["get_task", "wait_task", "cancel_task", FIRST.replace(".", "-")])
    def test_have_the_schema_of_an_object(self, tool: str) -> None:
        schema = input_schema(tool)
        assert schema is not None
        assert schema["type"] == "object"
        jsonschema.Draft202012Validator.check_schema(schema)

    def test_of_tasks_have_the_schema_of_the_catalogue(self) -> None:
        assert input_schema(FIRST.replace(".", "-")) == catalogue()[FIRST].parameters
        assert input_schema("no-such_task") is None

    def test_are_described_by_the_first_paragraph(self) -> None:
        described = {tool.title: tool.description for tool in tools_for(USER)}
        for name, kind in catalogue().items():
            if name in described:
                assert described[name] == kind.first_paragraph
                assert kind.first_paragraph.startswith(kind.summary)


def test_a_large_call_whose_arguments_are_forgotten_makes_no_task() -> None:
    """Its caller has gone. What the SDK was given of it is an empty object, with which a task could start."""

    async def call() -> Call:
        return Call(
            cast("Request", SimpleNamespace(scope={"state": {"principal": USER, LARGE_ARGUMENTS: large}})), 1, None
        )

    large = LargeArguments(lambda: None)
    large.given = {"duration": 1}
    begun = asyncio.run(call())
    assert begun._wanted(catalogue()[FIRST], {}).kwargs == {"duration": 1}
    large.forget()
    with pytest.raises(CallerGone):
        begun._wanted(catalogue()[FIRST], {})


@pytest.mark.parametrize(
    ("tool", "scope"),
    [("get_task", "tasks:write"), ("wait_task", "tasks:write"), ("cancel_task", "tasks:read"), (FIRST.replace(".", "-"), "tasks:read")],
)  # fmt: skip
def test_a_call_needs_the_scope_of_its_tool(tool: str, scope: str) -> None:
    async def call() -> CallToolResult:
        state = {"principal": replace(USER, scopes=(scope,))}
        return await Call(cast("Request", SimpleNamespace(scope={"state": state})), 1, None).run(tool, {})

    assert texts(asyncio.run(call()))[0].startswith("insufficient_scope: The API key lacks the scope tasks:")


class TestProgress:
    """Of a call whose client has asked for it."""

    async def told(self, watcher: Any) -> list[int]:
        found: list[int] = []

        async def report(percent: int) -> None:
            found.append(percent)

        await wait_for_end(watcher, UUID(int=7), USER, 5, report)
        return found

    def test_only_rises(self) -> None:
        """An attempt that is repeated begins at 0."""

        async def talk() -> list[int]:
            states = iter([0, 40, 40, 0, 30, 60])

            async def next_piece() -> Any:
                progress = next(states, None)
                return None if progress is None else SimpleNamespace(state=SimpleNamespace(progress=progress))

            async def follow(*_: Any) -> Any:
                return SimpleNamespace(next_piece=next_piece)

            return await self.told(SimpleNamespace(follow=follow, leave=lambda _: None))

        assert asyncio.run(talk()) == [40, 60]

    def test_is_left_out_where_the_user_has_as_many_streams_as_allowed(self) -> None:
        waited: list[tuple[UUID, float]] = []

        async def follow(*_: Any) -> Any:
            raise TooManyStreams("close one first", retry_after=5)

        async def wait(task_id: UUID, seconds: float) -> None:
            waited.append((task_id, seconds))

        assert asyncio.run(self.told(SimpleNamespace(follow=follow, wait_for_end=wait))) == []
        assert waited == [(UUID(int=7), 5)]


def texts(result: CallToolResult) -> list[str]:
    return [each.text for each in result.content if isinstance(each, TextContent)]


@pytest.mark.parametrize(
    ("highest", "given"), [("low", "low"), ("normal", "normal"), ("high", "normal"), ("critical", "normal")]
)
def test_a_task_has_a_priority_that_its_user_may_give(highest: str, given: str) -> None:
    assert wanted_task(catalogue()[FIRST], {"duration": 1}, highest).priority == given


class TestAnswers:
    @pytest.mark.parametrize(
        ("fields", "remark", "is_error"),
        [
            ({"status": "succeeded", "result": {"rows": 3}}, None, False),
            ({"status": "running", "progress": 40}, "is running, at 40 %. It goes on: call wait_task", False),
            (
                {"status": "failed", "error": {"type": "ValueError", "message": "no"}},
                "has failed: ValueError: no",
                True,
            ),
            ({"status": "revoked", "status_reason": "cancelled"}, "was revoked: cancelled", True),
        ],
    )
    def test_are_the_state_in_words_and_as_the_schema_says(
        self, fields: dict[str, Any], remark: str | None, is_error: bool
    ) -> None:
        found = task_answer(task(**fields))
        *remarks, last = texts(found)
        assert json.loads(last) == found.structured_content
        assert [remark in each for each in remarks if remark] == ([True] if remark else [])
        assert found.is_error is is_error
        assert not task_answer(task(**fields), is_outcome=False).is_error
        (schema,) = {json.dumps(tool.output_schema) for tool in tools_for(USER)}
        jsonschema.validate(found.structured_content, json.loads(schema))

    def test_name_no_tool_that_the_key_may_not_call(self) -> None:
        (remark, _) = texts(task_answer(task(status="pending"), may_wait=False))
        assert remark.endswith("is pending, at 50 %. It goes on.")

    def test_with_what_utf_8_cannot_hold_can_be_sent(self) -> None:
        error = InvalidArguments(errors=[{"loc": ["kwargs", "\ud800"], "msg": "unknown argument", "type": "arguments"}])
        assert refusal_answer(error).model_dump_json()

    def test_of_a_refusal_have_the_code_and_the_reason(self) -> None:
        error = InvalidArguments(errors=[{"loc": ["kwargs", "seconds"], "msg": "is required", "type": "missing"}])
        found = refusal_answer(error)
        said, problem = texts(found)
        assert said == f"invalid_arguments: {error.detail}"
        assert json.loads(problem)["errors"] == error.errors
        assert found.structured_content is None  # clients hold it against the schema of a task
        assert found.is_error
        assert texts(refusal_answer(TooManyRequests("Slower", retry_after=7)))[0].endswith(": Slower Try again in 7 s.")
