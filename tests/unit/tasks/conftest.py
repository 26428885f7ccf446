"""Tasks of the tests' own, and a mail server with the settings that lead to it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from celery import Celery

from tests.support.settings import settings
from tests.unit.tasks.claimed import Define
from tests.unit.tasks.smtp_server import Configure, Mailbox, smtp_server


@pytest.fixture
def define(app: Celery) -> Define:
    """Makes a task, as the decorator does."""

    def define(body: Callable[..., Any], **options: Any) -> Any:
        # Not shared: Celery would register it with every other application too.
        return app.task(name=f"tests.{body.__name__}", shared=False, **{"bind": True} | options)(body)

    return define


@pytest.fixture
def mail_to() -> Iterator[Configure]:
    """Settings of a server on a port of this machine, for the rest of the test."""
    with ExitStack() as stack:

        def configure(port: int, **more: str) -> None:
            variables = {
                "SMTP_HOST": "127.0.0.1",
                "SMTP_PORT": str(port),
                "SMTP_FROM": "robot@example.com",
                "MAIL_DOMAINS": "*",
            }
            stack.enter_context(settings(variables | more))

        yield configure


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def server(mailbox: Mailbox, mail_to: Configure) -> Iterator[Mailbox]:
    with smtp_server(mailbox) as port:
        mail_to(port)
        yield mailbox
