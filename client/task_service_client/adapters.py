"""Answers, parsed. Models are built when they are first used."""

import json
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from task_service_client.base import Model
from task_service_client.errors import Unexpected
from task_service_client.models import Artifact, File, LogLine, OutputChunk, Task, TaskType

M = TypeVar("M", bound=Model)
V = TypeVar("V")


def parsed(model: type[M], content: bytes | str) -> M:
    """Return the model that this JSON holds. Raises Unexpected."""
    return valid(model.model_validate_json, model.model_validate, content)


class ListOf(Generic[M]):
    """Parses lists of a model."""

    def __init__(self, model: type[M]) -> None:
        self.model = model
        self._adapter: TypeAdapter[list[M]] = TypeAdapter(list[model], config=ConfigDict(defer_build=True))  # type: ignore[valid-type]

    def __call__(self, content: bytes) -> list[M]:
        """Return the models that this JSON holds. Raises Unexpected."""
        return valid(self._adapter.validate_json, self._adapter.validate_python, content)


tasks_of, types_of, files_of, artifacts_of = ListOf(Task), ListOf(TaskType), ListOf(File), ListOf(Artifact)
lines_of, chunks_of = ListOf(LogLine), ListOf(OutputChunk)


def valid(of_json: Callable[[bytes | str], V], of_value: Callable[[Any], V], content: bytes | str) -> V:
    """Return what is made of this JSON, or of its value where the parser of `of_json` gives up. Raises Unexpected."""
    try:
        return of_json(content)
    except ValidationError as error:
        if "recursion limit" not in str(error):
            raise Unexpected(_fault_of(error)) from None
    try:  # pydantic's parser takes 200 levels, and the service as many of a user's
        return of_value(json.loads(content))
    except ValidationError as error:
        raise Unexpected(_fault_of(error)) from None
    except (ValueError, RecursionError) as error:
        raise Unexpected(str(error)) from None


def _fault_of(error: ValidationError) -> str:
    """Return in one line what an answer lacks: pydantic tells it in several."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]
