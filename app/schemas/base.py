"""What request models share."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, ValidationInfo, field_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError


class RequestModel(BaseModel):
    """A body that is sent to us: a field that we do not know is an error, not a wish to be ignored."""

    model_config = ConfigDict(extra="forbid")


class PatchModel(RequestModel):
    """A partial change: a field that is left out stays as it is, and none can be null but the `nullable` ones.

    Fields are declared `X | None = None`; `model_dump(exclude_unset=True)` gives the changes. None stands for «left
    out» inside the program alone: the validator refuses it, and the JSON Schema does not offer it.
    """

    # The fields in which null is a value like any other.
    nullable: ClassVar[frozenset[str]] = frozenset()

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_null(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None and info.field_name not in cls.nullable:
            raise PydanticCustomError("null_not_allowed", "May be left out, but not null")
        return value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler, /) -> JsonSchemaValue:
        described = handler(schema)
        for name, field in handler.resolve_ref_schema(described)["properties"].items():
            field.pop("default", None)
            kinds = [kind for kind in field.pop("anyOf", []) if kind != {"type": "null"} or name in cls.nullable]
            field.update(kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else {})
        return described
