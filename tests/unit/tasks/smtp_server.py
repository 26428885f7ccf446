"""Real SMTP servers on random loopback ports: aiosmtpd, and one that reads its lines from a script."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from app.launcher.ports import LOOPBACK, free_loopback_port
from app.tasks.high_priority_tasks import send_email
from tests.support.tools import imported
from tests.unit.outbound.web_server import DEADLINE_SECONDS, one_connection

Configure = Callable[..., None]


class Mailbox:
    """aiosmtpd's handler: keeps what comes in; answers the commands of `answers` and the recipients of `refused` so."""

    def __init__(self) -> None:
        self.port = 0
        self.envelopes: list[Any] = []
        self.commands: list[str] = []
        self.answers: dict[str, str] = {}
        self.refused: dict[str, str] = {}

    def message(self) -> EmailMessage:
        """The one that came. (No property: aiosmtpd reads every attribute of its handler.)"""
        (envelope,) = self.envelopes
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        return message

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        self.commands.append("MAIL")
        if "MAIL" in self.answers:
            return self.answers["MAIL"]
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        self.commands.append("RCPT")
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self.commands.append("DATA")
        if "DATA" in self.answers:
            return self.answers["DATA"]
        self.envelopes.append(envelope)
        return "250 queued"

    async def handle_QUIT(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        return self.answers.get("QUIT", "221 Bye")


@contextmanager
def smtp_server(mailbox: Mailbox, **options: Any) -> Iterator[int]:
    """aiosmtpd in a thread; the value is the port. Without SMTPUTF8 unless the options say otherwise."""
    options = {"enable_SMTPUTF8": False, "server_hostname": "localhost"} | options
    controller = imported("aiosmtpd.controller").Controller(
        mailbox, hostname=LOOPBACK, port=free_loopback_port(), **options
    )
    controller.start()
    mailbox.port = controller.port
    try:
        yield controller.port
    finally:
        controller.stop()


def scripted_server(*lines: bytes) -> AbstractContextManager[int]:
    """Says the first line, then one more after each that it hears, then hangs up. With none it stays silent."""

    def speak(connection: socket.socket, over: threading.Event) -> None:
        with connection.makefile("rb") as heard:
            for number, line in enumerate(lines):
                if number and not heard.readline():
                    return
                connection.sendall(line + b"\r\n")
        if not lines:
            over.wait(DEADLINE_SECONDS)

    return one_connection(speak)


def send(**changes: Any) -> dict[str, Any]:
    """A mail to Ann, but for the changes."""
    result: dict[str, Any] = send_email(**{"to": "ann@example.org", "subject": "Hi", "body": "text"} | changes)
    return result


def text(part: Any) -> str:
    """Its lines end in CRLF on the wire."""
    content: str = part.get_content()
    return content.replace("\r\n", "\n")
