"""Answers, parsed. Models are built when they are first used."""

from typing import Generic, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from task_service_client.base import Model
from task_service_client.errors import Unexpected
from task_service_client.models import Artifact, File, LogLine, OutputChunk, Task, TaskType

M = TypeVar("M", bound=Model)


def parsed(model: type[M], content: bytes | str) -> M:
    """Return the model that this JSON holds. Raises Unexpected."""
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        raise _unexpected(error) from None


class ListOf(Generic[M]):
    """A list of a model."""

    def __init__(self, model: type[M]) -> None:
        self.model = model
        self._adapter: TypeAdapter[list[M]] = TypeAdapter(list[model], config=ConfigDict(defer_build=True))  # type: ignore[valid-type]

    def __call__(self, content: bytes) -> list[M]:
        """Return the models that this JSON holds. Raises Unexpected."""
        try:
            return self._adapter.validate_json(content)
        except ValidationError as error:
            raise _unexpected(error) from None


tasks_of, types_of, files_of, artifacts_of = ListOf(Task), ListOf(TaskType), ListOf(File), ListOf(Artifact)
lines_of, chunks_of = ListOf(LogLine), ListOf(OutputChunk)


def _unexpected(error: ValidationError) -> Unexpected:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"]))
    return Unexpected(f"{place}: {first['msg']}" if place else first["msg"])
