"""A task as the line for a shell that creates the same again."""

import json
import shlex

from fastapi import Request

from app.schemas.task import TaskRead

_FIELDS = (
    "name", "task_type", "celery_task_name", "args", "kwargs", "priority", "tags", "metadata", "timeout_seconds",
    "max_attempts", "retry_backoff_seconds", "limit", "limit_key", "webhook_url",
)  # fmt: skip


def curl_of(request: Request, task: TaskRead) -> str:
    """Return the line. Values that the service hides are `***` in it, and the token is the shell's `$TOKEN`."""
    fields = task.model_dump(mode="json", include=set(_FIELDS))
    body = json.dumps({name: fields[name] for name in _FIELDS if fields[name]}, ensure_ascii=False)
    url = f"{request.url.scheme}://{request.url.netloc}/api/v1/tasks/"
    return f'curl --header "Authorization: Bearer $TOKEN" --json {shlex.quote(body)} {shlex.quote(url)}'
