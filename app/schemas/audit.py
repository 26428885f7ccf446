"""Response bodies of the audit log."""

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import ConfigDict, Field

from app.models.audit import AuditOrigin, RecordedEvent, recorded_events
from app.schemas.base import ResponseModel

if TYPE_CHECKING:
    AuditEvent = RecordedEvent
else:
    # Of all models: importing one of them has imported them all.
    AuditEvent = StrEnum("AuditEvent", {each.value.replace(".", "_"): each.value for each in recorded_events()})


class AuditRecordRead(ResponseModel):
    """One recorded action or denial."""

    model_config = ConfigDict(
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
        }
    )

    id: UUID = Field(description="The record's id.")
    at: datetime = Field(description="When the event was recorded, in UTC, by the database's clock.")
    event: str = Field(
        # Not the enumeration: during a rolling upgrade an old process may read names that it does not know.
        description="The name of the event; the `event` filter lists all names.",
        examples=["user.role_changed"],
    )
    origin: AuditOrigin = Field(
        description="`http`: a request. `worker`: a running task. `python`: a command, a script or the service's start."
    )
    actor_id: UUID | None = Field(
        description="The account that acted; null for requests without a login, and for other origins than `http`."
    )
    actor_name: str | None = Field(description="The username of that account at the time.")
    object_kind: str = Field(
        description="The kind of object: `user`, `task`, `api_key`, `route`, `address` or `login`. A denial names a "
        "`route`, a throttled login an `address`, and a login with an unknown name a `login`."
    )
    object_id: str = Field(
        description="The object's id. For a route: its method and path. For an unknown login: a keyed digest."
    )
    address: str | None = Field(description="The network address of the client, as the server saw it.")
    request_id: str | None = Field(description="The request's id, as in the `X-Request-ID` header and in the log.")
    detail: dict[str, Any] = Field(description="Details of the event. They never contain secrets.")
