"""Which commands a worker follows, and which are commands at all."""

from typing import Any

import pytest
from celery.worker import state
from celery.worker.control import Panel

from app.messaging.guard.commands import MAX_STAMPS, QUESTIONS, Mailbox, check_shape, follows
from app.messaging.guard.items import Malformed
from tests.support.settings import settings
from tests.support.tables import check_rows

CHANGING = {
    "shutdown", "pool_grow", "pool_shrink", "pool_restart", "autoscale", "add_consumer", "cancel_consumer", "revoke",
    "revoke_by_stamped_headers", "terminate", "rate_limit", "time_limit", "election",
}  # fmt: skip
TELLING_TOO_MUCH = {"conf", "report", "memdump", "memsample", "objgraph", "hello"}
GOOD: dict[str, Any] = {"method": "ping", "arguments": {}, "destination": ["a@b"], "ticket": "x"}
REPLIES = "reply.celery.pidbox"


def test_every_command_of_celery_was_thought_about() -> None:
    names = {name for name, meta in Panel.meta.items() if name in Panel.data}  # without their old names, dump_…
    assert names == QUESTIONS | CHANGING | TELLING_TOO_MUCH


def test_the_setting_decides() -> None:
    found = {setting: (follows("ping", setting), follows("shutdown", setting)) for setting in ("read", "full", "off")}
    assert found == {"read": (True, False), "full": (True, True), "off": (False, False)}


def test_what_celery_sends_has_the_shape() -> None:
    check_shape(GOOD | {"reply_to": {"exchange": REPLIES, "routing_key": "x"}}, REPLIES)
    check_shape(GOOD | {"destination": None, "pattern": "worker*", "matcher": "glob"}, REPLIES)


def test_anything_else_has_not() -> None:
    def check(wrong: dict[str, Any]) -> None:
        with pytest.raises(Malformed):
            check_shape(GOOD | wrong, REPLIES)

    check_rows(check, [
        {"method": 1}, {"arguments": []}, {"ticket": 1}, {"destination": "a@b"}, {"destination": [1]},
        {"pattern": "x", "matcher": "pcre"}, {"pattern": 1}, {"pattern": "x" * 1000}, {"reply_to": "x"},
        {"ticket": "x" * 1000}, {"arguments": {"x": 10**4299}}, {"arguments": {"x": ["x" * 1000]}},
        {"arguments": {"x": [[[[[[1]]]]]]}}, {"arguments": {"x": float("inf")}}, {"arguments": {"x" * 1000: 1}},
        {"reply_to": {"exchange": "", "routing_key": "default"}}, {"reply_to": {"exchange": REPLIES}},
    ])  # fmt: skip


def test_no_clock_of_others_is_followed() -> None:
    clock = Mailbox("celery").clock
    assert (clock.adjust(10**4300 - 1), clock.adjust(5), clock.forward()) == (1, 2, 3)


def test_what_a_command_raises_is_answered_in_few_words() -> None:
    def fail(_: Any) -> None:
        raise ValueError("x" * 10_000)

    with settings({"REMOTE_CONTROL": "full"}):
        node = Mailbox("celery").Node("a@b", handlers={"shutdown": fail})
        assert len(node.handle("shutdown")["error"]) < 300


def test_stamps_that_are_revoked_do_not_grow_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery keeps those of `revoke_by_stamped_headers` until the worker ends."""
    kept: dict[str, list[str]] = {}
    monkeypatch.setattr(state, "revoked_stamps", kept)
    add = kept.__setitem__
    with settings({"REMOTE_CONTROL": "full"}):
        handlers = {"revoke_by_stamped_headers": lambda _, header, number: add(header, ["x"] * number)}
        node = Mailbox("celery").Node("a@b", handlers=handlers)
        for header in ("first", "second", "third"):
            node.handle("revoke_by_stamped_headers", {"header": header, "number": MAX_STAMPS})
    assert [*kept] == ["third"]
