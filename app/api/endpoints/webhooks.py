"""Endpoints of webhooks: the receivers of a user, the deliveries to them and of one task, and the user's secret."""

from typing import Annotated
from uuid import UUID

from fastapi import Path, Request, Response, status

from app import errors
from app.api.deps import LoginUser, SessionDep, TaskReader, TaskWriter
from app.api.endpoints import tasks, users
from app.api.http.problems import Answers, raises
from app.api.http.responses import Cursor, Limit, ListRenderer
from app.api.http.router import SlashRouter
from app.models.webhook import WebhookDelivery, WebhookEndpoint
from app.schemas.webhook import (
    DeliveryRead,
    WebhookCreate,
    WebhookCreated,
    WebhookPatch,
    WebhookRead,
    WebhookRecover,
    WebhookRecovered,
    WebhookRotate,
    WebhookRotated,
    WebhookSecret,
)
from app.services.tasks.permissions import check_may_send
from app.services.webhooks import deliveries
from app.services.webhooks.service import Rotated, webhook_service

router = SlashRouter(prefix="/webhooks", tags=["webhooks"])
TAG_DESCRIPTION = "Have your own services told of the ends of your tasks, signed by Standard Webhooks."

_EXAMPLE = "019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11"
WebhookId = Annotated[
    UUID, Path(description="The endpoint's id.", examples=[_EXAMPLE]), Answers(errors.WebhookNotFound)
]
DeliveryId = Annotated[
    UUID, Path(description="The delivery's id.", examples=[_EXAMPLE]), Answers(errors.DeliveryNotFound)
]
_DELIVERIES = ListRenderer(DeliveryRead, deliveries.DELIVERIES)


@router.get("/", response_model=list[WebhookRead], response_description="Your endpoints, oldest first")
def list_webhooks(db: SessionDep, user: TaskReader) -> list[WebhookEndpoint]:
    """List your webhook endpoints: 20 at most."""
    return webhook_service.list_endpoints(db, user.id)


@router.post(
    "/",
    response_model=WebhookCreated,
    status_code=status.HTTP_201_CREATED,
    response_description="The new endpoint, with its secret, which only this answer shows",
)
@raises(errors.TaskNotAllowed, errors.WebhookLimit, errors.EndpointsOff, errors.InvalidWebhook)
def create_webhook(db: SessionDep, user: LoginUser, body: WebhookCreate) -> WebhookCreated:
    """Create an endpoint that is told of the ends of your tasks. Only a login can.

    It is told of all tasks that you submit after this answer. Those that are pending or running now follow within a
    minute. Store the secret: the receiver verifies signatures with it.
    """
    check_may_send(user.id, user.role)
    made = webhook_service.create_endpoint(db, user.id, **dict(body))
    return WebhookCreated(**WebhookRead.model_validate(made.row).model_dump(), secret=made.secret)


@router.get("/{webhook_id}", response_model=WebhookRead, response_description="The endpoint, without its secret")
def get_webhook(db: SessionDep, user: TaskReader, webhook_id: WebhookId) -> WebhookEndpoint:
    """Get one of your endpoints. Administrators get each user's."""
    return webhook_service.get_endpoint(db, user.owner, webhook_id)


@router.patch(
    "/{webhook_id}",
    response_model=WebhookRead,
    response_description="The changed endpoint",
    # LoginOnly is not among them: it would say that no key may call it.
)
@raises(errors.TaskNotAllowed, errors.InvalidWebhook)
def update_webhook(db: SessionDep, user: TaskWriter, webhook_id: WebhookId, body: WebhookPatch) -> WebhookEndpoint:
    """Change an endpoint. Omitted fields keep their values. Only a login changes `url`: a key gets 403 `login_only`.

    Disabled, it records nothing, and what is queued for it is dropped, within seconds. `enabled: true` begins anew.
    """
    if "url" in body.model_fields_set:
        user.check_login()
        check_may_send(user.id, user.role)
    return webhook_service.update_endpoint(db, user.id, webhook_id, body.model_dump(exclude_unset=True))


@router.delete("/{webhook_id}", status_code=status.HTTP_204_NO_CONTENT, response_description="The endpoint is deleted")
def delete_webhook(db: SessionDep, user: TaskWriter, webhook_id: WebhookId) -> None:
    """Delete an endpoint. What is queued for it is dropped."""
    webhook_service.delete_endpoint(db, user.id, webhook_id)


