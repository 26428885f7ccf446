"""The tools that an API key may call: by its scopes and by the tasks that its user may create.

First come their names. Many clients take only letters, digits, `_` and `-`, 64 at most: a task's name has dots. A dot
becomes `-`, so `app.tasks.send` is `app-tasks-send`, and each `-` is a dot again. Any other name, such as one that has
a `-` itself, becomes a readable part, `--` and a digest of the name. `--` is in no name of the first kind.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Annotated, Any
from uuid import UUID

from mcp.types import Tool, ToolAnnotations
from pydantic import Field

from app.catalogue import TaskType, catalogue
from app.models.auth import Scope
from app.schemas.base import RequestModel
from app.schemas.task import TaskRead
from app.services.accounts.auth_service import Principal
from app.services.tasks.permissions import types_for

MAX_CHARACTERS = 64
# The tools beside those of the tasks. A task of such a name is called by its digest.
GET_TASK, WAIT_TASK, CANCEL_TASK = RESERVED = ("get_task", "wait_task", "cancel_task")

_PLAIN = re.compile(r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*", re.ASCII)
_OTHER = re.compile(r"[^A-Za-z0-9]+", re.ASCII)
_DIGEST = "--"
_DIGEST_DIGITS = 16


def tool_name(celery_task_name: str) -> str:
    """Return the name of the tool that runs this task."""
    if _is_plain(celery_task_name):
        return celery_task_name.replace(".", "-")
    digest = hashlib.sha256(celery_task_name.encode("utf-8", "backslashreplace")).hexdigest()[:_DIGEST_DIGITS]
    readable = _OTHER.sub("_", celery_task_name)[: MAX_CHARACTERS - len(_DIGEST) - len(digest)]
    return f"{readable}{_DIGEST}{digest}"


def task_name(tool: str, known: Iterable[str]) -> str | None:
    """Return the one of the known tasks that this tool runs, None if there is none."""
    if _DIGEST in tool:
        return next((name for name in known if tool_name(name) == tool), None)
    name = tool.replace("-", ".")
    return name if _is_plain(name) and name in known else None


def _is_plain(celery_task_name: str) -> bool:
    fits = len(celery_task_name) <= MAX_CHARACTERS and celery_task_name not in RESERVED
    return fits and _PLAIN.fullmatch(celery_task_name) is not None


# -- The tools themselves, with the schemas of what they take and answer -----------------------------------------------


class TaskReference(RequestModel):
    """The arguments of `get_task` and `cancel_task`."""

    task_id: Annotated[UUID, Field(description="The id of the task, as an earlier call answered it.")]


class TaskWait(TaskReference):
    """The arguments of `wait_task`."""

    seconds: Annotated[
        float | None,
        Field(
            None,
            ge=0,
            allow_inf_nan=False,
            description="Wait so long at most. Default and upper limit: MCP_CALL_SECONDS.",
        ),
    ]


_WORDS = frozenset({"title", "description", "examples"})  # no member of a task has one of these names
# The members of a task that tell a client what has become of it.
SHOWN = (
    *("status", "status_reason", "progress", "progress_detail", "result", "error", "waiting_for", "celery_task_name"),
    *("created_at", "started_at", "finished_at", "cancel_requested_at"),
)


def tools_for(user: Principal) -> list[Tool]:
    """Return the tools of this user, those of the tasks by name."""
    tools = [_TOOLS[name] for name in (GET_TASK, WAIT_TASK, CANCEL_TASK) if scope_of(name) in user.scopes]
    if Scope.TASKS_WRITE in user.scopes:
        tools += [_tool_of(kind) for kind in types_for(user.rights)]
    return tools


def scope_of(tool: str) -> Scope:
    """Return the scope that a call of this tool needs: that of the same call of the HTTP API."""
    return Scope.TASKS_READ if tool in {GET_TASK, WAIT_TASK} else Scope.TASKS_WRITE


def input_schema(tool: str) -> dict[str, Any] | None:
    """Return the JSON Schema of the tool's arguments, None where there is no such tool."""
    if tool in _TOOLS:
        return _TOOLS[tool].input_schema
    name = task_name(tool, catalogue())
    return None if name is None else catalogue()[name].parameters


def _tool_of(kind: TaskType) -> Tool:
    # The client decides by the hints whether to ask its user. Nothing is known of what a body does.
    return Tool(
        name=tool_name(kind.celery_task_name),
        title=kind.celery_task_name,
        description=kind.first_paragraph,
        input_schema=kind.parameters,
        output_schema=_OUTPUT,
    )


def _output_schema() -> dict[str, Any]:
    """Return the JSON Schema of `calls.state_of`: a part of that of TaskRead.

    Without descriptions: it stands in each tool of the list, which a client may give to its model.
    """
    whole = TaskRead.model_json_schema(mode="serialization")
    members = {name: whole["properties"][name] for name in SHOWN}
    schema = {
        "type": "object",
        "properties": {"task_id": whole["properties"]["id"], **members},
        "required": ["task_id", *SHOWN],
        "$defs": {name: whole["$defs"][name] for name in ("TaskError", "TaskStatus", "WaitingFor", "WaitingReason")},
    }
    bare: dict[str, Any] = _without_words(schema)
    return bare


def _without_words(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {name: _without_words(each) for name, each in schema.items() if name not in _WORDS}
    return [_without_words(each) for each in schema] if isinstance(schema, list) else schema


_OUTPUT = _output_schema()
_TOOLS = {
    tool.name: tool
    for tool in (
        Tool(
            name=GET_TASK,
            title="Get a task",
            description="Return the state of a task, and its result once it has succeeded.",
            input_schema=TaskReference.model_json_schema(),
            output_schema=_OUTPUT,
            annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
        ),
        Tool(
            name=WAIT_TASK,
            title="Wait for a task",
            description="Wait until a task ends, and return its state and result. If that takes longer than a call may "
            "last, the state is that of now: call this tool again.",
            input_schema=TaskWait.model_json_schema(),
            output_schema=_OUTPUT,
            annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
        ),
        Tool(
            name=CANCEL_TASK,
            title="Cancel a task",
            description="Cancel a task. A pending task will not start; a running task stops within seconds.",
            input_schema=TaskReference.model_json_schema(),
            output_schema=_OUTPUT,
            annotations=ToolAnnotations(
                read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False
            ),
        ),
    )
}
