"""send_email against a real SMTP server on this machine: what arrives, and what is never sent."""

import inspect
import re
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from app.catalogue import find_type
from app.core.config import Settings
from app.errors import InvalidArguments
from app.launcher.ports import free_loopback_port
from app.tasks.high_priority_tasks import send_email
from app.tasks.mails import MailDeferred, MailRefused
from app.testing import TaskRun, TaskRunner
from tests.unit.tasks.claimed import claimed
from tests.unit.tasks.smtp_server import Configure, Mailbox, send, smtp_server, text

TASK_ID = "019aa8a4-9f6e-7c31-8f0e-2f1f6f3a0b11"


class TestDelivery:
    def test_the_mail_arrives_with_its_headers(self, server: Mailbox) -> None:
        result = send(reply_to="desk@example.com")
        message = server.message()
        assert (message["From"], message["To"], message["Subject"]) == ("robot@example.com", "ann@example.org", "Hi")
        assert message["Reply-To"] == "desk@example.com"
        assert text(message) == "text\n"
        assert message["Message-ID"] == result["message_id"]
        assert parsedate_to_datetime(message["Date"]).tzinfo is not None
        assert result == {"message_id": result["message_id"], "accepted": ["ann@example.org"], "refused": {}}

    def test_several_recipients_get_one_mail(self, server: Mailbox) -> None:
        result = send(to=["ann@example.org", "ben@example.org", "ann@example.org"])
        (envelope,) = server.envelopes
        assert envelope.rcpt_tos == result["accepted"] == ["ann@example.org", "ben@example.org"]
        assert server.message()["To"] == "ann@example.org, ben@example.org"

    @pytest.mark.parametrize(
        "subject", ["任务已完成", "任务「训练模型」已经成功完成，请查看结果。" * 10, "Größe 5 — «ok» 🎉"]
    )
    def test_any_language_survives_over_plain_ascii(self, server: Mailbox, subject: str) -> None:
        send(subject=subject, body="您好，\n结果在附件里。\n", html="<p>您好</p>")
        message = server.message()
        assert message["Subject"] == subject
        plain, html = message.get_body(("plain",)), message.get_body(("html",))
        assert plain is not None
        assert html is not None
        assert text(plain) == "您好，\n结果在附件里。\n"
        assert text(html) == "<p>您好</p>\n"
        assert server.envelopes[0].content.isascii()

    def test_a_line_of_a_single_dot_and_a_long_line_survive(self, server: Mailbox) -> None:
        body = "one\n.\n..\n" + "x" * 5000 + "\n"
        send(body=body)
        assert text(server.message()) == body
        assert max(len(line) for line in server.envelopes[0].content.split(b"\r\n")) < 998

    def test_a_sender_may_have_a_display_name(self, server: Mailbox, mail_to: Configure) -> None:
        mail_to(server.port, SMTP_FROM="任务服务 <robot@example.com>")
        send()
        assert server.message()["From"] == "任务服务 <robot@example.com>"
        assert server.envelopes[0].mail_from == "robot@example.com"

    def test_a_local_part_beyond_ascii_needs_a_server_with_smtputf8(self, mailbox: Mailbox, mail_to: Configure) -> None:
        with smtp_server(mailbox, enable_SMTPUTF8=True) as port:
            mail_to(port)
            assert send(to="用户@example.org")["accepted"] == ["用户@example.org"]
        assert mailbox.envelopes[0].rcpt_tos == ["用户@example.org"]

    def test_without_smtputf8_it_is_refused(self, server: Mailbox) -> None:
        with pytest.raises(MailRefused, match="internationalized"):
            send(to="用户@example.org")

    @pytest.mark.parametrize(
        "address", ["root@localhost", "root@mailhost", "ops@nas.local", "ops@db.internal", "a@例子.com"]
    )
    def test_a_private_or_international_domain_is_sent_in_ascii_and_answered_as_written(
        self, server: Mailbox, address: str
    ) -> None:
        in_ascii = address.replace("例子", "xn--fsqu00a")
        assert send(to=address)["accepted"] == [address]
        assert server.envelopes[0].rcpt_tos == [in_ascii]
        assert server.message()["To"] == in_ascii

    def test_the_default_sender_will_do(self, server: Mailbox, mail_to: Configure) -> None:
        mail_to(server.port, SMTP_FROM=Settings.model_fields["smtp_from"].default)
        send()
        assert server.envelopes[0].mail_from == "task-service@localhost"


class TestMessageId:
    def test_it_is_made_of_the_task_and_the_same_at_the_second_attempt(self, server: Mailbox) -> None:
        first, second = send(task_id=TASK_ID), send(task_id=TASK_ID)
        assert first["message_id"] == second["message_id"] == f"<{TASK_ID}@example.com>"
        ids = [re.findall(rb"(?mi)^Message-ID:\s*(\S+)\r$", envelope.content) for envelope in server.envelopes]
        assert ids == [[first["message_id"].encode()]] * 2

    def test_a_long_domain_does_not_have_it_encoded(self, server: Mailbox, mail_to: Configure) -> None:
        domain = "mail.a-rather-long-department-name.of-a-rather-long-company-name.example.com"
        mail_to(server.port, SMTP_FROM=f"robot@{domain}")
        send(task_id=TASK_ID)
        assert f"<{TASK_ID}@{domain}>".encode() in server.envelopes[0].content

    def test_without_a_record_each_mail_has_its_own(self, server: Mailbox) -> None:
        assert send()["message_id"] != send()["message_id"]

    @pytest.mark.usefixtures("server")
    def test_the_record_fills_it_and_no_client_is_asked(self) -> None:
        assert "task_id" in inspect.signature(send_email.run).parameters
        assert "task_id" not in find_type(send_email.name).parameters["properties"]


