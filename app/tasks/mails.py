"""E-mails: composed of what a client gave, and sent through the SMTP server of the settings.

Addresses are checked, header injection is refused, and everything is encoded as ASCII lines. Errors of the server are
temporary or permanent.
"""

import re
import smtplib
import ssl
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import make_msgid, parseaddr
from typing import Any, NamedTuple

from email_validator import EmailNotValidError, validate_email

from app.core.config import Settings
from app.core.host_rules import HostRules
from app.tasks.files import InputFile

# 7-bit: base64 or quoted-printable, because not every server accepts 8-bit lines.
POLICY = SMTP.clone(cte_type="7bit")
# What the package takes for an encoded word of RFC 2047, and decodes, also within a text.
ENCODED_WORD = re.compile(r"=\?[^?]*\?[qQbB]\?")
LINE_BREAKING = frozenset({"Cc", "Zl", "Zp"})

# email-validator always refuses these domains. With a public suffix it checks only their form.
PRIVATE = ("localhost", ".local", ".test")
PUBLIC = ".example.com"


@dataclass(frozen=True)
class Mail:
    """A composed message and its envelope.

    `recipients` maps each address on the wire to the address that the client wrote.
    """

    message: EmailMessage
    message_id: str
    sender: str
    recipients: dict[str, str]


def recipient_refusal(address: str, domains: Sequence[str]) -> str | None:
    """Return why a mail may not go to this address, None if it may. `domains` as in MAIL_DOMAINS.

    The reason repeats nothing of the address.
    """
    try:
        domain = _checked(address, "to").domain
    except ValueError:
        return "not an e-mail address"
    if "*" not in domains and not HostRules(names=frozenset(domains)).contains_name(domain):
        return "the domain is not among those to which the operator allows mails (MAIL_DOMAINS)"
    return None


def header_refusal(text: str) -> str | None:
    """Return why a text may not stand in a header, None if it may: it could end it and begin another one.

    Also where it is encoded: the package decodes it. The reason repeats nothing of the text.
    """
    if ENCODED_WORD.search(text):
        return "encoded words (RFC 2047) are not allowed: send the text itself"
    if any(unicodedata.category(character) in LINE_BREAKING for character in text):
        return "line breaks and other control characters are not allowed"
    return None


def address_refusal(address: str) -> str | None:
    """Return why a header may not name this address, None if it may."""
    try:
        _ascii(_checked(address, "reply_to"), "reply_to")
    except ValueError:
        return header_refusal(address) or "not an e-mail address"
    return None


class Attachment(NamedTuple):
    """A file that goes with a mail."""

    name: str
    content_type: str
    content: bytes


def read_attachments(files: Sequence[InputFile], most_bytes: int) -> list[Attachment]:
    """Return the contents of these files. Raises ValueError where they are larger together than `most_bytes`."""
    size = sum(file.size for file in files)
    if size > most_bytes:
        raise ValueError(f"attachments have {size} bytes together, MAIL_ATTACHMENT_BYTES allows {most_bytes}")
    return [Attachment(file.name, file.content_type, file.open().read()) for file in files]


@dataclass(frozen=True)
class Draft:
    """The unchecked input of the client and the settings."""

    sender: str
    to: Sequence[str]
    subject: str
    body: str
    html: str | None = None
    reply_to: str | None = None
    attachments: Sequence[Attachment] = ()


def compose(draft: Draft, identity: str | None) -> Mail:
    """Compose a mail. Raises ValueError for an invalid address, a line break in a header, or text that is not Unicode.

    The same `identity` gives the same Message-ID, so that a second attempt is recognisable as the same mail.
    """
    display_name, address = parseaddr(_one_line(draft.sender, "SMTP_FROM"))
    sender = _checked(address or draft.sender, "SMTP_FROM")
    recipients = {_checked(address, "to"): address for address in draft.to}
    if not recipients:
        raise ValueError("to: at least one address is needed")
    message = EmailMessage(policy=POLICY)
    message["Subject"] = _one_line(draft.subject, "subject")
    message["From"] = sender.header(display_name)
    message["To"] = [recipient.header() for recipient in recipients]
    if draft.reply_to is not None:
        message["Reply-To"] = _ascii(_checked(draft.reply_to, "reply_to"), "reply_to").header()
    message["Date"] = datetime.now(UTC)
    message_id = make_msgid(domain=sender.domain) if identity is None else f"<{identity}@{sender.domain}>"
    message["Message-ID"] = message_id
    _set_text(message, draft)
    return Mail(message, message_id, str(sender), {str(wire): written for wire, written in recipients.items()})


