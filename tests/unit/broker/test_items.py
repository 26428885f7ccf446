"""Whatever bytes stand in Redis: kombu can make a message of them, or they are refused without an exception of any other kind."""

import binascii
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from kombu.transport.virtual import Message
from kombu.transport.virtual.base import Channel

from app.messaging.guard import items
from app.messaging.guard.items import MAX_ITEM_BYTES, MOST_LINES, Malformed, check_item, drop
from tests.support import hostile_items as hostile
from tests.support.properties import JSON, given, st
from tests.support.tables import check_rows

PARTS = st.sampled_from(["body", "headers", "properties", "content-type", "content-encoding"])
PROPERTIES = st.sampled_from(
    ["delivery_tag", "delivery_info", "body_encoding", "priority", "correlation_id", "reply_to"]
)


class Decoding:
    """As much of a channel as a message needs."""

    codecs = Channel.codecs
    decode_body = Channel.decode_body


def is_message(item: bytes) -> bool:
    """Whether the checks let it through; kombu then has to make a message of it, or of its base64 say why not."""
    try:
        check_item(item)
    except Malformed:
        return False
    try:
        Message(json.loads(item), channel=Decoding())
    except ValueError as error:
        assert isinstance(error, binascii.Error) or "ascii" in str(error).lower()  # noqa: PT017
    return True


def good(**changed: Any) -> dict[str, Any]:
    return hostile.envelope([[], {}, {}]) | changed


def test_what_kombu_writes_is_one() -> None:
    assert is_message(json.dumps(good()).encode())


@given(st.binary(max_size=200))
def test_any_bytes(item: bytes) -> None:
    is_message(item)


@given(JSON)
def test_any_json(value: Any) -> None:
    assert not is_message(json.dumps(value).encode())


@given(PARTS, JSON)
def test_any_part_replaced(part: str, value: Any) -> None:
    is_message(json.dumps(good(**{part: value})).encode())


@given(PROPERTIES, JSON)
def test_any_property_replaced(name: str, value: Any) -> None:
    message = good()
    message["properties"][name] = value
    is_message(json.dumps(message).encode())


def test_a_huge_one_is_not_even_parsed() -> None:
    with pytest.raises(Malformed, match="too large"):
        check_item(b" " * (MAX_ITEM_BYTES + 1))


def test_what_a_parser_stumbles_over() -> None:
    names = ["nested 100,000 deep", "a number of 5,000 digits", "invalid UTF-8", "10 MB of JSON"]
    check_rows(lambda name: not is_message(hostile.RAW[name](Path("/nowhere"))), names)


def test_a_drop_is_one_line_that_counts(caplog: pytest.LogCaptureFixture) -> None:
    from prometheus_client import generate_latest

    from app.core import metrics

    with caplog.at_level(logging.WARNING, "app.messaging.guard.items"):
        drop("queue default", "no JSON", 7)
    (line,) = caplog.messages
    assert line.startswith("dropped an item of queue default: no JSON (7 bytes); ")
    assert b'broker_items_dropped_total{reason="no JSON"}' in generate_latest(metrics._registry)


class Clock:
    now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("app.messaging.guard.items.time.monotonic", lambda: made.now)
    return made


def test_a_flood_is_a_number_of_lines_and_then_one_a_second(
    caplog: pytest.LogCaptureFixture, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items, "_lines", items.Lines(items.logger, logging.WARNING))
    for _ in range(2 * MOST_LINES):
        drop("queue x", "no JSON", 1)
    assert len(caplog.messages) == MOST_LINES
    clock.now += 1.5
    for _ in range(100):
        drop("queue x", "no JSON", 1)
    assert len(caplog.messages) == MOST_LINES + 1
    told = [int(line.rsplit("; ", 1)[1].split()[0]) for line in caplog.messages]
    assert told[-1] == told[0] + 2 * MOST_LINES
    clock.now += 10 * MOST_LINES
    for _ in range(2 * MOST_LINES):
        drop("queue x", "no JSON", 1)
    assert len(caplog.messages) == 2 * MOST_LINES + 1
