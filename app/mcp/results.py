"""What a call of a tool answers: the state of its task, or an error in words with its code."""

import json
from typing import Any

from mcp.types import CallToolResult, TextContent

from app.errors import InvalidInput, ServiceError
from app.mcp.names import WAIT_TASK
from app.mcp.tools import SHOWN
from app.models.task import TERMINAL, TaskStatus
from app.schemas.task import TaskRead


def state_of(task: TaskRead) -> dict[str, Any]:
    """Return the members of the task that a client of a tool needs, as JSON values."""
    shown = task.model_dump(mode="json", include={*SHOWN})
    return {"task_id": str(task.id), **{name: shown[name] for name in SHOWN}}


def answer(task: TaskRead, *, is_outcome: bool = True, may_wait: bool = True) -> CallToolResult:
    """Return the state as structured content and as JSON text, behind a sentence where there is more to say.

    `is_outcome`: the call stands for the run of the task, so that its failure is an error of the tool. `may_wait`: the
    key may read tasks.
    """
    state = state_of(task)
    texts = [*_remarks(task, may_wait=may_wait), json.dumps(state, ensure_ascii=False)]
    return CallToolResult(
        content=[TextContent(text=text) for text in texts],
        structured_content=state,
        is_error=is_outcome and task.status in {TaskStatus.FAILED, TaskStatus.REVOKED},
    )


def refusal(error: ServiceError) -> CallToolResult:
    """Return the error of a call that the service refuses: in words, and as JSON as in the API's problem documents.

    Both are texts: the SDK for TypeScript also checks the structured content of errors against the schema of a task.
    """
    problem: dict[str, Any] = {"code": error.code, "title": error.title, "detail": error.detail}
    if error.retry_after is not None:
        problem["retry_after_seconds"] = error.retry_after
    if isinstance(error, InvalidInput):
        problem["errors"] = error.errors
    after = "" if error.retry_after is None else f" Try again in {error.retry_after} s."
    texts = (f"{error.code}: {error.detail}{after}", json.dumps(problem, ensure_ascii=False))
    return CallToolResult(content=[TextContent(text=_encodable(text)) for text in texts], is_error=True)


def _remarks(task: TaskRead, *, may_wait: bool) -> list[str]:
    if task.status not in TERMINAL:
        further = f": call {WAIT_TASK} with this id" if may_wait else ""
        return [f"The task {task.id} is {task.status}, at {task.progress} %. It goes on{further}."]
    if task.status is TaskStatus.FAILED and task.error is not None:
        return [f"The task has failed: {task.error.type}: {task.error.message or ''}"]
    if task.status is TaskStatus.REVOKED:
        return [f"The task was revoked: {task.status_reason}"]
    return []


def _encodable(text: str) -> str:
    """Return the text with escapes for lone surrogates: names of arguments may hold them, and UTF-8 has none."""
    return text.encode("utf-8", "backslashreplace").decode()
