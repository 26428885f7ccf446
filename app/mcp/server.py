"""`POST /mcp`: the server of the SDK with the tools, and what stands in front of it.

That checks the origin, the API key and the bounds of the body. The server holds no sessions, so any API process
answers any request.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from anyio import to_thread
from fastapi import Request
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, CallToolRequestParams, CallToolResult, ListToolsResult, PaginatedRequestParams
from sse_starlette.sse import AppStatus
from starlette.requests import ClientDisconnect
from starlette.routing import Match, Route
from starlette.types import Message, Receive, Scope, Send

from app.api.deps import authenticated, oauth2_scheme, unauthenticated
from app.api.endpoints.tasks import task_bytes
from app.api.http.body_route import LARGE_JSON
from app.api.http.requests import limited_receive, refuse_length
from app.api.http.turns import check_rights_again
from app.core.config import Settings
from app.core.fair_threads import CallerGone
from app.core.json_text import SMALL_BYTES
from app.core.version import VERSION
from app.errors import ForeignOrigin, Unauthenticated
from app.mcp.calls import Call, Report, UnknownTool
from app.mcp.large_bodies import LARGE_ARGUMENTS, UserTurns, without_arguments
from app.mcp.tools import CANCEL_TASK, GET_TASK, WAIT_TASK, input_schema, tools_for
from app.services.batched.authenticator import login_claims

# The key in the state of the application, and of each request, of the SDK's manager.
STATE = "mcp"

INSTRUCTIONS = (
    "Each tool runs a background task and waits for its end. If the task takes longer than a call may last, the answer "
    f"holds its task_id and state, and the task goes on: call {WAIT_TASK} with that id until it has ended. {GET_TASK} "
    f"returns its state at once, {CANCEL_TASK} stops it. A call that is given up does not stop its task."
)

Context = ServerRequestContext[Any, Request]


@asynccontextmanager
async def running_manager(settings: Settings, max_body_bytes: int) -> AsyncIterator[StreamableHTTPSessionManager]:
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


# -- `POST /mcp`: what stands in front of the SDK. The origin, the API key, and the bounds of the body -----------------

PATH = "/mcp"


def routes(settings: Settings) -> list[Route]:
    """Return the routes of the endpoint. They answer other methods than POST with 405: there are no sessions."""
    endpoint = Endpoint(settings)
    return [_NamedRoute(path, endpoint, methods=["POST"], include_in_schema=False) for path in (PATH, f"{PATH}/")]


def max_body_bytes(settings: Settings) -> int:
    """Return the limit of a body: that of `POST /tasks/`."""
    return min(task_bytes(settings), settings.max_body_bytes)


class _NamedRoute(Route):
    """Tells metrics and audit which route it is, as FastAPI's own routes do."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches(scope)
        return match, {**found, "route": self} if found else found


class Endpoint:
    """The ASGI application of the endpoint."""

    def __init__(self, settings: Settings) -> None:
        self._origins = frozenset(settings.cors_origins)
        self._max_bytes = max_body_bytes(settings)
        self._turns = UserTurns()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises ForeignOrigin, Unauthenticated, InvalidToken, TooManyInProgress, InvalidInput, HTTPException."""
        request = Request(scope, receive)
        check_origin(request, self._origins)
        token = await oauth2_scheme(request)
        if not token:
            raise unauthenticated(request)
        if login_claims(token) is not None:
            raise Unauthenticated("This endpoint takes API keys (tsk_…), and no logins")
        await authenticated(request, token)
        try:
            body = await self._body(request)
            if len(body) <= SMALL_BYTES:
                await _answer(body, scope, receive, send)
            else:
                await self._answer_large(body, request, send)
        except (ClientDisconnect, CallerGone):  # there is nobody to answer
            return

    async def _body(self, request: Request) -> bytes:
        too_large = await refuse_length(request.scope, request.receive, self._max_bytes)
        if too_large is not None:
            raise too_large
        return await Request(request.scope, limited_receive(request.receive, self._max_bytes)).body()

    async def _answer_large(self, body: bytes, request: Request, send: Send) -> None:
        state = request.scope["state"]
        is_gone = Request(request.scope, request.receive).is_disconnected
        state[LARGE_ARGUMENTS], has_waited = await self._turns.begin(state["principal"].id, is_gone)
        try:
            if has_waited:
                await check_rights_again(request)
            parse = partial(without_arguments, body)
            body, state[LARGE_ARGUMENTS].given = await to_thread.run_sync(parse, limiter=state[LARGE_JSON])
            await _answer(body, request.scope, request.receive, send)
        finally:
            state[LARGE_ARGUMENTS].forget()


async def _answer(body: bytes, scope: Scope, receive: Receive, send: Send) -> None:
    manager: StreamableHTTPSessionManager = scope["state"][STATE]
    await manager.handle_request(scope, _replayed(body, receive), send)


def check_origin(request: Request, allowed: frozenset[str]) -> None:
    """Raise ForeignOrigin for a request of a web page, unless CORS_ORIGINS names the page's origin.

    A page whose host name was rebound to this address would else reach a server in the user's own network. Programs
    send no Origin. https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#security-warning
    """
    origins = request.headers.getlist("origin")
    if origins and "*" not in allowed and not allowed.issuperset(origins):
        raise ForeignOrigin


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body once more, then what comes behind it."""
    left = [body]

    async def receive_again() -> Message:
        return {"type": "http.request", "body": left.pop(), "more_body": False} if left else await receive()

    return receive_again
