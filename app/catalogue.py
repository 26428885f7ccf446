"""Which tasks may be created, and what their parameters are: read once from the tasks' own signatures.

The tasks import the services, so this imports them only when it is first asked.
"""

import functools
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from app.core.redaction import Parameters, holds_mask
from app.db.base import dump_json
from app.errors import FieldError, InvalidArguments, UnknownTask
from app.messaging.routing import DEFAULT_QUEUE
from app.schemas.refusals import MAX_ERRORS, field_errors

# Filled by the base class, never by a client.
FILLED = frozenset({"task_id"})
_MASKED = "*** stands for a value that is not shown: send the value itself"


@dataclass(frozen=True)
class TaskType:
    """A task of the catalogue. `parameters` is JSON Schema (draft 2020-12), as pydantic writes it."""

    celery_task_name: str
    summary: str
    description: str
    parameters: dict[str, Any]
    default_queue: str
    queue: str | None
    time_limit: float | None
    max_attempts: int
    max_attempts_named: bool
    rerun_lost: bool
    signature: inspect.Signature = field(repr=False)
    model: type[BaseModel] = field(repr=False)
    positions: Parameters = field(repr=False)
    # What a `bind=True` body calls its first parameter, mostly `self`.
    bound_to: str | None = None

    def check(self, args: list[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise InvalidArguments, naming the parameter, unless the body can be called with these."""
        given = [name for name in kwargs if name in FILLED or name == self.bound_to]
        if given:
            raise InvalidArguments(errors=[_error(["kwargs", *given], "is filled by the service", "not_yours")])
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InvalidArguments(errors=[_error(["kwargs", *_named(error)], str(error), "arguments")]) from None
        values = dict(bound.arguments)
        stars = {p.kind: p.name for p in self.signature.parameters.values()}
        extra = values.pop(stars.get(inspect.Parameter.VAR_KEYWORD, ""), {})
        # One that is called like the `*args` parameter is no value for it.
        extra.pop(stars.get(inspect.Parameter.VAR_POSITIONAL), None)
        values = {**extra, **values}
        masked = [name for name, value in values.items() if holds_mask({name: value})] if holds_mask(values) else ()
        if masked:
            raise InvalidArguments(errors=[_error(["kwargs", name], _MASKED, "hidden_value") for name in masked])
        try:
            # As the JSON that it is: strict, so that "30" is no number, yet a date may be written as text.
            text = dump_json(kwargs if kwargs == values else values)
            self.model.model_validate_json(text, strict=True)
        except ValidationError as error:
            raise InvalidArguments(errors=_errors(error, len(args), list(bound.arguments))) from None


def redact_args(celery_task_name: str, args: list[Any]) -> list[Any]:
    """Positional arguments as they are shown: by the names of the parameters that they go to."""
    kind = catalogue().get(celery_task_name)
    return (kind.positions if kind else Parameters()).redact(args)


def _errors(error: ValidationError, positional: int, names: list[str]) -> list[FieldError]:
    by_position = set(names[:positional])
    return [
        refused
        for each in error.errors(include_url=False, include_context=False)[:MAX_ERRORS]
        for refused in field_errors(
            [each], "body", "args" if each["loc"][:1] and each["loc"][0] in by_position else "kwargs"
        )
    ]


def _error(loc: list[str | int], message: str, kind: str) -> FieldError:
    return {"loc": ["body", *loc], "msg": message, "type": kind}


def _named(error: TypeError) -> list[str]:
    """The parameter that `Signature.bind` complains of: its message quotes the name."""
    quoted = str(error).split("'")
    return [quoted[1]] if len(quoted) > 2 else []  # noqa: PLR2004 (text, name, text)


@functools.cache
def catalogue() -> dict[str, TaskType]:
    """All tasks that may be created, by name."""
    from app.celery_app import celery_app

    celery_app.loader.import_default_modules()
    return {
        name: _task_type(task)
        for name, task in sorted(celery_app.tasks.items())
        if getattr(task, "catalogue", False) and not name.startswith("celery.")
    }


def find_type(celery_task_name: str) -> TaskType:
    """The catalogue's entry. Raises UnknownTask, naming the field."""
    found = catalogue().get(celery_task_name)
    if found is None:
        message = "Not one of GET /tasks/types"
        raise UnknownTask(errors=[_error(["celery_task_name"], message, "unknown_task")])
    return found


def _task_type(task: Any) -> TaskType:
    signature = _client_signature(task)
    model = _model(task, signature)
    summary, _, description = (inspect.getdoc(task) or task.name).partition("\n")
    attempts, named = _attempts(task)
    return TaskType(
        celery_task_name=task.name,
        summary=summary.strip(),
        description=description.strip(),
        parameters=model.model_json_schema(),
        default_queue=getattr(task, "queue", None) or DEFAULT_QUEUE,
        queue=getattr(task, "queue", None),
        time_limit=task.time_limit,
        max_attempts=attempts,
        max_attempts_named=named,
        rerun_lost=task.rerun_lost,
        signature=signature,
        model=model,
        positions=Parameters.of(signature),
        bound_to=_bound_to(task),
    )


def _attempts(task: Any) -> tuple[int, bool]:
    """How often the body may fail by default, and whether the decorator says so itself."""
    if task.max_attempts is not None:
        return task.max_attempts, True
    if getattr(task, "autoretry_for", ()) and task.max_retries is not None:
        return task.max_retries + 1, False
    return 1, False


def _bound_to(task: Any) -> str | None:
    function = inspect.unwrap(task.run)
    first = next(iter(inspect.signature(getattr(function, "__func__", function)).parameters), None)
    return None if first in inspect.signature(task.run).parameters else first


def _client_signature(task: Any) -> inspect.Signature:
    signature = inspect.signature(task.run)
    return signature.replace(parameters=[p for p in signature.parameters.values() if p.name not in FILLED])


def _model(task: Any, signature: inspect.Signature) -> type[BaseModel]:
    """A pydantic model with a field a parameter; `**kwargs` lets others in, `*args` is an array of its name."""
    hints = get_type_hints(inspect.unwrap(task.run), include_extras=True)
    fields: dict[str, Any] = {}
    extra = "forbid"
    for number, parameter in enumerate(signature.parameters.values()):
        hint: Any = hints.get(parameter.name, Any)
        if parameter.kind is parameter.VAR_KEYWORD:
            extra = "allow"
        elif parameter.kind is parameter.VAR_POSITIONAL:
            fields[f"p{number}"] = (tuple[hint, ...], Field((), alias=parameter.name))
        else:
            default = ... if parameter.default is parameter.empty else parameter.default
            # By alias: a parameter may be called `json` or `_x`, which a field may not.
            fields[f"p{number}"] = (hint, Field(default, alias=parameter.name))
    config = ConfigDict(extra=extra, title=task.name, protected_namespaces=(), arbitrary_types_allowed=True)  # type: ignore[typeddict-item]
    return create_model(task.name.rsplit(".", 1)[-1], __config__=config, **fields)
