"""The token of a bulk preview, and the filter that it binds."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.core.json_text import json_size
from app.db.statements import task_filter
from app.errors import TokenExpired
from app.models.bulk import Deed, pack_ids, unpack_ids
from app.models.task import TaskPriority, TaskStatus, WaitingReason
from app.models.task_filter import FIELDS, TaskFilter
from app.schemas.task_filter import TaskFilterIn, TaskFilterQuery
from app.services.bulk.deeds import MAX_TOLD_BYTES, TOKEN_LIFETIME, Selection, Token, seal_token, unseal_token
from tests.support.tables import check_rows

USER = uuid4()
NOW = datetime(2030, 1, 1, tzinfo=UTC)
KEYS = ["k" * 32, "old" * 16]
WHOLE = TaskFilter(
    user_id=USER,
    status=[TaskStatus.FAILED, TaskStatus.REVOKED],
    task_type="type",
    celery_task_name="name",
    priority=TaskPriority.HIGH,
    queue="queue",
    tag=["b", "a"],
    name="ü\N{ROCKET}",
    waiting_for=WaitingReason.TURN,
    limit_name="limit",
    created_after=NOW,
    created_before=NOW + timedelta(days=1),
)


def token(selection: Selection) -> Token:
    return Token(uuid4(), Deed.RETRY, NOW, selection.canonical, selection.ids)


class TestToken:
    def test_gives_back_what_it_binds(self) -> None:
        def check(selection: Selection) -> None:
            made = token(selection)
            read = unseal_token(seal_token(made, USER, KEYS), USER, KEYS, NOW + TOKEN_LIFETIME)
            assert (read.id, read.deed, read.at, read.filter) == (made.id, made.deed, made.at, made.filter)
            again = Selection.of_token(read)
            assert (again.canonical, again.ids) == (selection.canonical, selection.ids)

        check_rows(check, [Selection(WHOLE), Selection(TaskFilter()), Selection(ids=(USER, UUID(int=0)))])

    def test_of_a_former_key_is_good_until_that_key_is_dropped(self) -> None:
        text = seal_token(token(Selection(WHOLE)), USER, KEYS[1:])
        assert unseal_token(text, USER, KEYS, NOW).deed is Deed.RETRY
        with pytest.raises(TokenExpired):
            unseal_token(text, USER, KEYS[:1], NOW)

    def test_of_another_user_or_too_late_is_refused(self) -> None:
        text = seal_token(token(Selection(WHOLE)), USER, KEYS)
        for user, now in ((uuid4(), NOW), (USER, NOW + TOKEN_LIFETIME + timedelta(microseconds=1))):
            with pytest.raises(TokenExpired):
                unseal_token(text, user, KEYS, now)

    def test_that_has_changed_anywhere_is_refused(self) -> None:
        text = seal_token(token(Selection(ids=(USER,))), USER, KEYS)
        for at in range(len(text)):
            changed = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
            if at == len(text) - 1:  # its last bits may carry nothing
                changed = text[:-1]
            with pytest.raises(TokenExpired):
                unseal_token(changed, USER, KEYS, NOW)


class TestFilter:
    def test_is_one_however_it_is_written(self) -> None:
        other = {"tag": ("a", "b", "a"), "status": [TaskStatus.REVOKED, TaskStatus.FAILED]}
        written = TaskFilter(**{**WHOLE.__dict__, **other})
        assert Selection(written).canonical == Selection(WHOLE).canonical
        assert Selection(TaskFilter(status=[], tag=())).canonical == {}

    def test_differs_with_each_value(self) -> None:
        def check(change: dict[str, Any]) -> None:
            assert Selection(TaskFilter(**{**WHOLE.__dict__, **change})).canonical != Selection(WHOLE).canonical

        check_rows(check, [
            {"user_id": None}, {"status": [TaskStatus.FAILED]}, {"tag": []}, {"name": "ü"}, {"queue": None}
        ])  # fmt: skip

    def test_of_a_body_has_the_parameters_of_the_list(self) -> None:
        assert set(TaskFilterIn.model_fields) == set(TaskFilterQuery.model_fields) == {*FIELDS, "q"}

    def test_has_a_condition_for_each_field(self) -> None:
        """A field that is declared without one would select all tasks."""

        def check(name: str) -> None:
            kind = FIELDS[name].value_type
            value = {str: "0" * 32, datetime: NOW, UUID: USER}.get(kind) or next(iter(kind))
            assert task_filter.conditions(TaskFilter(**{name: [value] if FIELDS[name].is_list else value}))

        check_rows(check, FIELDS)

    def test_is_told_to_the_audit_within_a_bound(self) -> None:
        assert "queue=queue" in Selection(WHOLE).told()["filter"]
        assert Selection(TaskFilter()).told() == {"filter": ["user_id=all"]}
        told = Selection(TaskFilter(user_id=USER, tag=[f"{n}" + "\N{ROCKET}" * 98 for n in range(20)])).told()["filter"]
        assert json_size(told) <= MAX_TOLD_BYTES
        assert told[-1] == "…"


def test_ids_are_packed_and_unpacked() -> None:
    ids = [uuid4() for _ in range(3)]
    assert unpack_ids(pack_ids(ids)) == ids
    assert unpack_ids(b"") == []
