"""Request and response bodies of API keys."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field

from app.models.api_key import ApiKey, Scope
from app.schemas.base import RequestModel, ResponseModel
from app.schemas.json_value import ShortText
from app.schemas.task_values import Moment

_KEY = "tsk_7Qp2XbL9_" + "0" * 43 + "4eR0xW"
_EXAMPLE: dict[str, Any] = {
    "id": "019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11",
    "name": "nightly import",
    "prefix": "tsk_7Qp2XbL9",
    "scopes": ["tasks:read", "tasks:write"],
    "created_at": "2026-11-24T12:00:00Z",
    "expires_at": "2027-11-24T12:00:00Z",
    "last_used_at": None,
    "revoked_at": None,
}

Scopes = Annotated[
    list[Scope],
    Field(
        min_length=1,
        max_length=20,
        description="`tasks:read`: read your tasks. `tasks:write`: create, change, cancel, retry and delete them. "
        "`admin`: manage users; the other scopes then reach the tasks of all users. No scope includes another. Only "
        "administrators can create a key with `admin`.",
        examples=[["tasks:read", "tasks:write"]],
    ),
]


class ApiKeyCreate(RequestModel):
    name: Annotated[ShortText, Field(description="A name of your choice.", examples=["nightly import"])]
    scopes: Scopes
    expires_at: Moment | None = Field(
        None,
        description="The key stops working at this time (RFC 3339 with an offset). Omitted or null: it never expires.",
        examples=["2027-11-24T12:00:00Z"],
    )


class ApiKeyRead(ResponseModel):
    """An API key, without its secret."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE})

    id: UUID = Field(description="The key's id, a UUID version 7: ids sort by creation time.")
    name: str = Field(description="The name that you gave the key.")
    prefix: str = Field(description="The first characters of the key, to recognise it.")
    scopes: list[Scope] = Field(description="The scopes of the key.")
    created_at: datetime = Field(description="When the key was created, in UTC.")
    expires_at: datetime | None = Field(description="When the key stops working, in UTC; null: never.")
    last_used_at: datetime | None = Field(
        description="When the key was last used, in UTC, accurate to about a minute; null: never."
    )
    revoked_at: datetime | None = Field(description="When the key was revoked, in UTC; null: not revoked.")


class ApiKeyCreated(ApiKeyRead):
    """A new API key. Only this answer shows `key`: store it now."""

    model_config = ConfigDict(json_schema_extra={"example": {**_EXAMPLE, "key": _KEY}})

    key: str = Field(
        description="The key itself. Send it as `Authorization: Bearer <key>`. The service cannot show it again."
    )

    @classmethod
    def of(cls, row: ApiKey, key: str) -> "ApiKeyCreated":
        return cls(**ApiKeyRead.model_validate(row).model_dump(), key=key)
