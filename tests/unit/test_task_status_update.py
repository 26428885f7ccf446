"""The state machine, as far as it can be seen without a database."""

import itertools
import re
from uuid import uuid4

import pytest
from sqlalchemy.dialects import postgresql

from app.db.postgresql import attempts, claims
from app.db.postgresql.transitions import transition
from app.models.task import ACTIVE, TERMINAL, TRANSITIONS, TaskStatus
from app.services.execution.attempts import CurrentAttempt, current_attempt
from app.services.tasks import task_changes
from app.services.tasks.task_reports import _current

# A state of a row that the statement names by its id.
OF_THE_STATE = r"\(CAST\(tasks\.status AS TEXT\) \|\| ''\) (IN \(|= )"
PAIRS = list(itertools.product(TaskStatus, TaskStatus))


def sql(statement: object) -> str:
    compiled = statement.compile(dialect=postgresql.dialect()).string
    return re.sub(r"\s+", " ", compiled)


class TestTransitions:
    def test_every_state_has_a_row_in_the_table_and_success_is_the_end(self) -> None:
        assert set(TRANSITIONS) == set(TaskStatus)
        assert set(TaskStatus) == TERMINAL | ACTIVE
        assert not TRANSITIONS[TaskStatus.SUCCEEDED]

    @pytest.mark.parametrize(("source", "to"), PAIRS)
    def test_a_statement_can_be_built_for_the_known_moves_alone(self, source: TaskStatus, to: TaskStatus) -> None:
        if to in TRANSITIONS[source]:
            assert "WHERE tasks.status = %(status_1)s" in sql(transition(to, sources=[source]))
        else:
            with pytest.raises(ValueError, match="no transition"):
                transition(to, sources=[source])

    def test_no_statement_is_built_for_an_unknown_source_among_known_ones_and_for_none(self) -> None:
        with pytest.raises(ValueError, match="succeeded"):
            transition(TaskStatus.PENDING, sources=[TaskStatus.FAILED, TaskStatus.SUCCEEDED])
        with pytest.raises(ValueError, match="no transition"):
            transition(TaskStatus.REVOKED, sources=[])

    def test_each_change_that_a_client_can_see_raises_the_version(self) -> None:
        for to in TaskStatus:
            source = next(source for source in TaskStatus if to in TRANSITIONS[source])
            assert "version=(tasks.version + " in sql(transition(to, sources=[source]))


class TestFence:
    @pytest.mark.parametrize("name", ["SUCCEED", "FAIL", "RETRY_LATER", "REVOKE", "REVOKE_CANCELLED", "PROGRESS"])
    def test_what_a_worker_writes_names_its_attempt_and_wants_it_running(self, name: str) -> None:
        text = sql(getattr(attempts, name))
        assert "tasks.attempt = %(p_attempt)s" in text
        assert re.search(OF_THE_STATE, text)

    @pytest.mark.parametrize("name", ["GIVE_BACK", "REVOKE_NOT_BEGUN"])
    def test_a_row_that_was_not_begun_is_given_back_of_its_attempt(self, name: str) -> None:
        text = sql(getattr(claims, name))
        assert "tasks.attempt = given_back.attempt" in text
        assert re.search(OF_THE_STATE, text)

    def test_a_claim_takes_only_what_is_pending_placed_not_expired_and_known(self) -> None:
        text = sql(claims.claim_statement(1))
        found, _, written = text.partition(") AS next_rows")
        within = found.partition("WHERE row.queue = ")[2]
        for part in ("row.status = ", "row.turn IS NOT NULL", "row.expires_at", "row.celery_task_name = ANY"):
            assert part in within
        assert re.search(OF_THE_STATE, written)

    def test_an_attempt_that_did_not_succeed_writes_its_history_in_the_same_statement(self) -> None:
        assert "INSERT INTO task_attempts" in sql(attempts.FAIL)
        assert "INSERT INTO task_attempts" not in sql(attempts.SUCCEED)

    def test_a_failure_gives_way_to_a_cancellation(self) -> None:
        assert "tasks.cancel_requested_at IS NULL" in sql(attempts.FAIL)
        assert "tasks.cancel_requested_at IS NULL" in sql(attempts.RETRY_LATER)
        assert "tasks.cancel_requested_at IS NULL" not in sql(attempts.SUCCEED)


class TestWhoseUpdate:
    """`update_task_status` in a running body updates that body's attempt, elsewhere no attempt."""

    def test_a_body_updates_its_own_task_alone(self) -> None:
        attempt = CurrentAttempt(uuid4(), 3)
        assert _current(attempt.task_id) is None
        token = current_attempt.set(attempt)
        try:
            assert _current(attempt.task_id) is attempt
            assert _current(uuid4()) is None
        finally:
            current_attempt.reset(token)


class TestTurn:
    def test_is_lost_with_a_new_time(self) -> None:
        values = task_changes.due_values({"run_at": None})
        assert values["turn"] is None
        assert "due_at" in values
