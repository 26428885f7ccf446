"""Lists of models, parsed. They are built when they are first used."""

from typing import Generic, TypeVar

from pydantic import ConfigDict, TypeAdapter

from task_service_client.base import Model
from task_service_client.models import Artifact, File, Task, TaskType

M = TypeVar("M", bound=Model)


class _ListOf(Generic[M]):
    def __init__(self, model: type[M]) -> None:
        self._adapter: TypeAdapter[list[M]] = TypeAdapter(list[model], config=ConfigDict(defer_build=True))  # type: ignore[valid-type]

    def __call__(self, content: bytes) -> list[M]:
        """Return the models that this JSON holds. Raises ValidationError."""
        return self._adapter.validate_json(content)


tasks_of, types_of, files_of, artifacts_of = _ListOf(Task), _ListOf(TaskType), _ListOf(File), _ListOf(Artifact)
