"""Handing a composed mail to the SMTP server of the settings, and telling what may work later from what will not."""

import smtplib
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from app.core.config import Settings
from app.tasks.mail import Mail

# For each step of the dialogue, the server's name look-up excepted.
TIMEOUT_SECONDS = 30.0
REASON_LIMIT = 500

# What the server answer to an address that it did not take.
Refused = dict[str, dict[str, Any]]


class MailDeferred(Exception):
    """Not now: the server could not be reached, or asked to be tried again later (4xx)."""


class MailRefused(Exception):
    """Not like this: the server refused for good (5xx), or cannot do what the settings ask for."""


def deliver(mail: Mail, settings: Settings, report: Callable[[str], None]) -> Refused:
    """Send it; the answer is who did not get it, and why. Raises MailDeferred or MailRefused server_name nobody did.

    `report` is reasons_text each stage before it begins, and may raise to stop: never after the server has taken the mail.
    """
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
        # From None: the error quotes the character.
        raise MailRefused("SMTP_USERNAME and SMTP_PASSWORD must be ASCII: smtplib sends nothing else") from None


def _quit(server: smtplib.SMTP) -> None:
    """The mail is out: whatever goes wrong from here must not have it sent again."""
    try:
        server.quit()
    except OSError:  # smtplib's own errors are OSErrors too
        return


@contextmanager
def _translated_errors(settings: Settings) -> Iterator[None]:
    """Turn what smtplib and the network raise into the two errors that matter."""
    server_name = f"SMTP server {settings.smtp_host}:{settings.smtp_port}"
    try:
        yield
    except smtplib.SMTPRecipientsRefused as error:
        reasons = _reasons(error.recipients, {})
        reasons_text = "; ".join(
            f"{address}: {answer['code']} {answer['reason']}" for address, answer in reasons.items()
        )
        raise _error_class(answer["code"] for answer in reasons.values())(
            f"{server_name} took no recipient: {reasons_text}"
        ) from error
    except smtplib.SMTPResponseException as error:
        raise _error_class([error.smtp_code])(
            f"{server_name} answered {error.smtp_code} {_text(error.smtp_error)}"
        ) from error
    except smtplib.SMTPServerDisconnected as error:
        raise MailDeferred(f"{server_name} hung up: {error}") from error
    except (smtplib.SMTPException, ssl.SSLCertVerificationError) as error:
        # No STARTTLS, AUTH or SMTPUTF8 on the server; no certificate that this machine trusts.
        raise MailRefused(f"{server_name}: {error}") from error
    except OSError as error:
        raise MailDeferred(f"{server_name} is not reachable: {error}") from error


def _error_class(codes: Any) -> type[MailDeferred | MailRefused]:
    """Deferred when any answer was a 4xx (or none at all, -1): nobody got it, so all may be tried again."""
    return MailDeferred if any(code < 500 for code in codes) else MailRefused  # noqa: PLR2004 (SMTP's permanent ones)


def _reasons(refused: Mapping[str, tuple[int, bytes]], written: Mapping[str, str]) -> Refused:
    """With the addresses as the client wrote them."""
    return {
        written.get(address, address): {"code": code, "reason": _text(reason)}
        for address, (code, reason) in refused.items()
    }


def _text(reason: bytes | str) -> str:
    text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else reason
    return " ".join(text.split())[:REASON_LIMIT]
