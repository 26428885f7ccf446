"""The search of the list of tasks."""

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID, uuid4

import pytest

from app.api.task_filters import filter_of_search
from app.core.languages import in_language
from app.errors import AdminOnly
from app.models.task import TaskPriority, TaskStatus, WaitingReason
from app.models.task_filter import FIELDS
from app.services.accounts.auth_service import Principal
from app.services.tasks.search import Search, parse, said_as, text_of
from tests.support.tables import check_rows

NOW = datetime(2030, 1, 2, 12, tzinfo=UTC)
USER = Principal(uuid4(), "anna", "user", "critical")
ADMIN = Principal(uuid4(), "chief", "admin", "critical")
SOMEONE = uuid4()


def fields(text: str) -> dict[str, object]:
    search = parse(text, USER, NOW)
    assert search.problems == []
    return search.fields


def test_a_search_is_a_filter() -> None:
    def check(text: str, meant: dict[str, object]) -> None:
        assert fields(text) == meant

    check_rows(check, [
        ("", {}),
        ("report", {"name": "report"}),
        ('name:"monthly report"', {"name": "monthly report"}),
        ('"monthly report"', {"name": "monthly report"}),
        ("nightly tag:a report", {"name": "nightly report", "tag": ["a"]}),
        ("queue:default queue:default", {"queue": "default"}),
        ("status:failed status:revoked", {"status": [TaskStatus.FAILED, TaskStatus.REVOKED]}),
        ("tag:a tag:b", {"tag": ["a", "b"]}),
        ("queue:default type:import task:app.x", {"queue": "default", "task_type": "import", "celery_task_name": "app.x"}),
        ("priority:high", {"priority": TaskPriority.HIGH}),
        ("waiting:paused", {"waiting_for": WaitingReason.PAUSED}),
        ("after:24h", {"created_after": NOW - timedelta(hours=24)}),
        ("before:2030-01-01", {"created_before": datetime(2030, 1, 1, tzinfo=UTC)}),
        ("before:2030-01-01T00:00:00.5+01:00:30.5", {"created_before": datetime(2029, 12, 31, 22, 59, 30, tzinfo=UTC)}),
        ("priority:urgent", {"priority": "critical"}),
        ("priority:2", {"priority": "normal"}),
        ("user:me", {"user_id": USER.id}),
        ("user:all", {"user_id": "all"}),
    ])  # fmt: skip


UNDERSTOOD = [
    "  ", r'name:"a \"quoted\" \\ name"', "status:failed status:failed", "type:import type:import", "priority:low", "waiting:no_worker",
    "limit:licences", f"error:{'c8' * 16}", f"schedule:{SOMEONE}", f"workflow:{SOMEONE}", f"user:{SOMEONE}", "before:7d", "after:90m",
    "after:0m", "after:2026-11-30", "after:2026-11-30T08:00", "before:2026-11-30T08:00Z", "before:2026-11-30T08:00+08:00",
    'after:"2026-11-30 08:00"', "名称 type:导入", "type:", "a:", ":", "type:a:b", "x type:y z", 'type:""', "TYPE:x", 'type:"open',
    "-x", "tag:-x", "name:x x", "2026-11-30", "type:x\ttag:y\nz",
]  # fmt: skip
MEANINGLESS = [
    "status:Failed", "state:failed", "http://x", "after:24", "after:24s", "after:999999d", "after:9999999d", "error:x",
    "workflow:1", "type:a type:b", "name:a name:b", 'status:""', f"user:{SOMEONE} user:all",
]  # fmt: skip


def test_whatever_is_written_is_understood_or_refused() -> None:
    assert [text for text in UNDERSTOOD if parse(text, ADMIN, NOW).problems] == []
    assert [text for text in MEANINGLESS if not parse(text, ADMIN, NOW).problems] == []


def test_a_word_that_means_nothing_is_told_and_left_out() -> None:
    def check(word: str) -> None:
        search = parse(f"queue:default {word}", USER, NOW)
        assert search.problems == [word]
        assert search.fields == {"queue": "default"}

    check_rows(
        check,
        [
            "status:done",
            "priority:9",
            "waiting:x",
            "after:soon",
            "before:9999-12-31T23:59:59-14:00",
            "after:0001-01-01T00:00:00+14:00",
            "user:anna",
            "colour:red",
        ],
    )


