"""API keys over HTTP."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.models.api_key import ApiKey, Scope
from app.schemas.base import RequestModel
from app.schemas.json_value import ShortText
from app.schemas.task import Moment

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
        description="`tasks:read`: read your tasks. `tasks:write`: create, change, cancel, retry and delete them; it "
        "does not include reading, though a change answers with the task. `admin`, for administrators: users, and with "
        "the other scopes everybody's tasks.",
        examples=[["tasks:read", "tasks:write"]],
    ),
]


class ApiKeyCreate(RequestModel):
    name: Annotated[ShortText, Field(description="For you, to tell your keys apart.", examples=["nightly import"])]
    scopes: Scopes
    expires_at: Moment | None = Field(
        None,
        description="Worthless from then on (RFC 3339 with an offset); left out or null: it works until it is revoked.",
        examples=["2027-11-24T12:00:00Z"],
    )


class ApiKeyRead(BaseModel):
    """A key, without the key itself."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"example": _EXAMPLE})

    id: UUID = Field(description="Version 7: ids order by time.")
    name: str = Field(description="As you named it.")
    prefix: str = Field(description="How the key begins, so that you recognise it.")
    scopes: list[Scope] = Field(description="What it may do.")
    created_at: datetime = Field(description="UTC.")
    expires_at: datetime | None = Field(description="UTC; null: never.")
    last_used_at: datetime | None = Field(description="UTC, to the minute or so; null: never used.")
    revoked_at: datetime | None = Field(description="UTC; null: not revoked.")


class ApiKeyCreated(ApiKeyRead):
    """A new key. `key` is shown here and never again."""

    model_config = ConfigDict(json_schema_extra={"example": {**_EXAMPLE, "key": _KEY}})

    key: str = Field(description="Send it as `Authorization: Bearer …`. It is not stored: keep it now.")

    @classmethod
    def of(cls, row: ApiKey, key: str) -> "ApiKeyCreated":
        return cls(**ApiKeyRead.model_validate(row).model_dump(), key=key)
