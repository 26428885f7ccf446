"""The filter of tasks as JSON and as query parameters, made of the declarations of `TaskFilter`."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    create_model,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from app.core.validation_errors import errors_of_model
from app.errors import InvalidInput
from app.models.task import TaskPriority
from app.models.task_filter import FIELDS, MAX_SEARCH, FilterField, TaskFilter
from app.schemas.base import RequestModel
from app.schemas.values import Moment, PriorityIn, without_nul

MAX_VALUES = 20
_KEYS = ", ".join(f"`{field.key}:`" for field in FIELDS.values())


class _OneOrMany:
    """Takes a single value for a list of one, and says so in the JSON Schema."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler, /) -> JsonSchemaValue:
        many = handler(schema)
        return {"anyOf": [many["items"], many]}


_LISTED = (BeforeValidator(lambda value: [value] if isinstance(value, str) else value), _OneOrMany())


def _number(value: object) -> object:
    """Parse a digit: in a query every number is text."""
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) == 1 else value


PriorityText = Annotated[PriorityIn, BeforeValidator(_number)]


def _user_or_all(value: Any, checked: ValidatorFunctionWrapHandler) -> Any:
    try:
        return checked(value)
    except ValidationError:  # one reason, and not one for each of both
        raise PydanticCustomError("user_id", "must be a UUID or 'all'") from None


UserOrAll = Annotated[UUID | Literal["all"], WrapValidator(_user_or_all)]


def _checked_type(field: FilterField) -> Any:
    """Return the type of one value, with pydantic's checks."""
    if field.value_type is str and field.pattern is not None:
        return Annotated[str, StringConstraints(pattern=field.pattern)]
    if field.value_type is str:
        length = StringConstraints(min_length=1, max_length=field.longest)
        return Annotated[str, length, AfterValidator(without_nul)]
    if field.or_all:
        return UserOrAll
    known = {TaskPriority: PriorityIn, datetime: Moment}
    return known.get(field.value_type, field.value_type)


def _list_of(kind: Any) -> Any:
    return list[kind]


def _fields(declare: Callable[[FilterField], Any]) -> dict[str, Any]:
    """Return the fields for `create_model`, each as `declare` makes it; that of the user is the last one."""
    return {name: declare(FIELDS[name]) for name in sorted(FIELDS, key=lambda name: name == "user_id")}


def _declare_in_body(field: FilterField) -> Any:
    kind = _checked_type(field)
    if field.is_list:
        kind = Annotated[_list_of(kind), Field(max_length=MAX_VALUES), *_LISTED]
    return kind | None, Field(None, description=field.description, examples=field.examples)


def _declare_in_query(field: FilterField) -> Any:
    kind = _checked_type(field)
    if field.is_list:
        return _list_of(kind), Field([], max_length=MAX_VALUES, description=f"{field.description} Repeatable.")
    if field.value_type is TaskPriority:
        kind = PriorityText
    return kind | None, Field(None, description=field.description)


# The grammar is told where it is read, in `app/services/tasks/search.py`.
_SEARCH: dict[str, Any] = {
    "max_length": MAX_SEARCH,
    "description": "A search as on the pages: `status:failed type:import after:24h`. A task matches it and all other "
    f"parameters; each filter is said once, here or by its parameter. The keys are {_KEYS}. "
    "Words without a key are a part of the name.",
}

_BodyFields: Any = create_model("_BodyFields", __base__=RequestModel, **_fields(_declare_in_body))
_QueryFields: Any = create_model("_QueryFields", **_fields(_declare_in_query))


class TaskFilterIn(_BodyFields):
    """A filter of tasks, with the fields of the list's query. At least one of them is set."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": ["failed"], "task_type": "data_processing"}]})

    q: str | None = Field(None, examples=[None], **_SEARCH)


class TaskFilterQuery(_QueryFields):
    """The query parameters of lists and counts of tasks."""

    q: str | None = Field(None, examples=["status:failed type:import after:24h"], **_SEARCH)


def filter_from(fields: Mapping[str, Any]) -> TaskFilter:
    """Return the filter of these fields, as a Python caller writes them; None leaves a field out.

    Raises InvalidInput, which names the invalid fields.
    """
    given = {name: _with_offset(value) for name, value in fields.items() if value is not None}
    try:
        named = named_fields(_BodyFields.model_validate(given))
    except ValidationError as error:
        raise InvalidInput(errors=errors_of_model(_BodyFields, error)) from None
    return TaskFilter(**named | ({"user_id": None} if named.get("user_id") == "all" else {}))


def _with_offset(value: Any) -> Any:
    """Return a time without an offset as one of this process's zone, as Python takes it."""
    return value.astimezone() if isinstance(value, datetime) and value.tzinfo is None else value


def named_fields(body: BaseModel) -> dict[str, Any]:
    """Return the fields that are set, as a TaskFilter takes them."""
    return {name: value for name, value in body if value not in (None, [])}