def test_the_reason_is_told_in_both_languages_without_the_word() -> None:
    reasons = {
        "colour:xyzzy": "word 2: unknown key",
        "statsu:xyzzy": "word 2: unknown key, did you mean status",
        "status:xyzzy": "word 2: status must be 'pending', 'running', 'succeeded', 'failed' or 'revoked'",
        'priority:"xyz zy"': "word 2: priority must be 'low', 'normal', 'high' or 'critical'",
        "after:xyzzy": "word 2: after must be a time such as 24h, 7d, 2026-11-30 or 2026-11-30T08:00Z",
        "error:xyzzy": "word 2: error must be 32 hexadecimal digits",
        "schedule:xyzzy": "word 2: schedule must be a UUID",
        "user:xyzzy": "word 2: user must be one that you may see: me, all, a UUID, or a name",
        "queue:xyzzy": "word 2: queue is there with another value",
    }
    for word, reason in reasons.items():
        (found,) = parse(f"queue:default {word}", USER, NOW).reasons
        assert found == reason
        assert re.findall(r"word|must|there|unknown| or ", in_language(found, "zh")) == []
    twenty = " ".join(f"tag:{number}" for number in range(20))
    assert len(parse(twenty, USER, NOW).fields["tag"]) == 20
    (found,) = parse(f"{twenty} tag:xyzzy", USER, NOW).reasons
    assert found == "word 21: tag is there 20 times already"
    assert in_language(found, "zh") == "第 21 个词：tag 已出现 20 次"
    kinds = {FIELDS[name].value_type for name in FIELDS}
    assert {str, datetime, UUID} | {kind for kind in kinds if issubclass(kind, StrEnum)} == kinds


def test_a_key_that_a_task_has_once_is_asked_for_once() -> None:
    """Whichever was meant: a bulk deed on this search is refused."""
    for text in ("queue:a queue:b", "priority:high priority:low", "name:a b"):
        assert parse(text, USER, NOW).problems == [text.split()[1]]


def test_each_chip_leads_to_the_search_without_it() -> None:
    search = parse('status:failed name:"a b" tag:x', USER, NOW)
    assert [(chip.text, chip.rest) for chip in search.chips] == [
        ("status:failed", 'name:"a b" tag:x'),
        ('name:"a b"', "status:failed tag:x"),
        ("tag:x", 'status:failed name:"a b"'),
    ]


def test_a_tab_replaces_the_status_alone() -> None:
    search = parse("status:failed tag:x", USER, NOW)
    assert search.with_value("status", "running") == "tag:x status:running"
    assert search.with_value("status", None) == "tag:x"


def test_a_value_is_added_where_a_task_can_have_several_of_its_key() -> None:
    search = parse("report tag:x queue:default", USER, NOW)
    assert search.with_value("tag", "month end") == 'report tag:x queue:default tag:"month end"'
    assert search.with_value("queue", "slow") == "report tag:x queue:slow"
    assert parse(search.with_value("tag", "month end"), USER, NOW).fields["tag"] == ["x", "month end"]


def test_users_see_their_own_tasks_and_administrators_all() -> None:
    assert filter_of_search(USER, parse("", USER, NOW)).user_id == USER.id
    assert filter_of_search(ADMIN, parse("", ADMIN, NOW)).user_id is None
    assert filter_of_search(ADMIN, parse(f"user:{SOMEONE}", ADMIN, NOW)).user_id == SOMEONE
    for whose in (SOMEONE, "all"):
        with pytest.raises(AdminOnly):
            filter_of_search(USER, parse(f"user:{whose}", USER, NOW))


def test_what_waits_is_pending() -> None:
    assert filter_of_search(USER, Search("", {"waiting_for": WaitingReason.TURN})).status == [TaskStatus.PENDING]


def test_a_search_is_bounded_and_has_no_nul() -> None:
    assert len(parse("a" * 5000, USER, NOW).text) == 500
    assert "\x00" not in parse("a\x00b", USER, NOW).text


def test_a_filter_is_a_search() -> None:
    """Which means the same again; and none where no search can say it."""
    texts = {
        "": {},
        'status:failed status:revoked tag:"a b"': {"status": ["failed", "revoked"], "tag": ["a b"]},
        'name:"monthly report" waiting:paused': {"name": "monthly report", "waiting_for": "paused"},
        "after:2030-01-01T00:00:00Z": {"created_after": "2030-01-01T00:00:00Z"},
        f"user:{SOMEONE}": {"user_id": str(SOMEONE)},
    }
    for text, wanted in texts.items():
        assert text_of(wanted) == text
        assert parse(text, ADMIN, NOW).problems == []
    assert [text_of({"name": ""}), text_of({"tag": ["x" * 99] * 9})] == [None, None]


@pytest.mark.parametrize("value", ['say "no"', "a\\b c", '"', "\\", '\\"', "a b", 'x"y'])
def test_any_text_can_be_a_value(value: str) -> None:
    search = parse(f"queue:default {said_as(value, 'tag')}", USER, NOW)
    assert (search.fields["tag"], search.problems) == ([value], [])
    assert parse(search.with_value("tag", value), USER, NOW).fields["tag"] == [value, value]


def test_administrators_name_users() -> None:
    def find(name: str) -> UUID | None:
        return SOMEONE if name == "alice" else None

    assert parse("user:alice", ADMIN, NOW, find).fields == {"user_id": SOMEONE}
    assert parse(f"user:{SOMEONE}", ADMIN, NOW, find).fields == {"user_id": SOMEONE}
    # A name that looks like an id leads to nobody else than the user of that id.
    assert parse(f"user:{SOMEONE}", ADMIN, NOW, lambda _: USER.id).fields == {"user_id": SOMEONE}
    assert parse("user:bob", ADMIN, NOW, find).problems == ["user:bob"]
    assert parse("user:alice", USER, NOW, find).problems == ["user:alice"]  # whether there is one is not told
