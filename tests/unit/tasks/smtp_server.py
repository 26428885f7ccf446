"""Real SMTP servers on random loopback ports: aiosmtpd, and one that reads its lines from a script."""

import asyncio
import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.tasks.high_priority_tasks import send_email
from tests.support.tools import imported

DEADLINE_SECONDS = 10
TOKEN = "an-smtp-password"

Configure = Callable[..., None]


class Mailbox:
    """aiosmtpd's handler: keeps what comes in, and answers the commands of `answers` as told."""

    def __init__(self, **answers: str) -> None:
        self.envelopes: list[Any] = []
        self.commands: list[str] = []
        self.refused: dict[str, str] = {}
        self._answers = answers

    def message(self) -> EmailMessage:
        """The one that came. (No property: aiosmtpd reads every attribute of its handler.)"""
        (envelope,) = self.envelopes
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        return message

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        self.commands.append("MAIL")
        if "MAIL" in self._answers:
            return self._answers["MAIL"]
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
        if "DATA" in self._answers:
            return self._answers["DATA"]
        self.envelopes.append(envelope)
        return "250 queued"

    async def handle_QUIT(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        return self._answers.get("QUIT", "221 Bye")


def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> Any:
    return imported("aiosmtpd.smtp").AuthResult(
        success=data.login == b"mailer" and data.password == TOKEN.encode(), handled=False
    )


@contextmanager
def smtp_server(mailbox: Mailbox, **options: Any) -> Iterator[int]:
    """Serve from a thread with a loop of its own; the value is the port. Everything is closed at the end."""
    smtp = imported("aiosmtpd.smtp")
    loop = asyncio.new_event_loop()
    sessions: list[Any] = []

    def session() -> Any:
        sessions.append(smtp.SMTP(mailbox, hostname="localhost", loop=loop, **options))
        return sessions[-1]

    server = loop.run_until_complete(loop.create_server(session, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(_close(server, sessions), loop).result(DEADLINE_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(DEADLINE_SECONDS)
        loop.close()


async def _close(server: asyncio.Server, sessions: Sequence[Any]) -> None:
    server.close()
    for session in sessions:
        if session.transport is not None:
            session.transport.close()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await asyncio.sleep(0)  # the transports' own callbacks


@contextmanager
def scripted_server(*lines: bytes) -> Iterator[int]:
    """Says the first line, then one more after each that it hears, then hangs up. With none it stays silent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE_SECONDS)
        done = threading.Event()
        thread = threading.Thread(target=_speak, args=(listener, lines, done))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            done.set()
            thread.join(DEADLINE_SECONDS)


def _speak(listener: socket.socket, lines: Sequence[bytes], done: threading.Event) -> None:
    connection, _ = listener.accept()
    with connection, connection.makefile("rb") as heard:
        connection.settimeout(DEADLINE_SECONDS)
        for number, line in enumerate(lines):
            if number and not heard.readline():
                return
            connection.sendall(line + b"\r\n")
        if not lines:
            done.wait(DEADLINE_SECONDS)


def free_port() -> int:
    """One where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A self-signed certificate of 127.0.0.1 and localhost: its file, and a server's context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = signed.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    trusted, both = folder / "trusted.pem", folder / "server.pem"
    trusted.write_bytes(pem)
    both.write_bytes(secret + pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return trusted, context


def send(**changes: Any) -> dict[str, Any]:
    """A mail to Ann, but for the changes."""
    result: dict[str, Any] = send_email(**{"to": "ann@example.org", "subject": "Hi", "body": "text"} | changes)
    return result


def text(part: Any) -> str:
    """Its lines end in CRLF on the wire."""
    content: str = part.get_content()
    return content.replace("\r\n", "\n")
