"""A client of the task service: `Client`, and `AsyncClient` with an event loop.

with Client("http://localhost:8000", api_key="tsk_…") as client:
    task = client.submit("app.tasks.common_tasks.long_running_task", 2)
    print(client.wait(task.id).status)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from task_service_client.version import __version__

if TYPE_CHECKING:
    from task_service_client._async.client import AsyncClient
    from task_service_client._sync.client import Client
    from task_service_client.errors import (
        ApiError,
        BadProfile,
        Damaged,
        NotSignedIn,
        TaskServiceError,
        Unexpected,
        Unreachable,
    )
    from task_service_client.models import Artifact, File, LogLine, OutputChunk, Task, TaskType

__all__ = [
    "ApiError",
    "Artifact",
    "AsyncClient",
    "BadProfile",
    "Client",
    "Damaged",
    "File",
    "LogLine",
    "NotSignedIn",
    "OutputChunk",
    "Task",
    "TaskServiceError",
    "TaskType",
    "Unexpected",
    "Unreachable",
    "__version__",
]
_ERRORS = {"ApiError", "BadProfile", "Damaged", "NotSignedIn", "TaskServiceError", "Unexpected", "Unreachable"}
_CLIENTS = {"AsyncClient": "_async.client", "Client": "_sync.client"}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: the command line's help needs neither httpx nor pydantic."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _CLIENTS.get(name) or ("errors" if name in _ERRORS else "models")
    found = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = found
    return found
