"""Tasks whose signals are noted in the ledger that the environment names, loaded with TASK_MODULES."""

import os
from typing import Any

from celery import signals

from app.celery_app import celery_app
from tests.support.example_tasks import note

MODULE = "tests.support.signalled_tasks"
LEDGER = "SIGNAL_LEDGER"
SIGNALS = ("task_received", "task_prerun", "task_postrun", "task_success", "task_failure", "task_retry", "task_revoked",
           "task_internal_error")  # fmt: skip


def _hear(signal: Any, sender: Any = None, request: Any = None, **_: Any) -> None:
    name = getattr(sender, "name", None) or getattr(request, "name", None)
    note(os.environ[LEDGER], f"{signal.name} {name}")


if MODULE in os.environ.get("TASK_MODULES", ""):  # not where a test asks for the name alone
    for _name in SIGNALS:
        getattr(signals, _name).connect(_hear, weak=False)


@celery_app.task(bind=True, name="tests.request")
def request(self: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """What a body sees of its request."""
    names = (
        "id", "root_id", "parent_id", "retries", "is_eager", "called_directly", "hostname", "delivery_info", "timelimit",
        "args", "kwargs", "task", "expires", "eta", "group", "chord", "correlation_id", "reply_to",
    )  # fmt: skip
    return {name: getattr(self.request, name) for name in names}
