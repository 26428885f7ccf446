"""Request and response bodies of webhooks."""

from datetime import datetime
from typing import Annotated, Any, ClassVar
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, StrictBool, StringConstraints

from app.models.webhook import DeliveryState, DisabledReason, EventType
from app.outbound.fields import PublicURL
from app.schemas.base import PatchModel, RequestModel, ResponseModel
from app.schemas.values import MAX_SECONDS, Moment, Number, ShortText, Tag, without_nul

MAX_DESCRIPTION = 500
GRACE_SECONDS = 86_400
_URL = "https://billing.example.com/hooks"
_ID = "019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11"
_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="  # noqa: S105 (an example)
_AT = "2026-11-24T12:00:00Z"
_NO_FILTER: dict[str, Any] = {"task_type": None, "tag": None, "celery_task_name": None}
_READ: dict[str, Any] = {
    "id": _ID,
    "url": _URL,
    "events": ["task.failed"],
    "enabled": True,
    "description": None,
    "filter": _NO_FILTER | {"tag": "nightly"},
    "disabled_at": None,
    "disabled_reason": None,
    "failing_since": None,
    "created_at": _AT,
    "updated_at": _AT,
}


class WebhookSecret(ResponseModel):
    """The secret with which a receiver verifies the signatures of your webhooks."""

    secret: str = Field(
        description="`whsec_` and base64, as Standard Webhooks libraries expect it. Each user has another secret.",
        examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    )


class WebhookFilter(RequestModel):
    """Of which tasks the endpoint is told: all that is named must match."""

    model_config = ConfigDict(from_attributes=True)

    task_type: ShortText | None = Field(None, description="The `task_type`.", examples=["import"])
    tag: Tag | None = Field(None, description="One of the tags.", examples=[None])
    celery_task_name: ShortText | None = Field(None, description="The `celery_task_name`.", examples=[None])


def _once_each(events: list[EventType]) -> list[EventType]:
    return list(dict.fromkeys(events))


Events = Annotated[
    list[EventType],
    Field(
        min_length=1,
        max_length=50,
        description="What the endpoint is told of.",
        examples=[["task.succeeded", "task.failed"]],
    ),
    AfterValidator(_once_each),
]
Description = Annotated[str, StringConstraints(max_length=MAX_DESCRIPTION), AfterValidator(without_nul)]
_FILTER: dict[str, Any] = {
    "description": "Of which tasks it is told; all by default.",
    "examples": [{"tag": "nightly"}],
}
_ENABLED: dict[str, Any] = {"description": "A disabled endpoint records nothing, and what is queued for it is dropped."}


class WebhookCreate(RequestModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"url": _URL, "events": ["task.failed"]}]})

    url: Annotated[PublicURL, Field(description="Where to send to: a public http:// or https:// URL.", examples=[_URL])]
    events: Events
    filter: WebhookFilter = Field(default_factory=WebhookFilter, **_FILTER)
    enabled: StrictBool = Field(True, **_ENABLED)
    description: Description | None = Field(None, description="A note for people.", examples=["Billing"])


class WebhookPatch(PatchModel):
    """Changes of an endpoint. Omitted fields keep their values. Only a login changes `url`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"events": ["task.failed"], "enabled": True}]})
    nullable: ClassVar[frozenset[str]] = frozenset({"description"})

    url: Annotated[PublicURL, Field(description="Where to send to, also what is queued.", examples=[_URL])] | None = (
        None
    )
    events: Events | None = None
    filter: WebhookFilter | None = Field(None, description="Replaces the whole filter.", examples=[{"tag": "nightly"}])
    enabled: StrictBool | None = Field(None, **_ENABLED)
    description: Description | None = Field(None, description="A note for people; null: none.", examples=["Billing"])


class WebhookRotate(RequestModel):
    grace_seconds: Annotated[float, Field(ge=0, le=MAX_SECONDS), Number] = Field(
        GRACE_SECONDS, description="The old secret signs beside the new one for so long.", examples=[GRACE_SECONDS]
    )


class WebhookRecover(RequestModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"since": _AT}]})

    since: Moment = Field(description="Deliveries that were recorded before are left as they are.", examples=[_AT])


class WebhookRead(ResponseModel):
    """An endpoint, without its secret."""

    model_config = ConfigDict(json_schema_extra={"example": _READ})

    id: UUID = Field(description="The endpoint's id.")
    url: str = Field(description="Where it sends to.")
    events: list[EventType] = Field(description="What it is told of.")
    filter: WebhookFilter = Field(description="Of which tasks.")
    enabled: bool = Field(description="Whether it is told of anything.")
    disabled_at: datetime | None = Field(description="When it was disabled, in UTC.")
    disabled_reason: DisabledReason | None = Field(
        description="Why the service has disabled it. `gone`: the receiver answered 410. `failing`: nothing got "
        "through for five days. null: its owner did."
    )
    failing_since: datetime | None = Field(description="Since when nothing gets through, in UTC; null: it does.")
    description: str | None = Field(description="A note for people.")
    created_at: datetime = Field(description="When it was created, in UTC.")
    updated_at: datetime = Field(description="When it last changed, in UTC.")


class WebhookCreated(WebhookRead):
    """A new endpoint. Only this answer shows its `secret`: store it now."""

    model_config = ConfigDict(json_schema_extra={"example": _READ | {"filter": _NO_FILTER, "secret": _SECRET}})

    secret: str = Field(description="Verifies the signatures of this endpoint. The service cannot show it again.")


class WebhookRotated(ResponseModel):
    """The new secret of an endpoint. Only this answer shows it: store it now."""

    secret: str = Field(description="`whsec_` and base64.", examples=[_SECRET])
    old_secret_until: datetime = Field(
        description="Until when the old secret signs beside it, in UTC. Only one is kept: what an earlier rotation "
        "left signs no more, and the next rotation ends this one."
    )


class WebhookRecovered(ResponseModel):
    """What is sent again."""

    count: int = Field(description="The number of deliveries that matched when it was accepted.", examples=[3])


class DeliveryAttempt(ResponseModel):
    """One request of a delivery."""

    at: datetime = Field(description="When it was made, in UTC.")
    status_code: int | None = Field(description="The receiver's status; null: there was no answer.", examples=[503])
    latency_seconds: float = Field(description="How long it took.", examples=[0.12])
    error: str | None = Field(description="Why it failed; null: it did not.", examples=["the receiver answered 503"])
    answer: str | None = Field(description="The first KiB of the answer, secrets hidden.", examples=[""])


class DeliveryRead(ResponseModel):
    """One event for one receiver."""

    id: UUID = Field(description="The delivery's id.")
    endpoint_id: UUID | None = Field(description="The endpoint; null: the `webhook_url` of a task.")
    task_id: UUID | None = Field(description="The task of the event, which may be deleted by now.")
    event_id: UUID = Field(description="The event's id: the header `webhook-id`, the same for each attempt.")
    type: str = Field(description="The event, or `webhook.test`.", examples=["task.failed"])
    state: DeliveryState = Field(
        description="`pending`: it is sent, or will be. `delivered`: a 2xx answered. `failed`: no attempt is left. "
        "`dropped`: the endpoint was disabled or deleted before."
    )
    attempts: list[DeliveryAttempt] = Field(description="The last attempts, oldest first.")
    next_attempt_at: datetime | None = Field(description="When it is sent next, in UTC; null unless it is pending.")
    created_at: datetime = Field(description="When the event was recorded, in UTC.")
