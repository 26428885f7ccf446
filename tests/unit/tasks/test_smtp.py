"""What a real SMTP server, or the network, may answer to send_email; STARTTLS and login."""

import base64
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.launcher.ports import free_loopback_port
from app.tasks import mails
from app.tasks.mails import MailDeferred, MailRefused
from tests.support.tls import Authority
from tests.support.tools import imported
from tests.unit.tasks.smtp_server import Configure, Mailbox, scripted_server, send, smtp_server

TOKEN = "an-smtp-password"


def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> Any:
    return imported("aiosmtpd.smtp").AuthResult(
        success=data.login == b"mailer" and data.password == TOKEN.encode(), handled=False
    )


class TestRefusals:
    def test_a_refused_recipient_is_told_while_the_others_get_it(self, server: Mailbox) -> None:
        server.refused = {"ben@example.org": "550 5.1.1 no such user"}
        result = send(to=["ann@example.org", "ben@example.org"])
        assert result["accepted"] == ["ann@example.org"]
        assert result["refused"] == {"ben@example.org": {"code": 550, "reason": "5.1.1 no such user"}}
        assert server.envelopes[0].rcpt_tos == ["ann@example.org"]

    def test_a_refused_recipient_is_named_as_the_client_wrote_it(self, server: Mailbox) -> None:
        server.refused = {"ann@xn--fsqu00a.com": "550 no"}
        result = send(to=["ann@例子.com", "ben@example.org"])
        assert list(result["refused"]) == ["ann@例子.com"]
        assert result["accepted"] == ["ben@example.org"]

    @pytest.mark.parametrize(
        ("answers", "error"),
        [
            (["550 no", "551 no"], MailRefused),
            (["450 later", "451 later"], MailDeferred),
            (["550 no", "450 later"], MailDeferred),
        ],
    )
    def test_refused_by_all_fails_for_good_unless_one_said_later(
        self, server: Mailbox, answers: list[str], error: type[Exception]
    ) -> None:
        addresses = ["ann@example.org", "ben@example.org"]
        server.refused = dict(zip(addresses, answers, strict=True))
        with pytest.raises(error, match=f"ann@example.org: {answers[0]}; ben@example.org: {answers[1]}"):
            send(to=addresses)

    @pytest.mark.parametrize("command", ["MAIL", "DATA"])
    @pytest.mark.parametrize(("answer", "error"), [("451 busy", MailDeferred), ("554 spam", MailRefused)])
    def test_the_answer_to_sender_and_message_decides(
        self, server: Mailbox, command: str, answer: str, error: type[Exception]
    ) -> None:
        server.answers = {command: answer}
        with pytest.raises(error, match=f"127.0.0.1:{server.port} answered {answer}"):
            send()

    @pytest.mark.parametrize("answer", ["421 shutting down", "500 what"])
    def test_an_odd_goodbye_does_not_undo_the_sending(self, server: Mailbox, answer: str) -> None:
        server.answers = {"QUIT": answer}
        assert send()["accepted"] == ["ann@example.org"]
        assert len(server.envelopes) == 1


