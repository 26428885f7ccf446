"""The base classes of request and response bodies."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, ValidationInfo, field_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError


class RequestModel(BaseModel):
    """A request body. An unknown field is an error."""

    model_config = ConfigDict(extra="forbid")


class ResponseModel(BaseModel):
    """A response body, read from an object's attributes. Every field is always present, so the schema requires all."""

    model_config = ConfigDict(from_attributes=True, json_schema_serialization_defaults_required=True)


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