@router.post(
    "/{webhook_id}/rotate",
    response_model=WebhookRotated,
    response_description="The new secret, which only this answer shows",
)
@raises(errors.EndpointsOff)
def rotate_webhook_secret(
    db: SessionDep, user: LoginUser, webhook_id: WebhookId, body: WebhookRotate | None = None
) -> Rotated:
    """Give the endpoint a new secret. The old one signs beside it for `grace_seconds`. Only a login can."""
    return webhook_service.rotate_secret(db, user.id, webhook_id, (body or WebhookRotate()).grace_seconds)


@router.post(
    "/{webhook_id}/test",
    response_model=DeliveryRead,
    status_code=status.HTTP_202_ACCEPTED,
    response_description="The delivery, which is sent now",
)
@raises(errors.WebhookDisabled, errors.TooManyRequests)
def test_webhook(db: SessionDep, user: TaskWriter, webhook_id: WebhookId) -> WebhookDelivery:
    """Send a test event, `webhook.test`, to the endpoint. Its delivery is in the list as any other."""
    return webhook_service.send_test(db, user.id, webhook_id)


@router.get(
    "/{webhook_id}/deliveries", response_model=list[DeliveryRead], response_description="Deliveries, newest first"
)
def list_webhook_deliveries(
    request: Request, db: SessionDep, user: TaskReader, webhook_id: WebhookId, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """List the deliveries to an endpoint, newest first, with what the receiver answered. They are kept for 30 days.

    Administrators list those of each user.
    """
    page = webhook_service.list_deliveries(db, user.owner, webhook_id, limit=limit, cursor=cursor)
    return _DELIVERIES.page(request, page)


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/redeliver",
    response_model=DeliveryRead,
    status_code=status.HTTP_202_ACCEPTED,
    response_description="The delivery, which is sent now",
)
@raises(errors.WebhookDisabled, errors.TooManyRequests)
def redeliver_webhook(
    db: SessionDep, user: TaskWriter, webhook_id: WebhookId, delivery_id: DeliveryId
) -> WebhookDelivery:
    """Send a delivery again, whatever became of it, with the same `webhook-id` and the same bytes.

    One that is under way, or is sent within a minute anyway, is left as it is.
    """
    return webhook_service.redeliver(db, user.id, webhook_id, delivery_id)


@router.post(
    "/{webhook_id}/recover",
    response_model=WebhookRecovered,
    status_code=status.HTTP_202_ACCEPTED,
    response_description="How many match now; they are sent again from now on",
)
@raises(errors.WebhookDisabled, errors.TooManyRequests)
def recover_webhook(
    db: SessionDep, user: TaskWriter, webhook_id: WebhookId, body: WebhookRecover
) -> WebhookRecovered:  # fmt: skip
    """Send all deliveries to the endpoint that failed or were dropped since a time, or wait for another attempt.

    They are queued within seconds, in batches, also if this process is stopped. An endpoint that is disabled meanwhile
    gets no more of them.
    """
    return WebhookRecovered(count=webhook_service.recover(db, user.id, webhook_id, body.since))


# -- The endpoint of the webhooks of one task --------------------------------------------------------------------------


@tasks.router.get(
    "/{task_id}/deliveries", response_model=list[DeliveryRead], response_description="Deliveries, newest first"
)
def list_task_deliveries(
    request: Request, db: SessionDep, user: TaskReader, task_id: tasks.TaskId, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """List the webhooks of the task's ends, newest first: to its `webhook_url` and to endpoints of its owner."""
    page = webhook_service.list_deliveries_of_task(db, task_id, owner=user.owner, limit=limit, cursor=cursor)
    return _DELIVERIES.page(request, page)


# -- The endpoint of the secret that signs what goes to the `webhook_url` of tasks -------------------------------------


@users.router.get("/me/webhook-secret", response_model=WebhookSecret, response_description="Your secret")
@raises(errors.WebhooksOff)
def get_webhook_secret(db: SessionDep, user: LoginUser) -> WebhookSecret:
    """Get the secret that signs `send_webhook` and the `webhook_url` of your tasks (Standard Webhooks 1.0).

    It changes only when the operator changes `WEBHOOK_SECRET`. During such a change, webhooks carry two signatures, of
    the new and of the old secret. This answer shows the new one, and the audit records that it was read.
    """
    return WebhookSecret(secret=webhook_service.show_secret(db, user.id))
