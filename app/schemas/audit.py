"""The audit over HTTP."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field


class AuditRecordRead(BaseModel):
    """One thing that was done, or refused."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "example": {
                "id": "019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11",
                "at": "2026-11-24T12:00:00.123456Z",
                "event": "user.role_changed",
                "origin": "http",
                "actor_id": "019a1f3c-0000-7c3a-9f57-3b1f4a0c2d11",
                "actor_name": "anna",
                "object_kind": "user",
                "object_id": "019a1f3c-1111-7c3a-9f57-3b1f4a0c2d11",
                "address": "192.0.2.7",
                "request_id": "0f8fad5bd9cb469fa16570867728950e",
                "detail": {"from": "user", "to": "admin"},
            }
        },
    )

    id: UUID = Field(description="The record's own id.")
    at: datetime = Field(description="When, in UTC, by the database's clock.")
    event: str = Field(
        # Not the enumeration: while a new release starts, an old process may meet names that it does not know.
        description="What was done: one of those that the filter takes.",
        examples=["user.role_changed"],
    )
    origin: Literal["http", "worker", "python"] = Field(
        description="`http`: a request. `worker`: a task's body. `python`: a command, a script, the service's start."
    )
    actor_id: UUID | None = Field(description="Whose account did it; null where nobody was logged in, or not HTTP.")
    actor_name: str | None = Field(description="What that account was called then.")
    object_kind: str = Field(
        description="What it was done to: `user`, `task`, `api_key`, `route` (a denial), `address` (of a throttled "
        "login), or `login` (a name that nobody has)."
    )
    object_id: str = Field(description="Its id; the method and path of a route; a keyed digest of an unknown login.")
    address: str | None = Field(description="The peer's address, as the server saw it.")
    request_id: str | None = Field(description="The id of the request, as in its answer and in the log.")
    detail: dict[str, Any] = Field(description="A little more, by event. Never a secret.")
