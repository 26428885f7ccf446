"""What passes the checks of a task message, Celery can make a request of; what Celery itself sends passes."""

from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from celery import chain, group, signals
from celery.worker.request import Request
from kombu.message import Message
from kombu.utils.json import dumps, loads

import app.tasks  # noqa: F401 (registers the tasks)
from app.celery_app import celery_app
from app.messaging.guard import messages
from app.messaging.guard.items import Malformed
from app.messaging.guard.messages import BUILT_INS, BUILT_INS_WITH_RESULTS, MAX_DEPTH, WAKEUP, check_message, moment_of
from tests.support.properties import JSON, given, st
from tests.support.running import fresh_connections
from tests.support.tables import check_rows

NAME = "app.tasks.common_tasks.long_running_task"
KNOWN = {NAME, *BUILT_INS, *BUILT_INS_WITH_RESULTS, "celery.group"}


def message(headers: dict[str, Any], body: Any) -> Message:
    raw = body if isinstance(body, bytes) else dumps(body).encode()
    json = "application/json"
    return Message(raw, content_type=json, content_encoding="utf-8", headers=headers, accept={json})


def check(headers: dict[str, Any], body: Any = ([], {}, None), with_results: bool = False) -> bool:
    try:
        check_message(message({"task": NAME, "id": "x"} | headers, body), KNOWN, with_results=with_results)
    except Malformed:
        return False
    return True


@pytest.fixture
def sent() -> Iterator[list[Message]]:
    """What is published in the test, as a worker reads it."""
    caught: list[Message] = []

    def catch(headers: dict[str, Any], body: Any, **_: Any) -> None:
        caught.append(message(loads(dumps(headers)), body))

    signals.before_task_publish.connect(catch)
    before = celery_app.conf.broker_url
    celery_app.conf.broker_url = "memory://"
    with fresh_connections():
        yield caught
    celery_app.conf.broker_url = before
    signals.before_task_publish.disconnect(catch)


@given(st.sampled_from([*messages.HEADERS, *messages.RESERVED, "anything"]), JSON)
def test_what_passes_makes_a_request(name: str, value: Any) -> None:
    headers = loads(dumps({"task": NAME, "id": "x", name: value}))
    if check(headers):
        request = Request(message(headers, ([], {}, None)), app=celery_app, task=celery_app.tasks[NAME])
        assert "\n" not in request.humaninfo()


def test_a_time_passes_where_celery_can_read_it() -> None:
    for name in ("eta", "expires"):
        assert [check({name: value}) for value in ("", "0", "¡", "9999-99-99")] == [False] * 4, name
        assert check({name: "2100-01-01T00:00:00+00:00"}), name


@given(JSON)
def test_any_body(body: Any) -> None:
    assert not check({}, body) or len(body) == 3


def test_what_celery_sends_passes(sent: list[Message]) -> None:
    task = celery_app.tasks[NAME]
    task.delay(1, note=[{"id": uuid4()}])
    task.apply_async(
        (1,), countdown=5, expires=60, time_limit=9, soft_time_limit=2.5, shadow="other", headers={"mine": [1]}
    )
    chain(task.s(1), task.si(2)).apply_async(link=task.s(), link_error=task.s())
    group(task.s(1), task.s(2)).apply_async()
    task.map([1, 2]).apply_async()
    task.starmap([(1,), (2,)]).apply_async()
    task.chunks([(1,), (2,)], 1).group().apply_async()
    assert len(sent) == 9
    for each in sent:
        check_message(each, celery_app.tasks, with_results=True)


def test_what_the_service_sends_passes(sent: list[Message]) -> None:
    celery_app.send_task(WAKEUP, argsrepr="", kwargsrepr="")
    check_message(sent[0], KNOWN | {WAKEUP}, with_results=False)


def test_a_wakeup_says_nothing_but_its_name() -> None:
    def says_more(headers: dict[str, Any], body: Any) -> None:
        for name, passes in ((WAKEUP, False), (NAME, True)):
            said = message({"task": name, "id": "x", **headers}, body)
            with nullcontext() if passes else pytest.raises(Malformed, match="wake-up"):
                check_message(said, {NAME, WAKEUP}, with_results=False)

    nothing: Any = ([], {}, None)
    check_rows(says_more, [
        ({"timelimit": [0.1, None]}, nothing), ({"timelimit": [None, 0.1]}, nothing),
        ({"eta": "2100-01-01T00:00:00"}, nothing), ({"expires": "2000-01-01T00:00:00"}, nothing),
        ({}, ([1], {}, None)), ({}, ([], {"a": 1}, None)), ({}, ([], {}, {"chain": [{"task": NAME}]})),
    ])  # fmt: skip


def test_what_follows_the_arguments_is_of_celery() -> None:
    assert [embed for embed in (1, [], {"other": None}) if check({}, ([], {}, embed))] == []


def test_no_message_names_a_record() -> None:
    assert not check({"task_record": str(uuid4())})
    assert not check({"task_generation": 1})


def test_celerys_own_tasks_only_where_something_sends_them() -> None:
    assert check({"task": "celery.map"})
    assert not check({"task": "celery.chord_unlock"})
    assert check({"task": "celery.chord_unlock"}, with_results=True)
    assert not check({"task": "celery.group"}, with_results=True)
    registered = {name for name in celery_app.tasks if name.startswith("celery.")}
    assert registered - BUILT_INS - BUILT_INS_WITH_RESULTS == {"celery.group", "celery.chain", "celery.chord"}
    assert messages.is_wanted(NAME, with_results=False)


def test_depth() -> None:
    for depth, passes in ((MAX_DEPTH - 3, True), (MAX_DEPTH, False), (900, False)):
        lists = "[" * depth + "]" * depth
        objects = '{"x": ' * (depth - 1) + "{}" + "}" * (depth - 1)
        assert check({}, f"[{lists}, {{}}, null]".encode()) is passes, depth
        assert check({}, f"[[], {objects}, null]".encode()) is passes, depth


def test_many_brackets_are_not_depth() -> None:
    assert check({}, ([[[1], {"a": 2}] * 1000], {}, None))


def test_a_time_without_a_zone_is_utc() -> None:
    texts = ("2099-01-01T00:00:00", "2099-01-01T00:00:00Z", "2099-01-01T02:00:00+02:00")
    assert {moment_of(text) for text in texts} == {datetime(2099, 1, 1, tzinfo=UTC).timestamp()}


def test_a_time_that_no_clock_can_show_is_none() -> None:
    def is_none(text: str) -> None:
        assert not check({"eta": text})
        assert not check({"expires": text})
        with pytest.raises((ValueError, OverflowError)):
            moment_of(text)

    check_rows(is_none, ["", "x", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1969-01-01"])
