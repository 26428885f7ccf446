"""The base classes of request and response bodies."""

import warnings
from typing import Any, ClassVar, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic.warnings import UnsupportedFieldAttributeWarning
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, PydanticKnownError

from app.core.validation_errors import MAX_ERRORS, own_text, validator_error
from app.errors import Text

Item = TypeVar("Item", bound=BaseModel)


# The validator of a body is built at its first use (`defer_build`): no process takes bodies of all kinds, and most
# parts take none. FastAPI gives a body's model an alias that pydantic warns of. It silences that warning, but only
# while it makes the route.
warnings.filterwarnings("ignore", "The 'alias' attribute with value", UnsupportedFieldAttributeWarning)

# Far more than any body has. pydantic would make an error of each unknown field.
MAX_FIELDS = 100


class RequestModel(BaseModel):
    """A request body. An unknown field is an error; more than MAX_FIELDS fields are one error."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _limit_fields(cls, data: Any) -> Any:
        if isinstance(data, dict) and len(data) > MAX_FIELDS:
            raise validator_error("too_many_fields", Text("The object has more than {} fields", MAX_FIELDS))
        return data


class ResponseModel(BaseModel):
    """A response body, read from an object's attributes. Every field is always present, so the schema requires all."""

    model_config = ConfigDict(from_attributes=True, json_schema_serialization_defaults_required=True, defer_build=True)


class PatchModel(RequestModel):
    """A partial change: an omitted field keeps its value, and only the `nullable` fields accept null.

    Fields are declared `X | None = None`; `model_dump(exclude_unset=True)` returns the changes. Inside the program None
    means «omitted»: the validator refuses a null of the client, and the JSON Schema does not offer it.
    """

    # Fields that accept null as a value.
    nullable: ClassVar[frozenset[str]] = frozenset()

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_null(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None and info.field_name not in cls.nullable:
            raise PydanticCustomError("null_not_allowed", "The field may be omitted but not null")
        return value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler, /) -> JsonSchemaValue:
        described = handler(schema)
        for name, field in handler.resolve_ref_schema(described)["properties"].items():
            field.pop("default", None)
            kinds = [kind for kind in field.pop("anyOf", []) if kind != {"type": "null"} or name in cls.nullable]
            field.update(kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else {})
        return described


def validate_items(model: type[Item], items: list[Any], limit: int) -> list[Item]:
    """Return the items as instances of `model`. Raises ValidationError with the errors of the first invalid items.

    Stops at MAX_ERRORS: pydantic would hold the interpreter's lock until it has made the errors of all items.
    """
    if len(items) > limit:
        context = {"field_type": "List", "max_length": limit, "actual_length": len(items)}
        raise PydanticKnownError("too_long", context)
    valid: list[Item] = []
    errors: list[InitErrorDetails] = []
    for at, item in enumerate(items):
        try:
            valid.append(model.model_validate(item))
        except ValidationError as refused:
            errors += [
                {
                    # The rendered message, in which nothing is left to fill in.
                    "type": validator_error(each["type"], own_text(each) or each["msg"]),
                    "loc": (at, *each["loc"]),
                    "input": each["input"],
                }
                for each in refused.errors(include_url=False)
            ]
            if len(errors) >= MAX_ERRORS:
                break
    if errors:
        raise ValidationError.from_exception_data(model.__name__, errors)
    return valid
