"""Which commands a worker follows, and which are commands at all."""

from typing import Any

import pytest
from celery.worker.control import Panel

from app.messaging.guard.commands import QUESTIONS, check_shape, follows
from app.messaging.guard.items import Malformed

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


@pytest.mark.parametrize(
    ("setting", "ping", "shutdown"), [("read", True, False), ("full", True, True), ("off", False, False)]
)
def test_the_setting_decides(setting: str, ping: bool, shutdown: bool) -> None:
    assert (follows("ping", setting), follows("shutdown", setting)) == (ping, shutdown)


def test_what_celery_sends_has_the_shape() -> None:
    check_shape(GOOD | {"reply_to": {"exchange": REPLIES, "routing_key": "x"}}, REPLIES)
    check_shape(GOOD | {"destination": None, "pattern": "worker*", "matcher": "glob"}, REPLIES)


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": 1}, {"arguments": []}, {"ticket": 1}, {"destination": "a@b"}, {"destination": [1]},
        {"pattern": "x", "matcher": "pcre"}, {"pattern": 1}, {"pattern": "x" * 1000}, {"reply_to": "x"},
        {"reply_to": {"exchange": "", "routing_key": "default"}}, {"reply_to": {"exchange": REPLIES}},
    ],
)  # fmt: skip
def test_anything_else_has_not(wrong: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        check_shape(GOOD | wrong, REPLIES)
