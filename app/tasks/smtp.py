"""Sends a composed mail through the SMTP server of the settings, and separates temporary from permanent errors."""

import smtplib
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from app.core.config import Settings
from app.tasks.mail import Mail

# For each step of the dialogue, except resolving the server's name.
TIMEOUT_SECONDS = 30.0
REASON_LIMIT = 500

# The server's reply for each refused address.
Refused = dict[str, dict[str, Any]]


class MailDeferred(Exception):
    """A temporary failure: the server is unreachable or asks for a later try (4xx)."""


class MailRefused(Exception):
    """A permanent failure: the server refuses the mail (5xx), or lacks what the settings require."""


def deliver(mail: Mail, settings: Settings, report: Callable[[str], None]) -> Refused:
    """Send the mail and return the refused recipients with the reasons.

    `report` is called with each stage before it begins, and may raise to stop. It is not called after the server has
    accepted the mail. Raises MailDeferred or MailRefused if the server accepted no recipient.
    """
    if settings.smtp_host is None:
        raise MailRefused("SMTP_HOST is not set: the service sends no mails")
    with _translated_errors(settings):
        report("connect")
        server = smtplib.SMTP(settings.smtp_host, settings.smtp_port, timeout=TIMEOUT_SECONDS)
        try:
            _secure(server, settings)
            report("send")
            refused = server.send_message(mail.message, mail.sender, list(mail.recipients))
            _quit(server)
        finally:
            server.close()
    return _reasons(refused, mail.recipients)


def _secure(server: smtplib.SMTP, settings: Settings) -> None:
    if settings.smtp_starttls:
        server.starttls(context=ssl.create_default_context())
    if settings.smtp_username is None:
        return
    if settings.smtp_password is None:
        raise MailRefused("SMTP_USERNAME is set without SMTP_PASSWORD")
    try:
        server.login(settings.smtp_username, settings.smtp_password.get_secret_value())
    except UnicodeEncodeError:
        # `from None`: the error quotes the character.
        raise MailRefused(
            "SMTP_USERNAME and SMTP_PASSWORD must be ASCII: smtplib cannot send other characters"
        ) from None


def _quit(server: smtplib.SMTP) -> None:
    """End the dialogue. The mail is sent, so no error here may cause a second attempt."""
    try:
        server.quit()
    except OSError:  # smtplib's errors are OSErrors too
        return


@contextmanager
def _translated_errors(settings: Settings) -> Iterator[None]:
    """Translate errors of smtplib and the network to MailDeferred and MailRefused."""
    server_name = f"SMTP server {settings.smtp_host}:{settings.smtp_port}"
    try:
        yield
    except smtplib.SMTPRecipientsRefused as error:
        reasons = _reasons(error.recipients, {})
        reasons_text = "; ".join(
            f"{address}: {answer['code']} {answer['reason']}" for address, answer in reasons.items()
        )
        raise _error_class(answer["code"] for answer in reasons.values())(
            f"{server_name} accepted no recipient: {reasons_text}"
        ) from error
    except smtplib.SMTPResponseException as error:
        raise _error_class([error.smtp_code])(
            f"{server_name} answered {error.smtp_code} {_text(error.smtp_error)}"
        ) from error
    except smtplib.SMTPServerDisconnected as error:
        raise MailDeferred(f"{server_name} closed the connection: {error}") from error
    except (smtplib.SMTPException, ssl.SSLCertVerificationError) as error:
        # The server lacks STARTTLS, AUTH or SMTPUTF8, or this machine does not trust its certificate.
        raise MailRefused(f"{server_name}: {error}") from error
    except OSError as error:
        raise MailDeferred(f"{server_name} is unreachable: {error}") from error


def _error_class(codes: Any) -> type[MailDeferred | MailRefused]:
    """Return MailDeferred if any code is 4xx or missing (-1). No recipient got the mail, so all may be tried again."""
    return MailDeferred if any(code < 500 for code in codes) else MailRefused  # noqa: PLR2004 (permanent codes start at 500)


def _reasons(refused: Mapping[str, tuple[int, bytes]], written: Mapping[str, str]) -> Refused:
    """Return code and reason by address, in the form that the client wrote."""
    return {
        written.get(address, address): {"code": code, "reason": _text(reason)}
        for address, (code, reason) in refused.items()
    }


def _text(reason: bytes | str) -> str:
    text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else reason
    return " ".join(text.split())[:REASON_LIMIT]
