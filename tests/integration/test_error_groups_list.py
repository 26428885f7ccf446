"""Lists of groups of failures as the pages show them: their order, their texts and their numbers."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from app.core.error_keys import error_key
from app.core.ids import new_id
from app.db.statements.error_groups import newest_tasks
from app.db.statements.tables import TASKS
from app.errors import InvalidCursor
from app.models.error_group import ErrorState, error_times
from app.models.task_stats import begin_of_step
from app.services.execution.attempts import AttemptError
from app.services.operations import error_group_service
from app.services.operations.error_group_service import HOUR, ErrorFilter, ErrorSort
from app.services.task_service import task_service
from app.services.tasks import task_counts
from tests.support.error_groups import failed, groups
from tests.support.plans import analyze, plan_of
from tests.support.spelling import spelled
from tests.support.statements import before_each_statement, statements
from tests.support.tables import check_rows
from tests.support.tasks import ERROR, new_user


class TestTheOrder:
    """The lists that the pages show, with the groups of another user beside them."""

    @pytest.fixture
    def user(self, db: Session) -> UUID:
        """Has groups that fail 1 to 4 times; the second one has failed first and last."""
        user, other = new_user(db), new_user(db)
        for number, kind in enumerate(("Alpha", "Beta", "Gamma", "Delta"), start=1):
            for _ in range(number):
                failed(db, user, AttemptError(f"{kind}Error", f"Row {number} of «É»", "t", error_key(kind, "m:f")))
        failed(db, other)
        task_counts.fold(db)
        beta = "UPDATE error_groups SET first_seen = :at, last_seen = :end WHERE error_type = 'BetaError'"
        now = datetime.now(UTC)
        db.execute(spelled(beta, {"at": now - timedelta(days=1), "end": now + timedelta(seconds=1)}))
        return user

    @staticmethod
    def by(db: Session, user: UUID, sort: str, text: str | None = None, **more: Any) -> list[str]:
        """The names of the groups, read by pages of one."""
        found, cursor = [], None
        while True:
            page = task_service.list_error_groups(db, ErrorFilter(user_id=user, **more), 1, cursor, sort, text)
            found += [group.error_type.removesuffix("Error") for group in page.items]
            if page.last is None:
                return found
            cursor = page.last

    def test_is_of_times_and_of_numbers_over_all_pages(self, db: Session, user: UUID) -> None:
        assert self.by(db, user, ErrorSort.COUNT) == ["Delta", "Gamma", "Beta", "Alpha"]
        assert self.by(db, user, ErrorSort.FIRST_SEEN) == ["Delta", "Gamma", "Alpha", "Beta"]
        assert self.by(db, user, ErrorSort.LAST_SEEN)[0] == "Beta"
        assert self.by(db, user, "count") == self.by(db, user, ErrorSort.COUNT)
        with pytest.raises(ValueError, match="size"):
            task_service.list_error_groups(db, sort="size")

    def test_of_numbers_has_those_that_are_not_folded(self, db: Session, user: UUID) -> None:
        for _ in range(4):
            failed(db, user, AttemptError("AlphaError", "Row 1 of «É»", "t", error_key("Alpha", "m:f")))
        assert self.by(db, user, ErrorSort.COUNT) == ["Alpha", "Delta", "Gamma", "Beta"]

    def test_of_equal_numbers_leaves_none_out(self, db: Session, user: UUID) -> None:
        db.execute(spelled("UPDATE error_groups SET count = 7"))
        assert sorted(self.by(db, user, ErrorSort.COUNT)) == ["Alpha", "Beta", "Delta", "Gamma"]

    def test_is_of_those_with_a_text(self, db: Session, user: UUID) -> None:
        texts = {
            "gamma": ["Gamma"],
            "ROW 2 OF «é»": ["Beta"],
            "_": ["Delta", "Gamma", "Beta", "Alpha"],
            "%": [],
            "'": [],
        }
        check_rows(lambda text, names: self.by(db, user, ErrorSort.COUNT, text=text) == names, texts.items())

    def test_is_of_those_that_failed_last_where_there_are_very_many(
        self, db: Session, user: UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(error_group_service, "LOOK", 2)
        assert "Beta" in self.by(db, user, ErrorSort.COUNT)
        assert len(self.by(db, user, ErrorSort.COUNT)) == 2
        assert len(self.by(db, user, ErrorSort.LAST_SEEN)) == 4
        assert error_group_service.count_error_groups(db, ErrorFilter(user_id=user)).is_cut

    def test_has_the_numbers_of_each_state(self, db: Session, user: UUID) -> None:
        names = {group.error_type: name for name, group in groups(db, user).items()}
        task_service.resolve_error_group(db, names["AlphaError"])
        task_service.ignore_error_group(db, names["BetaError"])
        counts = error_group_service.count_error_groups(db, ErrorFilter(user_id=user, state=ErrorState.IGNORED))
        assert ([*counts.by_state.values()], counts.is_cut) == ([2, 1, 1], False)
        counts = error_group_service.count_error_groups(db, ErrorFilter(user_id=user), "beta")
        assert [*counts.by_state.values()] == [0, 0, 1]
        assert [*error_group_service.count_error_groups(db, ErrorFilter(user_id=new_id())).by_state.values()] == [
            0,
            0,
            0,
        ]

    @pytest.mark.parametrize("cursor", ["x", "f" * 48, "0" * 47])
    @pytest.mark.parametrize("sort", ErrorSort)
    def test_of_a_wrong_cursor_is_refused(self, db: Session, sort: ErrorSort, cursor: str) -> None:
        with pytest.raises(InvalidCursor):
            task_service.list_error_groups(db, cursor=cursor, sort=sort)

    def test_failures_stand_in_their_hours(self, db: Session, user: UUID) -> None:
        name = next(name for name, group in groups(db, user).items() if group.error_type == "GammaError")
        for hours in (24, 168):
            first, numbers = error_group_service.failures_by_hour(db, name, hours)
            assert (len(numbers), sum(numbers), numbers[-1] + numbers[-2]) == (hours, 3, 3)
            assert timedelta(hours=hours - 1) <= datetime.now(UTC) - first < timedelta(hours=hours, seconds=5)

    def test_an_hour_to_come_is_left_out(self, db: Session, user: UUID) -> None:
        """It has begun since the clock was read, or the clock was put back."""
        name = next(name for name, group in groups(db, user).items() if group.error_type == "GammaError")
        ahead = begin_of_step(datetime.now(UTC), HOUR) + timedelta(hours=2)
        db.execute(insert(error_times).values(fingerprint=name, at=ahead, number=5))
        assert sum(groups(db, user)[name].last_24h) == 3
        assert sum(task_service.get_error_group(db, name).last_24h) == 3
        assert sum(error_group_service.failures_by_hour(db, name, 168)[1]) == 3

    def test_a_page_is_as_many_statements_as_a_group(self, db: Session, user: UUID) -> None:
        sent: dict[int, list[str]] = {}
        for number in (1, 4):
            with statements() as sent[number]:
                page = task_service.list_error_groups(db, ErrorFilter(user_id=user), number, None, ErrorSort.COUNT)
            assert len(page.items) == number
        assert len(sent[1]) == len(sent[4])
        assert [len(group.sample_task_ids) for group in page.items] == [4, 3, 2, 1]

    def test_the_newest_tasks_of_a_group_are_read_by_their_index(self, db: Session, user: UUID) -> None:
        """Also where another group has nearly all tasks: those of one with few are not looked for among them."""
        task = db.execute(select(TASKS).where(TASKS.c.user_id == user).limit(1)).mappings().one()
        db.execute(insert(TASKS), [{**task, "id": new_id(), "celery_id": new_id()} for _ in range(2000)])
        analyze(db.connection(), "tasks")
        sent: list[tuple[str, Any]] = []
        with before_each_statement(lambda *each: sent.append(each)):
            newest_tasks(db, list(groups(db, user)), 5)
        plan = plan_of(db.connection(), *sent[-1])
        assert plan.text.count("ix_tasks_error") >= 5, plan.text
        assert not plan.sorts, plan.text


class TestRecentFailures:
    def test_are_those_of_open_groups(self, db: Session) -> None:
        user, other = new_user(db), new_user(db)
        for who, error in ((user, ERROR), (user, ERROR), (user, AttemptError("KeyError", "k", "")), (other, ERROR)):
            failed(db, who, error)
        found = groups(db, user)
        number, since = error_group_service.recent_failures(db, user)
        assert number == 3
        assert timedelta(hours=1) <= datetime.now(UTC) - since < timedelta(hours=2, seconds=5)
        ignored = next(name for name, group in found.items() if group.count == 2)
        error_group_service.ignore_error_group(db, ignored)
        assert error_group_service.recent_failures(db, user)[0] == 1
        error_group_service.reopen_error_group(db, ignored)
        assert error_group_service.recent_failures(db, user)[0] == 3
        error_group_service.resolve_error_group(db, ignored)
        assert error_group_service.recent_failures(db, user)[0] == 1

    def test_of_nobody_are_none(self, db: Session) -> None:
        assert error_group_service.recent_failures(db, new_id())[0] == 0
