"""Notifications: what somebody waits for, served before everything else."""

import logging
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from app.celery_app import celery_app
from app.core.config import get_settings
from app.db.session import SessionLocal
from app.errors import WebhooksOff
from app.messaging.routing import HIGH_QUEUE
from app.outbound import Failed, Refused
from app.outbound.fields import PublicURL
from app.services.accounts import webhook_secrets
from app.tasks import smtp
from app.tasks.base import SQLAlchemyTask
from app.tasks.http_status import AnsweredLater, AnsweredNo, retry_as_asked
from app.tasks.mail import Draft, compose
from app.tasks.smtp import MailDeferred, MailRefused
from app.tasks.webhook import webhook_of

logger = logging.getLogger(__name__)

PERCENT = {"connect": 10, "send": 50}

# RFC 5321's limit of an address.
Address = Annotated[str, Field(min_length=3, max_length=254)]
Addresses = Annotated[list[Address], Field(min_length=1, max_length=100)]
Event = Annotated[
    str, Field(max_length=200, pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$", examples=["invoice.paid", "report.ready"])
]


class HighPriorityTask(SQLAlchemyTask):
    """Goes to the high queue whatever its priority. (Celery 5.7 warns of `queue` among the decorator's options.)"""

    abstract = True
    queue = HIGH_QUEUE


@celery_app.task(
    bind=True,
    name="app.tasks.high_priority_tasks.send_email",
    base=HighPriorityTask,
    autoretry_for=(MailDeferred,),
    dont_autoretry_for=(MailRefused, ValueError),
    # 15, 30, 60 seconds: a mail server that restarts is back by then. Celery's jitter would go down to no pause at all.
    retry_backoff=15,
    retry_jitter=False,
    max_retries=3,
)
def send_email(
    self: Any,
    to: Address | Addresses,
    subject: Annotated[str, Field(max_length=500)],
    body: str,
    html: str | None = None,
    reply_to: Address | None = None,
    task_id: str | None = None,
) -> dict[str, Any]:
    """Send an e-mail over the SMTP server of the settings.

    `to` is an address or a list of up to 100 (each sees the others), `body` the plain text, `html` an alternative to
    it. Sent once the server has taken it for at least one recipient; `refused` then says who is left out, with the
    server's code and reason. Where it took it for nobody, a permanent refusal (5xx) or an invalid address fails the
    task at once; an unreachable server or a temporary refusal (4xx) is tried three times more, after 15, 30 and 60
    seconds unless the request says otherwise.

    A worker that dies after the server took the mail and before it could say so sends it a second time: with the
    same Message-ID, which is made of the task's id, so that mail programs can tell that it is the same one.
    """
    settings = get_settings()
    recipients = [to] if isinstance(to, str) else to
    mail = compose(Draft(settings.smtp_from, recipients, subject, body, html, reply_to), task_id)
    refused = smtp.deliver(mail, settings, lambda stage: self.update_progress(PERCENT[stage], {"stage": stage}))
    accepted = [address for address in mail.recipients.values() if address not in refused]
    logger.info("mail %s accepted for %d of %d recipients", mail.message_id, len(accepted), len(mail.recipients))
    return {"message_id": mail.message_id, "accepted": accepted, "refused": refused}


@celery_app.task(
    bind=True,
    name="app.tasks.high_priority_tasks.send_webhook",
    base=HighPriorityTask,
    autoretry_for=(Failed, AnsweredLater),
    dont_autoretry_for=(Refused, AnsweredNo, WebhooksOff, ValueError),
    # 15 seconds, then twice as long each time, up to an hour: given up after a good two hours.
    retry_backoff=15,
    retry_backoff_max=3600,
    retry_jitter=False,
    max_retries=9,
)
def send_webhook(
    self: Any, url: PublicURL, event: Event, payload: dict[str, Any], task_id: str | None = None
) -> dict[str, Any]:
    """Send a signed webhook, as Standard Webhooks 1.0 has it.

    POSTs `{"type": event, "timestamp": …, "data": payload}` with the headers `webhook-id` (the task's id, the same at
    every attempt), `webhook-timestamp` and `webhook-signature`. Receivers check it with your own secret, from
    `GET /users/me/webhook-secret`. The addresses that it may go to are those of `fetch_url`.

    A 2xx within 30 seconds is a success. Redirects are not followed. A 3xx or 4xx fails the task at once, but for 408,
    425 and 429, which are tried again like a 5xx or no answer: nine times, after 15 seconds and then twice as long each
    time, or when `Retry-After` says. A receiver may get the same webhook twice, with the same id.
    """
    webhook = webhook_of(event, payload, task_id)
    try:
        result = webhook.deliver(url, _webhook_keys(task_id))
    except AnsweredLater as error:
        retry_as_asked(self, error)
    logger.info("webhook %s delivered", webhook.id)
    return result


def _webhook_keys(task_id: str | None) -> list[bytes]:
    if task_id is None:
        return webhook_secrets.service_keys()
    with SessionLocal() as db:
        return webhook_secrets.keys_for_task(db, UUID(task_id))
