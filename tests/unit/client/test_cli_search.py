"""The search of the command line means what the search of the pages means."""

from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.models.task_filter import FIELDS
from app.services.accounts.auth_service import Principal
from app.services.tasks.search import KEYS as KEYS_OF_PAGES, parse
from task_service_client.cli.exits import Refused
from task_service_client.cli.search import KEYS, PRIORITIES, REASONS, STATUSES, parsed

CHIEF = Principal(uuid4(), "chief", "admin", "critical")
ID, FINGERPRINT = "01a230e1-3000-716d-b27c-436dad5aca49", "c80dc92c1f50a9ebabaee123ce6ec570"

MEANT = [
    "", "  ", "report", "monthly report", '"monthly report"', 'name:"monthly report"', r'name:"a \"quoted\" \\ name"', "status:failed",
    "status:failed status:revoked", "status:failed status:failed", "type:import", "type:import type:import", "task:app.tasks.x",
    "priority:low", "priority:urgent", "priority:2", "queue:default", "tag:nightly tag:weekly", 'tag:"two words"', "waiting:paused", "waiting:no_worker", "limit:licences",
    f"error:{FINGERPRINT}", f"schedule:{ID}", f"workflow:{ID}", f"user:{ID}", "after:24h", "before:7d", "after:90m", "after:0m",
    "after:2026-11-30", "after:2026-11-30T08:00", "before:2026-11-30T08:00Z", "before:2026-11-30T08:00+08:00", 'after:"2026-11-30 08:00"',
    "status:failed type:import after:24h report", "名称 type:导入", "type:", "a:", ":", "type:a:b", "x type:y z", 'type:""', "TYPE:x",
    'type:"open', "report type:import report", "-x", "tag:-x", "name:x x", "2026-11-30", "type:x\ttag:y\nz",
]  # fmt: skip
MEANINGLESS = [
    "status:nope", "status:Failed", "state:failed", "http://x", "after:soon", "after:24", "after:24s", "after:999999d", "after:9999999d",
    "after:0001-01-01T00:00+14:00", "error:x", "schedule:x", "workflow:1", "priority:5", "waiting:rain", "type:a type:b", "name:a name:b",
    "name:a b", "priority:low priority:high", 'status:""', f"user:{ID} user:all",
]  # fmt: skip


def of_the_pages(text: str) -> tuple[dict[str, Any], list[str]]:
    search = parse(text, CHIEF, datetime.now(UTC))
    return {name: _plain(value) for name, value in search.fields.items()}, search.problems


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.value if isinstance(value, Enum) else str(value) if isinstance(value, UUID) else value


@pytest.mark.parametrize("text", MEANT)
def test_means_the_same(text: str) -> None:
    theirs, problems = of_the_pages(text)
    assert problems == []
    ours = parsed(text)
    for name in ("created_after", "created_before"):
        if name in theirs:
            assert abs(datetime.fromisoformat(ours.pop(name)) - theirs.pop(name)) < timedelta(minutes=1)
    assert ours == theirs


@pytest.mark.parametrize("text", MEANINGLESS)
def test_refuses_what_the_pages_leave_out(text: str) -> None:
    assert of_the_pages(text)[1] != []
    with pytest.raises(Refused) as refused:
        parsed(text)
    assert refused.value.code == 2


def test_has_the_same_keys_and_fields() -> None:
    assert set(KEYS) == set(KEYS_OF_PAGES)
    assert {name for name, _, _ in KEYS.values()} == set(FIELDS)
    assert {name for name, _, is_list in KEYS.values() if is_list} == {
        name for name, field in FIELDS.items() if field.is_list
    }


def test_knows_the_same_values() -> None:
    for name, values in (("status", STATUSES), ("priority", PRIORITIES), ("waiting_for", REASONS)):
        assert sorted(FIELDS[name].value_type) == sorted(values)


def test_me_is_what_is_listed_without_a_user() -> None:
    assert parsed("user:me type:x") == {"task_type": "x"}


def test_all_users_are_named() -> None:
    """The pages show administrators everybody's tasks; the command line does so where it is asked to."""
    assert parsed("user:all") == {"user_id": "all"}