class TestNetwork:
    @pytest.mark.parametrize("host", ["127.0.0.1", "mail.invalid"])
    def test_a_server_that_is_unreachable_is_tried_later(self, mail_to: Configure, host: str) -> None:
        port = free_loopback_port()
        mail_to(port, SMTP_HOST=host)
        with pytest.raises(MailDeferred, match=f"{host}:{port} is unreachable"):
            send()

    @pytest.mark.parametrize(
        ("greeting", "error", "says"),
        [
            (b"220 hello", MailDeferred, "closed the connection"),
            (b"421 busy", MailDeferred, "421 busy"),
            (b"554 go away", MailRefused, "554 go away"),
        ],
    )
    def test_a_server_greets_and_hangs_up(
        self, mail_to: Configure, greeting: bytes, error: type[Exception], says: str
    ) -> None:
        with scripted_server(greeting) as port:
            mail_to(port)
            with pytest.raises(error, match=says):
                send()

    def test_a_server_that_hangs_up_after_it_took_the_mail_has_it(self, mail_to: Configure) -> None:
        ehlo, mail, rcpt, data, text = b"250 me", b"250 ok", b"250 ok", b"354 go", b"250 queued"
        # The script takes the message, one small segment, for a line; after its answer to it, it hangs up.
        with scripted_server(b"220 hello", ehlo, mail, rcpt, data, text) as port:
            mail_to(port)
            assert send()["accepted"] == ["ann@example.org"]

    def test_a_silent_server_is_tried_later(self, mail_to: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(mails, "SMTP_TIMEOUT_SECONDS", 0.1)
        with scripted_server() as port:
            mail_to(port)
            with pytest.raises(MailDeferred, match="timed out"):
                send()


class TestSecurity:
    @pytest.fixture
    def secured(
        self, mailbox: Mailbox, mail_to: Configure, authority: Authority, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[Callable[..., None]]:
        """A server that wants STARTTLS and a login; its certificate is trusted unless told otherwise."""
        options = {"tls_context": authority.server(), "require_starttls": True, "auth_required": True}
        with smtp_server(mailbox, authenticator=authenticate, **options) as port:

            def configure(*, trust: bool = True, **more: str) -> None:
                monkeypatch.setenv("SSL_CERT_FILE", str(authority.file) if trust else "/none.pem")
                login = {"SMTP_STARTTLS": "true", "SMTP_USERNAME": "mailer", "SMTP_PASSWORD": TOKEN}
                mail_to(port, **login | more)

            yield configure

    def test_a_wrong_password_fails_for_good_and_is_shown_nowhere(
        self, secured: Callable[..., None], mailbox: Mailbox
    ) -> None:
        wrong = "a-wrong-one"
        secured(SMTP_PASSWORD=wrong)
        with pytest.raises(MailRefused, match="answered 535") as caught:
            send()
        told = "".join(map(str, [caught.value, caught.value.__cause__]))
        assert wrong not in told
        assert base64.b64encode(f"\0mailer\0{wrong}".encode()).decode() not in told

    def test_a_server_with_an_untrusted_certificate_gets_neither_password_nor_mail(
        self, secured: Callable[..., None], mailbox: Mailbox
    ) -> None:
        secured(trust=False)
        with pytest.raises(MailRefused, match="certificate verify failed"):
            send()
        assert mailbox.commands == []

    def test_a_certificate_of_another_name_is_not_trusted(self, secured: Callable[..., None]) -> None:
        secured(SMTP_HOST="127.0.0.2")
        with pytest.raises((MailRefused, MailDeferred)):
            send()

    @pytest.mark.parametrize(
        ("variables", "says"),
        [
            ({"SMTP_STARTTLS": "true"}, "STARTTLS"),
            ({"SMTP_USERNAME": "mailer", "SMTP_PASSWORD": TOKEN}, "AUTH"),
            ({"SMTP_USERNAME": "mailer"}, "SMTP_USERNAME is set without SMTP_PASSWORD"),
        ],
    )
    def test_a_setting_that_the_server_or_another_setting_lacks_is_refused_before_the_mail(
        self, server: Mailbox, mail_to: Configure, variables: dict[str, str], says: str
    ) -> None:
        mail_to(server.port, **variables)
        with pytest.raises(MailRefused, match=says):
            send()
        assert server.commands == []

    def test_login_without_tls_where_the_server_takes_it(self, mailbox: Mailbox, mail_to: Configure) -> None:
        with smtp_server(mailbox, authenticator=authenticate, auth_require_tls=False) as port:
            mail_to(port, SMTP_USERNAME="mailer", SMTP_PASSWORD=TOKEN)
            assert send()["accepted"] == ["ann@example.org"]

    def test_a_password_outside_ascii_is_refused_without_quoting_it(self, secured: Callable[..., None]) -> None:
        secured(SMTP_PASSWORD="pässword")
        with pytest.raises(MailRefused, match="must be ASCII") as caught:
            send()
        assert "xe4" not in str(caught.value)
        assert caught.value.__cause__ is None

    def test_after_starttls_and_login_neither_text_nor_addresses_nor_password_are_logged(
        self, secured: Callable[..., None], mailbox: Mailbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        secured()
        with caplog.at_level(logging.DEBUG, logger="app"):
            sent = send(subject="a-secret-subject", body="a-secret-body", html="a-secret-html")
        assert (sent["accepted"], len(mailbox.envelopes)) == (["ann@example.org"], 1)
        own = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("app"))
        assert "accepted for 1 of 1 recipients" in own
        assert not re.search(f"a-secret|ann@|{TOKEN}", own)
