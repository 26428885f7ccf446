"""The server of the SDK, with the tools. It holds no sessions, so any API process answers any request."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, CallToolRequestParams, CallToolResult, ListToolsResult, PaginatedRequestParams
from sse_starlette.sse import AppStatus

from app.core.config import Settings
from app.core.version import VERSION
from app.mcp.calls import Call, UnknownTool
from app.mcp.names import CANCEL_TASK, GET_TASK, WAIT_TASK
from app.mcp.tools import input_schema, tools_for
from app.mcp.waiting import Report

# The key in the state of the application, and of each request, of the SDK's manager.
STATE = "mcp"

INSTRUCTIONS = (
    "Each tool runs a background task and waits for its end. If the task takes longer than a call may last, the answer "
    f"holds its task_id and state, and the task goes on: call {WAIT_TASK} with that id until it has ended. {GET_TASK} "
    f"returns its state at once, {CANCEL_TASK} stops it. A call that is given up does not stop its task."
)

Context = ServerRequestContext[Any, Request]


@asynccontextmanager
async def running(settings: Settings, max_body_bytes: int) -> AsyncIterator[StreamableHTTPSessionManager]:
    """Yield the SDK's manager of requests. Within the block it answers them."""
    # It tells at INFO of each request that it ends.
    logging.getLogger("mcp").setLevel(logging.WARNING)
    # The watcher ends the waits on shutdown, and their answers are still sent; else the streams would be cut off.
    AppStatus.disable_automatic_graceful_drain()  # type: ignore[no-untyped-call]
    manager = StreamableHTTPSessionManager(_server(settings), stateless=True, max_request_body_size=max_body_bytes)
    async with manager.run():
        yield manager


def _server(settings: Settings) -> Server[Any]:
    async def list_tools(context: Context, _: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=tools_for(_request(context).scope["state"]["principal"]))

    async def call_tool(context: Context, params: CallToolRequestParams) -> CallToolResult:
        request = _request(context)
        call = Call(request, settings.mcp_call_seconds, _report(context))
        try:
            return await call.run(params.name, params.arguments or {})
        except UnknownTool:
            raise MCPError(INVALID_PARAMS, "Unknown tool: see tools/list") from None

    return Server(
        "task-service",
        version=VERSION,
        title="Task Service",
        instructions=INSTRUCTIONS,
        get_tool_input_schema=input_schema,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def _request(context: Context) -> Request:
    assert context.request is not None  # there is one with HTTP
    return context.request


def _report(context: Context) -> Report | None:
    """Return what sends a progress notification, None where the client has named no token for them."""
    if (context.meta or {}).get("progress_token") is None:
        return None

    async def report(percent: int) -> None:
        await context.session.report_progress(percent, 100)

    return report
