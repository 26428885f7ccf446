"""Notifications: tasks that run before all others because users wait for them."""

import logging
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from app.celery_app import celery_app
from app.core.config import get_settings
from app.core.validation_errors import validator_error
from app.db.session import SessionLocal
from app.errors import WebhooksOff
from app.messaging.application import HIGH_QUEUE
from app.outbound import Refused
from app.outbound.fields import PublicURL
from app.services.execution.attempts import current_attempt
from app.services.execution.daily_limits import DailyLimit
from app.services.webhooks.service import webhook_service
from app.tasks import mails
from app.tasks.base import SQLAlchemyTask
from app.tasks.files import InputFile
from app.tasks.http_requests import REQUEST_OPTIONS, AnsweredLater, AnsweredNo, make_webhook, retry_after_delay
from app.tasks.mails import (
    Draft,
    MailDeferred,
    MailRefused,
    address_refusal,
    compose,
    header_refusal,
    read_attachments,
    recipient_refusal,
)

logger = logging.getLogger(__name__)

PERCENT = {"connect": 10, "send": 50}


def _as_list(to: str | list[str]) -> list[str]:
    return [to] if isinstance(to, str) else to


def _checked_recipients(to: str | list[str]) -> str | list[str]:
    for address in _as_list(to):
        reason = recipient_refusal(address, get_settings().mail_domains)
        if reason is not None:
            raise validator_error("recipient_refused", reason)
    return to


def _checked_by(refusal: Callable[[str], str | None]) -> AfterValidator:
    """Return a validator of texts that raises what `refusal` returns."""

    def check(text: str) -> str:
        if (reason := refusal(text)) is not None:
            raise validator_error("header_refused", reason)
        return text

    return AfterValidator(check)


# RFC 5321's maximal length of an address.
Address = Annotated[str, Field(min_length=3, max_length=254)]
Addresses = Annotated[list[Address], Field(min_length=1, max_length=100)]
Recipients = Annotated[Address | Addresses, AfterValidator(_checked_recipients)]
Event = Annotated[
    str, Field(max_length=200, pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$", examples=["invoice.paid", "report.ready"])
]


def _recipients(to: str | list[str], *_: Any, **__: Any) -> int:
    return len(_as_list(to))


class HighPriorityTask(SQLAlchemyTask):
    """Runs in the high queue whatever its priority. Celery 5.7 warns of `queue` among the decorator's options."""

    abstract = True
    queue = HIGH_QUEUE


@celery_app.task(
    bind=True,
    name="app.tasks.high_priority_tasks.send_email",
    base=HighPriorityTask,
    autoretry_for=(MailDeferred,),
    dont_autoretry_for=(MailRefused, ValueError),
    needs_settings=("smtp_host", "mail_domains"),
    users_setting="mail_users",
    daily_limit=DailyLimit("recipients of mails", "mail_recipients_per_day", _recipients),
    # 15, 30, 60 seconds: enough for a mail server to restart. Without Celery's jitter, which may shorten a delay to
    # zero.
    retry_backoff=15,
    retry_jitter=False,
    max_retries=3,
)
def send_email(
    self: Any,
    to: Recipients,
    subject: Annotated[str, Field(max_length=500), _checked_by(header_refusal)],
    body: str,
    html: str | None = None,
    reply_to: Annotated[Address, _checked_by(address_refusal)] | None = None,
    attachments: Annotated[list[InputFile], Field(max_length=20)] | None = None,
    task_id: str | None = None,
) -> dict[str, Any]:
    """Send an e-mail through the SMTP server of the settings.

    `to` is an address or a list of up to 100 (all visible to each other), `body` the plain text, `html` an alternative
    to it. `attachments` are ids of files or artifacts, which have MAIL_ATTACHMENT_BYTES together. Only the domains of
    the service's MAIL_DOMAINS can be reached. The task succeeds once the server accepts the
    mail for at least one recipient; `refused` lists the others with the server's code and reason. If it accepts no
    recipient, a permanent refusal (5xx) or an invalid address fails the task at once. An unreachable server or a
    temporary refusal (4xx) is retried three times, after 15, 30 and 60 seconds unless the request says otherwise. The
    recipients of each attempt count towards the day's limit of their sender.

    If a worker dies after the server accepted the mail and before the result is stored, the mail is sent again. It has
    the same Message-ID, made from the task's id, so that mail programs can recognise the duplicate.
    """
    settings = get_settings()
    attached = read_attachments(attachments or (), settings.mail_attachment_bytes)
    mail = compose(Draft(settings.smtp_from, _as_list(to), subject, body, html, reply_to, attached), task_id)
    refused = mails.deliver(mail, settings, lambda stage: self.update_progress(PERCENT[stage], {"stage": stage}))
    accepted = [address for address in mail.recipients.values() if address not in refused]
    logger.info("mail %s accepted for %d of %d recipients", mail.message_id, len(accepted), len(mail.recipients))
    return {"message_id": mail.message_id, "accepted": accepted, "refused": refused}


@celery_app.task(
    bind=True,
    name="app.tasks.high_priority_tasks.send_webhook",
    base=HighPriorityTask,
    **REQUEST_OPTIONS,
    dont_autoretry_for=(Refused, AnsweredNo, WebhooksOff, ValueError),
    # 15 seconds, then doubled each time, up to an hour: gives up after about two hours.
    retry_backoff=15,
    retry_backoff_max=3600,
    max_retries=9,
)
def send_webhook(
    self: Any, url: PublicURL, event: Event, payload: dict[str, Any], task_id: str | None = None
) -> dict[str, Any]:
    """Send a signed webhook as in Standard Webhooks 1.0.

    POSTs `{"type": event, "timestamp": …, "data": payload}` with the headers `webhook-id` (the task's id, the same in
    each attempt), `webhook-timestamp` and `webhook-signature`. Receivers verify it with your own secret, from `GET
    /users/me/webhook-secret`. The same addresses are allowed as for `fetch_url`.

    A 2xx within 30 seconds is a success. Redirects are not followed. A 3xx or 4xx fails the task at once, except 408,
    425 and 429. These, 5xx and missing responses are retried nine times, after 15 seconds and then doubled each time,
    or after `Retry-After`. A receiver may get the same webhook twice, with the same id.
    """
    webhook = make_webhook(event, payload, task_id)
    try:
        result = webhook.deliver(url, _webhook_keys())
    except AnsweredLater as error:
        retry_after_delay(self, error)
    logger.info("webhook %s delivered", webhook.id)
    return result


def _webhook_keys() -> list[bytes]:
    """Return those of the user whose claimed task runs here; the service's own for a message of no record.

    Never by an argument: whoever may write to the broker chooses the arguments of plain messages.
    """
    attempt = current_attempt.get()
    if attempt is None:
        return webhook_service.service_keys()
    with SessionLocal() as db:
        return webhook_service.keys_for_task(db, attempt.task_id)
