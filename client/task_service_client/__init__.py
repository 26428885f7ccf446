"""A client of the task service: `Client`, and `AsyncClient` with an event loop.

with Client("http://localhost:8000", api_key="tsk_…") as client:
    task = client.submit("app.tasks.common_tasks.long_running_task", 2)
    print(client.wait(task.id).status)
"""

from typing import TYPE_CHECKING, Any

from task_service_client._sync.client import Client
from task_service_client.errors import ApiError, Damaged, NotSignedIn, TaskServiceError, Unreachable
from task_service_client.models import Artifact, File, LogLine, OutputChunk, Task, TaskType
from task_service_client.version import __version__

if TYPE_CHECKING:
    from task_service_client._async.client import AsyncClient


def __getattr__(name: str) -> Any:
    """Import AsyncClient when it is first used: few programs use both clients."""
    if name == "AsyncClient":
        from task_service_client._async.client import AsyncClient

        return AsyncClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "ApiError",
    "Artifact",
    "AsyncClient",
    "Client",
    "Damaged",
    "File",
    "LogLine",
    "NotSignedIn",
    "OutputChunk",
    "Task",
    "TaskServiceError",
    "TaskType",
    "Unreachable",
    "__version__",
]
