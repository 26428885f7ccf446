"""What a signature covers, whose keys it accepts, and that it survives the wire."""

import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from celery import signals
from kombu.message import Message
from kombu.utils.json import dumps, loads

from app.celery_app import celery_app
from app.core.config import Settings, get_settings
from app.messaging.guard import messages
from app.messaging.guard.messages import SIGNATURE_HEADER, Unsigned, check_command_signature, sign_command
from tests.support.properties import JSON, HealthCheck, given, settings as property_settings, st
from tests.support.services import SECRET_KEY
from tests.support.settings import settings
from tests.support.tables import check_rows

HEADERS: dict[str, Any] = {
    "lang": "py", "task": "tests.echo", "id": "an id", "root_id": "an id", "parent_id": None, "retries": 0,
    "timelimit": [None, 2.5], "eta": None, "group": None,
}  # fmt: skip
BODY: Any = ([1, "x"], {"y": 2}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None})


@pytest.fixture(autouse=True)
def secret() -> Iterator[None]:
    with settings({"SECRET_KEY": SECRET_KEY, "SIGN_MESSAGES": "true"}):
        yield


def keys() -> tuple[bytes, ...]:
    return get_settings().message_keys


def signed(headers: dict[str, Any] = HEADERS, body: Any = BODY, reply_to: str = "") -> Message:
    """As it arrives."""
    sent, properties = dict(headers), {"reply_to": reply_to}
    messages.sign_task(sent, body, properties, keys()[0])
    return Message(dumps(body), headers=loads(dumps(sent)), properties=properties, postencode="utf-8")


def is_signed(message: Message) -> bool:
    try:
        messages.check_task_signature(message, keys())
    except Unsigned:
        return False
    return True


@pytest.fixture
def message() -> Message:
    return signed()


class TestTasks:
    @given(st.lists(JSON, max_size=3), st.dictionaries(st.text(max_size=5), JSON, max_size=3))
    @property_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_whatever_the_arguments(self, args: list[Any], kwargs: dict[str, Any]) -> None:
        assert is_signed(signed(body=(args, kwargs, None)))

    def test_arguments_that_only_kombu_can_write(self) -> None:
        assert is_signed(signed(body=([uuid4(), Decimal("1.50"), b"\xff"], {}, None)))

    def test_no_header_may_change(self) -> None:
        def check(name: str, value: Any) -> None:
            message = signed()
            message.headers[name] = value
            assert not is_signed(message)

        check_rows(check, [
            ("task", "tests.other"), ("id", "another id"), ("timelimit", [None, 0.1]), ("eta", "2100-01-01T00:00:00"),
            ("retries", 5), ("group", "a group"), ("parent_id", "x"), ("expires", "2020-01-01T00:00:00"),
            ("ignore_result", True), ("root_id", "x"), ("shadow", "x"), ("lang", "c"), ("argsrepr", "x"),
            ("replaced_task_nesting", 1), ("stamps", {"x": 1}), ("origin", "x"),
        ])  # fmt: skip

    def test_no_body_may_change(self) -> None:
        def check(args: Any, kwargs: Any, embedded: Any) -> None:
            message = signed()
            message.body = dumps((args, kwargs, embedded)).encode()
            assert not is_signed(message)

        check_rows(check, [
            ([1, "z"], *BODY[1:]), (BODY[0], {"y": 3}, BODY[2]), (BODY[0], BODY[1], None),
            (*BODY[:2], BODY[2] | {"callbacks": [{"task": "tests.other"}]}), (*BODY[:2], BODY[2] | {"chain": [{"task": "x"}]}),
        ])  # fmt: skip

    def test_the_result_goes_nowhere_else(self, message: Message) -> None:
        message.properties["reply_to"] = "another queue"
        assert not is_signed(message)

    def test_headers_that_others_add_on_the_way_do_not_matter(self, message: Message) -> None:
        assert is_signed(message)
        message.headers.update(redelivered=True, traceparent="00-…")
        assert is_signed(message)

    def test_anything_else_is_no_signature(self) -> None:
        def check(signature: Any) -> None:
            message = signed()
            message.headers[SIGNATURE_HEADER] = signature
            assert not is_signed(message)

        check_rows(check, [None, "", 1, [], {}, "0" * 64, "\ud800", "é"])

    def test_a_command_is_no_task(self, message: Message) -> None:
        message.headers[SIGNATURE_HEADER] = sign_command("ping", {}, {}, keys()[0])["signature"]["mac"]
        assert not is_signed(message)