def _set_text(message: EmailMessage, draft: Draft) -> None:
    message.set_content(_unicode(draft.body, "body"))
    if draft.html is not None:
        message.add_alternative(_unicode(draft.html, "html"), subtype="html")
    for each in draft.attachments:
        kind = each.content_type.partition(";")[0].strip()
        main, _, sub = kind.partition("/")
        if main in {"message", "multipart"}:  # these have parts of their own
            main, sub = "application", "octet-stream"
        message.add_attachment(each.content, maintype=main, subtype=sub, filename=_one_line(each.name, "attachment"))


@dataclass(frozen=True)
class _Address:
    """An address on the wire, with its domain in ASCII. A local part outside ASCII requires a server with SMTPUTF8."""

    local: str
    domain: str

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}"

    def header(self, display_name: str = "") -> Address:
        return Address(display_name, self.local, self.domain)


def _checked(address: str, name: str) -> _Address:
    """Check the form of an address only: a relay may deliver to private domains, such as `root@localhost`."""
    _one_line(address, name)
    domain = address.rpartition("@")[2].lower()
    suffix = PUBLIC if domain.endswith(PRIVATE) else ""
    try:
        valid = validate_email(address + suffix, check_deliverability=False, globally_deliverable=False)
    except EmailNotValidError as error:
        raise ValueError(f"{name}: {address!r} is not an e-mail address: {error}") from None
    return _Address(valid.local_part, valid.ascii_domain.removesuffix(suffix))


def _ascii(address: _Address, name: str) -> _Address:
    if not address.local.isascii():
        raise ValueError(f"{name}: {address.local!r} has characters outside ASCII before the @")
    return address


def _one_line(text: str, name: str) -> str:
    reason = header_refusal(text)
    if reason is not None:
        raise ValueError(f"{name}: {reason}")
    return _unicode(text, name)


def _unicode(text: str, name: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name}: a lone surrogate is not a valid character") from None
    return text


# -- Sends a composed mail through the SMTP server of the settings, and separates temporary from permanent errors ------

# For each step of the dialogue, except resolving the server's name.
SMTP_TIMEOUT_SECONDS = 30.0
REASON_LIMIT = 500

# The server's reply for each refused address.
RefusedRecipients = dict[str, dict[str, Any]]


class MailDeferred(Exception):
    """A temporary failure: the server is unreachable or asks for a later try (4xx)."""


class MailRefused(Exception):
    """A permanent failure: the server refuses the mail (5xx), or lacks what the settings require."""


def deliver(mail: Mail, settings: Settings, report: Callable[[str], None]) -> RefusedRecipients:
    """Send the mail and return the refused recipients with the reasons.

    `report` is called with each stage before it begins, and may raise to stop. It is not called after the server has
    accepted the mail. Raises MailDeferred or MailRefused if the server accepted no recipient.
    """
    if settings.smtp_host is None:
        raise MailRefused("SMTP_HOST is not set: the service sends no mails")
    with _translated_errors(settings):
        report("connect")
        server = smtplib.SMTP(settings.smtp_host, settings.smtp_port, timeout=SMTP_TIMEOUT_SECONDS)
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
            f"{server_name} answered {error.smtp_code} {_reply_text(error.smtp_error)}"
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


def _reasons(refused: Mapping[str, tuple[int, bytes]], written: Mapping[str, str]) -> RefusedRecipients:
    """Return code and reason by address, in the form that the client wrote."""
    return {
        written.get(address, address): {"code": code, "reason": _reply_text(reason)}
        for address, (code, reason) in refused.items()
    }


def _reply_text(reason: bytes | str) -> str:
    text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else reason
    return " ".join(text.split())[:REASON_LIMIT]
