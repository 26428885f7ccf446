"""Notifications: what somebody waits for, served before everything else."""

import logging
from typing import Annotated, Any

from pydantic import Field

from app.celery_app import celery_app
from app.core.config import get_settings
from app.dispatch.routing import HIGH_QUEUE
from app.tasks import smtp
from app.tasks.base import SQLAlchemyTask
from app.tasks.mail import Draft, compose
from app.tasks.smtp import MailDeferred, MailRefused

logger = logging.getLogger(__name__)

PERCENT = {"connect": 10, "send": 50}

# RFC 5321's limit of an address.
Address = Annotated[str, Field(min_length=3, max_length=254)]
Addresses = Annotated[list[Address], Field(min_length=1, max_length=100)]


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
