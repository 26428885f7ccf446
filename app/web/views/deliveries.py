"""One webhook: what was sent, what its receiver answered at each attempt, and sending it again."""

from uuid import UUID

from fastapi import Request, Response

from app.api.deps import SessionDep
from app.api.http.router import SlashRouter
from app.schemas.webhook import DeliveryRead
from app.services.webhook_service import webhook_service
from app.services.webhooks import deliveries
from app.web import shown_schedules
from app.web.access import PageUser
from app.web.responses import page, redirect
from app.web.shown_webhooks import shown_body

router = SlashRouter()


@router.get("/deliveries/{delivery_id}")
def show_delivery(request: Request, db: SessionDep, user: PageUser, delivery_id: UUID) -> Response:
    row = webhook_service.get_delivery(db, delivery_id, owner=user.owner)
    url = deliveries.receivers(db, [row]).get(row.id)
    body = None if row.body is None else bytes(row.body)
    schedule = shown_schedules.name_of(db, row.schedule_id)
    db.rollback()  # all is read, and to write large JSON takes longer than a transaction may be idle
    values = {
        "delivery": DeliveryRead.model_validate(row),
        "event_at": row.event_at,
        "url": url,
        # Others may not send it again, administrators neither.
        "endpoint_id": row.endpoint_id if url and row.user_id == user.id else None,
        "schedule_id": row.schedule_id,
        "schedule": schedule,
        "body": shown_body(body),
        "size": len(body or b""),
    }
    return page(request, "delivery.html", values)


@router.post("/deliveries/{delivery_id}/redeliver")
def redeliver(request: Request, db: SessionDep, user: PageUser, delivery_id: UUID) -> Response:
    row = webhook_service.get_delivery(db, delivery_id, owner=user.id)
    # The `webhook_url` of a task is no endpoint: WebhookNotFound.
    webhook_service.redeliver(db, user.id, row.endpoint_id or delivery_id, delivery_id)
    return redirect(request, f"/deliveries/{delivery_id}", "webhook_redelivered")