class TestKeys:
    def test_another_secret_signs_nothing_here(self) -> None:
        message = signed()
        with settings({"SECRET_KEY": SECRET_KEY[::-1]}):
            assert not is_signed(message)

    def test_an_earlier_one_is_accepted_and_not_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        message = signed()
        earlier = keys()
        with settings({"SECRET_KEY": SECRET_KEY[::-1]}):
            monkeypatch.setitem(get_settings().__dict__, "message_keys", (*keys(), *earlier))
            assert is_signed(message)
            assert signed().headers[SIGNATURE_HEADER] != message.headers[SIGNATURE_HEADER]

    def test_it_is_not_the_one_of_the_tokens(self) -> None:
        assert get_settings().signing_key.encode() not in keys()

    def test_signing_needs_one_that_all_processes_share(self) -> None:
        with pytest.raises(ValueError, match="SIGN_MESSAGES=true needs SECRET_KEY"):
            Settings(sign_messages=True, secret_key=None)


ADDRESSED: dict[str, Any] = {"destination": ["worker@x"], "answered_to": "me"}


class TestCommands:
    def test_what_the_service_signs_is_accepted_and_its_signature_taken_out(self) -> None:
        arguments = loads(dumps(sign_command("query_task", {"ids": ["x"]}, ADDRESSED, keys()[0])))
        check_command_signature("query_task", arguments, ADDRESSED, keys())
        assert arguments == {"ids": ["x"]}

    def test_nothing_of_it_may_change(self) -> None:
        def check(method: str, arguments: dict[str, Any], addressed: dict[str, Any]) -> None:
            signature = sign_command("ping", {"a": 1}, ADDRESSED, keys()[0])["signature"]
            with pytest.raises(Unsigned):
                check_command_signature(method, arguments | {"signature": signature}, addressed, keys())

        check_rows(check, [
            ("shutdown", {"a": 1}, ADDRESSED),
            ("ping", {"a": 2}, ADDRESSED),
            ("ping", {"a": 1}, {**ADDRESSED, "answered_to": "him"}),
        ])  # fmt: skip

    def test_an_old_one_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        arguments = sign_command("ping", {}, {}, keys()[0])
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + messages.COMMAND_SECONDS + 1)
        with pytest.raises(Unsigned, match="too long ago"):
            check_command_signature("ping", arguments, {}, keys())

    def test_anything_else_is_no_signature(self) -> None:
        def check(signature: Any) -> None:
            with pytest.raises(Unsigned):
                check_command_signature("ping", {"signature": signature}, {}, keys())

        check_rows(check, [None, 1, "x", {}, {"at": "x"}, {"at": 1.0}, {"at": float("nan"), "mac": "x"}])


@pytest.mark.parametrize("on", [True, False])
def test_what_is_published_is_signed_where_that_is_asked_for(on: bool) -> None:
    caught: list[dict[str, Any]] = []

    def catch(headers: dict[str, Any], **_: Any) -> None:
        caught.append(headers)

    signals.after_task_publish.connect(catch)
    with settings({"SIGN_MESSAGES": str(on), "CELERY_BROKER_URL": "memory://"}):
        celery_app.send_task("tests.echo")
    assert [SIGNATURE_HEADER in headers for headers in caught] == [on]
