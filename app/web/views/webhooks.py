"""Webhooks: the endpoints of the reader, whether they get what they should, and each delivery with its attempts."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Annotated, Any
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import Form, Request, Response
from pydantic import BaseModel
from sqlalchemy.orm import Session

from app import errors
from app.api.deps import SessionDep
from app.api.http.responses import Cursor
from app.api.http.router import SlashRouter
from app.core import drawing
from app.core.moments import moment
from app.models.webhook import DisabledReason, EventType, WebhookEndpoint
from app.schemas.webhook import GRACE_SECONDS, DeliveryRead
from app.services.tasks.permissions import check_may_send, types_for
from app.services.webhooks import deliveries
from app.services.webhooks.deliveries import Queued
from app.services.webhooks.service import MAX_ENDPOINTS, webhook_service
from app.web.access import PageUser
from app.web.forms import Confirmed, ask_to_confirm, by_field, next_page
from app.web.responses import JSONTexts, ShownJSON, page, redirect
from app.web.views import schedules

# -- What is well, and how the receivers answered ----------------------------------------------------------------------

COLUMNS = 50
FILTERS = ("task_type", "tag", "celery_task_name")


@dataclass(frozen=True)
class EndpointHealth:
    """How well an endpoint gets its webhooks: `well`, `failing`, `gone`, `disabled` (by its owner), and since when.

    `gave_up`: the service has disabled it, since nothing got through for days.
    """

    kind: str
    since: datetime | None = None

    @property
    def is_trouble(self) -> bool:
        return self.kind in {"failing", "gone", "gave_up"}


def endpoint_health(endpoint: WebhookEndpoint) -> EndpointHealth:
    """Return the health of an endpoint, which its deliveries have left in its row."""
    if not endpoint.enabled:
        kinds = {DisabledReason.GONE.value: "gone", DisabledReason.FAILING.value: "gave_up"}
        return EndpointHealth(kinds.get(endpoint.disabled_reason or "", "disabled"), endpoint.disabled_at)
    if endpoint.failing_since:
        return EndpointHealth("failing", endpoint.failing_since)
    return EndpointHealth("well")


def last_error(deliveries: Iterable[DeliveryRead]) -> str | None:
    """Return why the last of the attempts of these deliveries failed that did."""
    failed = [attempt for each in deliveries for attempt in each.attempts if attempt.error]
    return max(failed, key=lambda attempt: attempt.at).error if failed else None


@dataclass(frozen=True)
class Latencies:
    """How long the newest attempts took: the bars by time, oldest first, and the numbers in seconds."""

    bars: Sequence[drawing.Bar]
    number: int
    median: float
    longest: float


def latencies_of(deliveries: Iterable[DeliveryRead]) -> Latencies | None:
    """Return the picture of the attempts of these deliveries; None without any."""
    found = sorted((attempt for each in deliveries for attempt in each.attempts), key=lambda attempt: attempt.at)
    if not found:
        return None
    seconds = [attempt.latency_seconds for attempt in found]
    # In milliseconds, of which each has one at least: it can be seen.
    sizes = [(max(round(each.latency_seconds * 1000), 1), each.error is None) for each in found]
    few = [0] * (COLUMNS - len(sizes))  # few attempts are not drawn as few broad bars
    parts = {kind: [*few, *(size if well is got else 0 for size, well in sizes)] for kind, got in _KINDS}
    return Latencies(drawing.columns(parts), len(found), median(seconds), max(seconds))


_KINDS = (("succeeded", True), ("failed", False))


def receiver_name(url: str) -> str:
    """Return the URL without scheme and query, as a short name of the receiver."""
    parts = urlsplit(url)
    return (parts.netloc + parts.path).rstrip("/") or url


def shown_body(body: bytes | None) -> ShownJSON | None:
    """Return the body as indented JSON, in the bounds of a page; None before the first attempt has made it."""
    return None if body is None else JSONTexts().show(json.loads(body))


# -- The list of endpoints, and one with its deliveries ----------------------------------------------------------------

router = SlashRouter()

ROWS = 50
MOST_QUEUED = 1000
GRACES = {"0": 0, "3600": 3600, "86400": GRACE_SECONDS, "604800": 7 * GRACE_SECONDS}


class EndpointForm(BaseModel):
    """What was typed of an endpoint."""

    url: str = ""
    events: list[str] = []
    description: str = ""
    task_type: str = ""
    tag: str = ""
    celery_task_name: str = ""

    def fields(self) -> dict[str, Any]:
        """Return the fields of a request: what is empty filters nothing, and describes nothing."""
        return {
            "url": self.url.strip(),
            "events": self.events,
            "description": self.description.strip() or None,
            "filter": {name: getattr(self, name).strip() or None for name in FILTERS},
        }


Typed = Annotated[EndpointForm, Form()]


@router.get("/webhooks")
def show_endpoints(request: Request, db: SessionDep, user: PageUser) -> Response:
    found = webhook_service.list_endpoints(db, user.id)
    newest = webhook_service.newest_deliveries(db, [each.id for each in found])
    last = [DeliveryRead.model_validate(newest[each.id]) if each.id in newest else None for each in found]
    values = {
        "endpoints": [
            (each, endpoint_health(each), of_it, last_error([of_it] if of_it else []))
            for each, of_it in zip(found, last, strict=True)
        ],
        "most": MAX_ENDPOINTS,
        "filters": FILTERS,
        "name_of": receiver_name,
    }
    return page(request, "webhooks.html", values)


@router.get("/webhooks/new")
def show_new(request: Request, user: PageUser) -> Response:
    return _form(request, user, EndpointForm(events=["task.succeeded", "task.failed", "task.revoked"]))


@router.post("/webhooks")
def create_endpoint(request: Request, db: SessionDep, user: PageUser, form: Typed) -> Response:
    """Create an endpoint. Only this answer shows its secret."""
    check_may_send(user.id, user.role)
    try:
        made = webhook_service.create_endpoint(db, user.id, **form.fields())
    except (errors.InvalidWebhook, errors.WebhookLimit, errors.WebhooksOff) as error:
        return _form(request, user, form, error=error)
    return page(request, "webhook_secret.html", {"endpoint": made.row, "secret": made.secret, "is_new": True})


@router.get("/webhooks/{endpoint_id}")
def show_endpoint(
    request: Request, db: SessionDep, user: PageUser, endpoint_id: UUID, cursor: Cursor = None
) -> Response:  # fmt: skip
    return _endpoint(request, db, user, endpoint_id, cursor)


@router.get("/webhooks/{endpoint_id}/change")
def show_change(request: Request, db: SessionDep, user: PageUser, endpoint_id: UUID) -> Response:
    row = webhook_service.get_endpoint(db, user.id, endpoint_id)
    typed = {"url": row.url, "events": row.events, "description": row.description or ""}
    return _form(request, user, EndpointForm(**typed, **{name: row.filter[name] or "" for name in FILTERS}), row)


@router.post("/webhooks/{endpoint_id}/change")
def change_endpoint(request: Request, db: SessionDep, user: PageUser, endpoint_id: UUID, form: Typed) -> Response:
    row = webhook_service.get_endpoint(db, user.id, endpoint_id)
    changes = form.fields()
    if changes["url"] == row.url:  # which may be one that could not be named now
        del changes["url"]
    else:
        check_may_send(user.id, user.role)
    try:
        webhook_service.update_endpoint(db, user.id, endpoint_id, changes)
    except errors.InvalidWebhook as error:
        return _form(request, user, form, row, error)
    return redirect(request, f"/webhooks/{endpoint_id}", "webhook_changed")


@router.post("/webhooks/{endpoint_id}/enable")
def enable_endpoint(request: Request, db: SessionDep, user: PageUser, endpoint_id: UUID) -> Response:
    webhook_service.update_endpoint(db, user.id, endpoint_id, {"enabled": True})
    return redirect(request, f"/webhooks/{endpoint_id}", "webhook_enabled")


@router.post("/webhooks/{endpoint_id}/disable")
def disable_endpoint(
    request: Request, db: SessionDep, user: PageUser, endpoint_id: UUID, confirmed: Confirmed = False
) -> Response:
    if not confirmed:
        return _ask(request, db, user, endpoint_id, "disable_webhook")
    webhook_service.update_endpoint(db, user.id, endpoint_id, {"enabled": False})
    return redirect(request, f"/webhooks/{endpoint_id}", "webhook_disabled")


@router.post("/webhooks/{endpoint_id}/delete")
def delete_endpoint(
    request: Request, db: SessionDep, user: PageUser, endpoint_id: UUID, confirmed: Confirmed = False
) -> Response:
    if not confirmed:
        return _ask(request, db, user, endpoint_id, "delete_webhook")
    webhook_service.delete_endpoint(db, user.id, endpoint_id)
    return redirect(request, "/webhooks", "webhook_deleted")


@router.post("/webhooks/{endpoint_id}/rotate")
def rotate_secret(
    request: Request, db: SessionDep, user: PageUser, endpoint_id: UUID, grace: Annotated[str, Form()] = ""
) -> Response:
    """Give the endpoint a new secret. Only this answer shows it."""
    before = webhook_service.get_endpoint(db, user.id, endpoint_id).old_secret_until
    made = webhook_service.rotate_secret(db, user.id, endpoint_id, GRACES.get(grace, GRACE_SECONDS))
    row = webhook_service.get_endpoint(db, user.id, endpoint_id)
    until = made.old_secret_until if GRACES.get(grace, GRACE_SECONDS) else None
    ended = before if before and before > datetime.now(UTC) else None
    values = {"endpoint": row, "secret": made.secret, "is_new": False, "until": until, "ended": ended}
    return page(request, "webhook_secret.html", values)


@router.post("/webhooks/{endpoint_id}/test")
def send_test(request: Request, db: SessionDep, user: PageUser, endpoint_id: UUID) -> Response:
    try:
        webhook_service.send_test(db, user.id, endpoint_id)
    except (errors.WebhookDisabled, errors.TooManyRequests) as error:
        return _endpoint(request, db, user, endpoint_id, error=error)
    return redirect(request, f"/webhooks/{endpoint_id}", "webhook_tested")


@router.post("/webhooks/{endpoint_id}/recover")
def recover(
    request: Request, db: SessionDep, user: PageUser, endpoint_id: UUID, since: Annotated[str, Form()] = ""
) -> Response:
    try:
        number = webhook_service.recover(db, user.id, endpoint_id, moment(since))
    except ValueError:
        wrong = errors.InvalidInput("A time is like 2026-11-24 12:00, in UTC")
        return _endpoint(request, db, user, endpoint_id, error=wrong, since=since)
    except (errors.WebhookDisabled, errors.TooManyRequests, errors.TookTooLong) as error:
        return _endpoint(request, db, user, endpoint_id, error=error)
    return redirect(request, f"/webhooks/{endpoint_id}", "webhook_recovered" if number else "webhook_nothing_lost")


@router.post("/webhooks/{endpoint_id}/send-waiting")
def send_waiting(request: Request, db: SessionDep, user: PageUser, endpoint_id: UUID) -> Response:
    try:
        webhook_service.send_waiting(db, user.id, endpoint_id)
    except (errors.WebhookDisabled, errors.TooManyRequests, errors.TookTooLong) as error:
        return _endpoint(request, db, user, endpoint_id, error=error)
    return redirect(request, f"/webhooks/{endpoint_id}", "webhook_hurried")


def _endpoint(
    request: Request,
    db: Session,
    user: PageUser,
    endpoint_id: UUID,
    cursor: str | None = None,
    *,
    error: errors.ServiceError | None = None,
    since: str = "",
) -> Response:
    row = webhook_service.get_endpoint(db, user.id, endpoint_id)
    found = webhook_service.list_deliveries(db, user.id, endpoint_id, limit=ROWS, cursor=cursor)
    deliveries = [DeliveryRead.model_validate(each) for each in found.items]
    nothing = Queued(0, 0, None)
    queued = webhook_service.count_queued(db, endpoint_id, MOST_QUEUED + 1) if row.enabled else nothing
    values = {
        "endpoint": row,
        "health": endpoint_health(row),
        "name": receiver_name(row.url),
        "filters": FILTERS,
        "deliveries": deliveries,
        "next_page": next_page(found, f"/webhooks/{endpoint_id}"),
        "is_first": cursor is None,
        "latencies": latencies_of(deliveries),
        "reason": last_error(deliveries) if cursor is None else None,
        "queued": queued,
        "most": MOST_QUEUED,
        "graces": list(GRACES),
        "since": since or f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d %H:%M}",
        "error": error,
    }
    return page(request, "webhook.html", values, error)


def _form(
    request: Request,
    user: PageUser,
    typed: EndpointForm,
    changed: WebhookEndpoint | None = None,
    error: errors.ServiceError | None = None,
) -> Response:
    reasons = error.errors if isinstance(error, errors.InvalidInput) else []
    places = {name: said for each in reasons for name, said in by_field([each], depth=1).items()}
    for each in reasons:
        if each["loc"][:1] == ["filter"] and len(each["loc"]) > 1:
            places.setdefault(str(each["loc"][1]), each["msg"])
    values = {
        "changed": changed,
        "form": typed,
        "events": [each.value for each in EventType],
        "task_names": sorted(each.celery_task_name for each in types_for(user.rights)),
        "wrong": places,
        "error": None if error is None or places else error,
    }
    return page(request, "webhook_form.html", values, error)


def _ask(request: Request, db: Session, user: PageUser, endpoint_id: UUID, deed: str) -> Response:
    return ask_to_confirm(
        request, deed, webhook_service.get_endpoint(db, user.id, endpoint_id).url, f"/webhooks/{endpoint_id}"
    )


# -- One webhook: what was sent, what its receiver answered at each attempt, and sending it again ----------------------


@router.get("/deliveries/{delivery_id}")
def show_delivery(request: Request, db: SessionDep, user: PageUser, delivery_id: UUID) -> Response:
    row = webhook_service.get_delivery(db, delivery_id, owner=user.owner)
    url = deliveries.receivers(db, [row]).get(row.id)
    body = None if row.body is None else bytes(row.body)
    schedule = schedules.schedule_name(db, row.schedule_id)
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