def refusal(**fields: Any) -> str:
    """What is said of a mail with them, or "sent"."""
    try:
        send(**fields)
    except ValueError as error:
        return str(error)
    return "sent"


class TestInput:
    def test_nothing_can_end_a_header(self, server: Mailbox) -> None:
        told = {
            (field, character): refusal(**{field: f"Hi{character}Bcc: eve@example.org"})
            for field in ("subject", "reply_to", "to")
            for character in ("\r\n", "\n", "\r", "\0", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029")
        }
        wanted = "{}: line breaks and other control characters"
        assert {sent: text for sent, text in told.items() if not text.startswith(wanted.format(sent[0]))} == {}
        assert server.commands == []

    @pytest.mark.parametrize(
        "word",
        [
            "=?utf-8?q?hi=0d=0aBcc:_eve=40example.org?=",
            "a =?UTF-8?B?DQpCY2M6IHg=?= b",
            "=?utf-8*en?Q?=0a?=",
            "=?utf-8?q?plain?=",
        ],
    )
    def test_nothing_encoded_can_end_a_header(self, server: Mailbox, word: str) -> None:
        """The package decodes encoded words where it writes the header, line breaks among them (CVE-2024-6923)."""
        for field in ("subject", "reply_to", "to"):
            assert refusal(**{field: word}).startswith(f"{field}: encoded words (RFC 2047) are not allowed")
        assert server.commands == []
        assert refusal(subject="id=?1 or ?=?") == "sent"

    def test_what_is_no_address_is_refused_before_anything_is_sent(self, server: Mailbox) -> None:
        none = (
            "", "nobody", "@example.org", "a@", "a b@example.org", "a@b@c.org", "Ann <ann@example.org>",
            "a@example.org, b@example.org", "a@exa mple.org", "a@-bad-.org", "<a@example.org>",
        )  # fmt: skip
        told = {address: refusal(to=["ann@example.org", address]) for address in none}
        assert {
            address: text for address, text in told.items() if not re.match(r"to: .*is not an e-mail address", text)
        } == {}
        assert server.commands == []

    @pytest.mark.parametrize(
        ("field", "value", "says"),
        [
            *((field, "\ud83d", f"^{field}: a lone surrogate") for field in ("subject", "body", "html")),
            ("reply_to", "用户@example.org", "^reply_to: "),
            ("to", [], "at least one"),
        ],
    )
    def test_what_no_mail_can_hold_is_refused(self, server: Mailbox, field: str, value: Any, says: str) -> None:
        with pytest.raises(ValueError, match=says):
            send(**{field: value})


class TestAtSubmission:
    def test_what_breaks_a_header_is_refused(self, mail_to: Configure) -> None:
        mail_to(25)
        kind = find_type(send_email.name)
        kind.check(["ann@example.org", "任务 — done", "body\n"], {"reply_to": "desk@example.com"})
        for field, sent in (
            *(
                ("subject", f"a{broken}Bcc: b@example.org")
                for broken in ("\n", "\r", "\u2028", "\x00", "=?utf-8?q?=0A?=")
            ),
            *(("reply_to", each) for each in ("a@b.example\nBcc: c@d.example", "nobody", "用户@example.org")),
        ):
            values = {"to": "ann@example.org", "subject": "s", "body": "b", field: sent}
            with pytest.raises(InvalidArguments) as caught:
                kind.check([], values)
            (error,) = caught.value.errors
            assert (error["loc"], error["type"]) == (["kwargs", field], "header_refused")
            assert sent not in error["msg"]


class TestAsTask:
    def test_progress_tells_the_stage(self, server: Mailbox) -> None:
        run = self.run()
        assert run.reports == [(10, {"stage": "connect"}), (50, {"stage": "send"})]

    def test_cancelled_before_sending_it_sends_nothing_and_hangs_up(self, server: Mailbox) -> None:
        assert self.run(cancel_after=2).status == "revoked"
        assert server.commands == []

    @pytest.mark.usefixtures("server")
    def test_it_goes_to_the_high_queue(self) -> None:
        assert find_type(send_email.name).queue == "high_priority"

    def run(self, **options: int) -> TaskRun:
        return TaskRunner(**options).run(send_email, "ann@example.org", "Hi", "text")

    @pytest.mark.parametrize(("failures", "delay"), [(0, 15), (1, 30), (2, 60)])
    def test_deferred_it_is_retried_after_growing_pauses(self, mail_to: Configure, failures: int, delay: float) -> None:
        mail_to(free_loopback_port())
        run = self.run(failures=failures)
        assert (run.outcome, type(run.exception), run.retry) == ("retried", MailDeferred, delay)

    def test_deferred_for_the_fourth_time_it_fails(self, mail_to: Configure) -> None:
        mail_to(free_loopback_port())
        run = self.run(failures=3)
        assert (run.outcome, type(run.exception)) == ("failed", MailDeferred)

    def test_refused_it_fails_at_once(self, server: Mailbox) -> None:
        server.refused = {"ann@example.org": "550 no"}
        run = self.run()
        assert (run.outcome, type(run.exception)) == ("failed", MailRefused)

    def test_without_an_address_it_fails_at_once_even_with_attempts_named(self, server: Mailbox) -> None:
        attempt = claimed(args=["no address", "Hi", "text"], max_attempts=9, max_attempts_named=True)
        assert attempt.trace(send_email) == "FAILURE"
        ((outcome, error),) = attempt.ends
        assert (outcome, type(error)) == ("failed", InvalidArguments)
        assert "to: not an e-mail address" in str(error)
