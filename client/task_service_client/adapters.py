"""Lists of models, parsed. They are built when they are first used."""

from typing import Any

from pydantic import ConfigDict, TypeAdapter

from task_service_client.models import Artifact, File, Task, TaskType

_LATER = ConfigDict(defer_build=True)


def _list_of(model: Any) -> TypeAdapter[Any]:
    return TypeAdapter(list[model], config=_LATER)


_TASKS, _TYPES, _FILES, _ARTIFACTS = map(_list_of, (Task, TaskType, File, Artifact))


def tasks_of(content: bytes) -> list[Task]:
    found: list[Task] = _TASKS.validate_json(content)
    return found


def types_of(content: bytes) -> list[TaskType]:
    found: list[TaskType] = _TYPES.validate_json(content)
    return found


def files_of(content: bytes) -> list[File]:
    found: list[File] = _FILES.validate_json(content)
    return found


def artifacts_of(content: bytes) -> list[Artifact]:
    found: list[Artifact] = _ARTIFACTS.validate_json(content)
    return found
