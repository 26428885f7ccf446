"""What a claim, a report of progress and an end cost: round trips to PostgreSQL, counted where psycopg2 sends them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

import psycopg2
import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import DBAPIError, OperationalError

from app.core.config import get_settings
from app.core.ids import new_id
from app.db.postgresql.prepared import Prepared, PreparedConnection, prepared_connection
from app.db.session import SessionLocal, dispose_engine, engine
from app.errors import AttemptLost
from app.messaging import wakeups
from app.models.task import Task, TaskAttempt, TaskStatus
from app.services.execution.attempts import NextTry
from app.services.execution.claims import Claims
from app.services.task_service import task_service
from app.services.workflows import dependents
from app.worker.child.attempt_run import AttemptRun
from app.worker.child.process import ChildProcess
from tests.support.databases import ENGINE
from tests.support.services import Services, environment
from tests.support.settings import settings
from tests.support.statements import Cursor, noted_connections
from tests.support.tasks import LONG_RUNNING, WORKER, lines_of, names, new_task, next_run
from tests.support.workflows import settle

READ_NAME = select(Task.name).where(Task.name == "it's 100% «constant»")


@pytest.fixture(autouse=True)
def drivers(fresh_database: None) -> Iterator[list[Any]]:
    if ENGINE != "postgresql":
        yield []
        return
    with noted_connections() as made:
        yield made


@contextmanager
def statements() -> Iterator[list[str]]:
    """Everything that this process sends from here on, by the worker's own connection or by an engine's."""
    Cursor.sent.clear()
    yield Cursor.sent


def pending(**options: Any) -> None:
    with SessionLocal() as db:
        new_task(db, **options)
    wakeups.flush()


def claimed(**options: Any) -> AttemptRun:
    pending(**options)
    run = next_run()
    assert run is not None
    return run


def parent_alone() -> tuple[AttemptRun, UUID]:
    """A parent that a child process has claimed alone, and the task that depends on it."""
    with SessionLocal() as db:
        parent = new_task(db)
        child = new_task(db, parent.user_id, depends_on=[parent.id])
    wakeups.flush()
    run = next_run()
    assert run is not None
    return AttemptRun(run.claim, ChildProcess(WORKER.id, get_settings(), pid=WORKER.pid), is_alone=True), child.id


def cancelled() -> AttemptRun:
    run = claimed()
    with SessionLocal() as db:
        task_service.cancel(db, run.task_id)
    return run


def status_of(task_id: UUID) -> TaskStatus:
    with SessionLocal() as db:
        return TaskStatus(db.scalars(select(Task.status).where(Task.id == task_id)).one())


@pytest.fixture
def _warm(drivers: list[Any]) -> None:
    """A process that has run a task to each of its ends: its statements are prepared."""
    del drivers
    claimed().succeed(1)
    assert next_run() is None
    claimed().fail(ValueError("no"))
    claimed().retry_later(None, NextTry(60))
    run = claimed()
    run.report(1)
    run.hand_back()
    cancelled().fail(ValueError("no"))


@pytest.mark.postgresql("elsewhere a step is a transaction of several statements")
@pytest.mark.usefixtures("_warm")
class TestEachStepIsOneRoundTrip:
    def test_a_claim(self) -> None:
        pending()
        with statements() as sent:
            run = next_run()
        assert run is not None
        assert len(sent) == 1
        with statements() as sent:
            assert next_run() is None
        assert len(sent) == 1  # it has looked without floors at once

    def test_a_claim_of_ten_rows(self) -> None:
        for _ in range(11):
            pending()
        claims = Claims(lines_of("default"))
        with prepared_connection() as connection:
            claims.next(connection, names(LONG_RUNNING), new_id(), WORKER)  # one: now it knows that they are short
            with statements() as sent:
                found = claims.next(connection, names(LONG_RUNNING), new_id(), WORKER)
        assert (len(found), sum(each.startswith("EXECUTE") for each in sent)) == (10, 1)

    def test_progress(self) -> None:
        run = claimed()
        with statements() as sent:
            run.report(50, {"step": 1})
        assert len(sent) == 1
        run.succeed(None)

    def test_an_end(self) -> None:
        """A failure with its history."""
        ends: list[tuple[Callable[[AttemptRun], None], TaskStatus]] = [
            (lambda run: run.succeed({"sum": 1e22}), TaskStatus.SUCCEEDED),
            (lambda run: run.fail(ValueError("no")), TaskStatus.FAILED),
            (lambda run: run.retry_later(ValueError("not yet"), NextTry(60)), TaskStatus.PENDING),
        ]
        for end, status in ends:
            run = claimed()
            with statements() as sent:
                end(run)
            assert (len(sent), status_of(run.task_id)) == (1, status)

    def test_a_failure_of_what_was_cancelled_takes_two(self) -> None:
        run = cancelled()
        with statements() as sent:
            run.fail(ValueError("no"))
        assert len(sent) == 2
        assert status_of(run.task_id) is TaskStatus.REVOKED

    def test_the_end_of_a_parent_that_was_claimed_alone_takes_two(self) -> None:
        """Its child can be claimed behind them."""
        for _ in range(2):  # the statements are prepared in the first round
            parent, child = parent_alone()
            with statements() as sent:
                parent.succeed(1, later=True)
                own = [each.count("EXECUTE") for each in sent if "EXECUTE" in each]
            dependents.flush_releases(30)
            assert [each.id for each in parent.freed] == [child]
            run = next_run()
            assert run is not None
            assert run.task_id == child
            run.succeed(1)
        assert own == [1, 3]

    def test_a_whole_task_that_reports_nothing_takes_two(self) -> None:
        pending()
        with statements() as sent:
            run = next_run()
            assert run is not None
            with run.body():
                pass
            run.succeed(None)
        assert [each.partition("_")[0] for each in sent] == ["EXECUTE task", "EXECUTE task"]


@pytest.mark.postgresql("elsewhere it waits as long as any statement")
def test_children_that_are_locked_go_on_a_little_later(caplog: pytest.LogCaptureFixture) -> None:
    parent, child = parent_alone()
    with SessionLocal() as db:
        db.get(Task, child, with_for_update=True)
        parent.succeed(1, later=True)
        assert (status_of(parent.task_id), parent.freed) == (TaskStatus.SUCCEEDED, [])
    assert any("goes on a little later" in each for each in caplog.messages)
    assert dependents.flush_releases(30)
    with SessionLocal() as db:
        settle(db)
    run = next_run()
    assert run is not None
    assert run.task_id == child


class TestTheBegin:
    """In a batch a body begins after its claim: each end writes it, in the same statement."""

    ENDS: ClassVar[dict[str, Callable[[AttemptRun], None]]] = {
        "success": lambda run: run.succeed(1),
        "failure": lambda run: run.fail(ValueError("no")),
        "retry": lambda run: run.retry_later(None, NextTry(60)),
        "hand-back": lambda run: run.hand_back(),
        "revocation": lambda run: run.revoke("ignored"),
    }
    AFTER = 0.25

    def _ends_as_begun(self, run: AttemptRun, end: Callable[[AttemptRun], None]) -> bool:
        """Whether the row, and the history that some ends write, have the begin."""
        started = select(Task.started_at).where(Task.id == run.task_id)
        with SessionLocal() as db:
            claimed_at = db.scalars(started).one()
        child = ChildProcess(WORKER.id, get_settings(), pid=WORKER.pid)
        end(AttemptRun(run.claim, child, self.AFTER))
        with SessionLocal() as db:
            begun_at = db.scalars(started).one()
            kept = select(TaskAttempt.started_at).where(TaskAttempt.task_id == run.task_id)
            return begun_at == claimed_at + timedelta(seconds=self.AFTER) and db.scalars(kept).all() in ([], [begun_at])

    def test_is_written_by_each_end(self) -> None:
        assert [name for name, end in self.ENDS.items() if not self._ends_as_begun(claimed(), end)] == []

    def test_also_of_what_was_cancelled(self) -> None:
        ends = {name: self.ENDS[name] for name in ("failure", "retry", "hand-back")}
        assert [name for name, end in ends.items() if not self._ends_as_begun(cancelled(), end)] == []

    def test_also_where_the_body_ends_its_attempt_itself(self) -> None:
        def end(run: AttemptRun) -> None:
            with run.body(), SessionLocal() as db:
                task_service.update_task_status(db, run.task_id, "succeeded")

        assert self._ends_as_begun(claimed(), end)


@pytest.mark.postgresql("its prepared statements have a connection of their own")
class TestTheConnection:
    def test_is_the_same_for_all_statements_of_a_process_and_takes_no_place_in_the_pool(self) -> None:
        with prepared_connection() as first:
            assert engine().pool.checkedout() == 0  # type: ignore[attr-defined]
        with prepared_connection() as second:
            assert second is first

    def test_is_given_up_after_an_error_and_the_next_one_works(self) -> None:
        def end(broken: PreparedConnection) -> None:
            with SessionLocal() as db:
                pid = broken.execute(select(func.pg_backend_pid()), {}).all()[0][0]
                db.execute(select(func.pg_terminate_backend(pid, 10_000)))
            broken.execute(READ_NAME, {})

        with pytest.raises(DBAPIError), prepared_connection() as first:
            end(first)
        with prepared_connection() as second:
            assert second is not first
            assert second.execute(READ_NAME, {}).one_or_none() is None

    def test_is_kept_when_the_statement_only_finds_that_the_attempt_is_lost(self) -> None:
        run = claimed()
        with SessionLocal() as db:
            task_service.update_task_status(db, run.task_id, "failed")
        with prepared_connection() as before:
            pass
        with pytest.raises(AttemptLost):
            run.report(1)
        with prepared_connection() as after:
            assert after is before

    def test_is_closed_with_the_engine(self) -> None:
        with prepared_connection() as connection:
            pass
        dispose_engine()
        assert connection.is_closed

    def test_is_left_alone_by_a_process_that_was_forked_from_its_own(self) -> None:
        with prepared_connection() as connection:
            pass
        connection.pid += 1
        dispose_engine()
        assert not connection.is_closed
        connection.close()

    def test_a_second_one_at_the_same_time_is_closed_after_its_use(self) -> None:
        with prepared_connection() as one:
            with prepared_connection() as other:
                assert other is not one
            with prepared_connection() as third:
                assert third is other
        assert one.is_closed

    def test_a_server_that_cannot_be_reached_is_an_outage_like_any_other(self, services: Services) -> None:
        gone = services.database_url("there_is_no_such_database")
        with (
            settings(environment(gone, services.flushed_broker())),
            pytest.raises(OperationalError, match="does not exist"),
            prepared_connection(),
        ):
            pass

    def test_a_former_primary_is_left(self, drivers: list[Any]) -> None:
        with prepared_connection() as first, drivers[-1].cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = on")
        with pytest.raises(DBAPIError, match="read-only"), prepared_connection() as reader:
            reader.execute(update(Task).values({"name": "x"}).returning(Task.id), {})
        assert first.is_closed


@pytest.mark.postgresql("its prepared statements")
class TestPreparing:
    def test_constants_are_part_of_the_statement(self) -> None:
        prepared = Prepared(READ_NAME)
        assert "$" not in prepared.text
        assert "'it''s 100% «constant»'" in prepared.text
        with prepared_connection() as connection:
            assert connection.execute(READ_NAME, {}).one_or_none() is None

    def test_a_session_without_it_gets_it_again(self, drivers: list[Any]) -> None:
        """As after a pooler's `DISCARD ALL`."""
        with prepared_connection() as connection:
            connection.execute(READ_NAME, {})
            with drivers[-1].cursor() as cursor:
                cursor.execute("DEALLOCATE ALL")
            assert connection.execute(READ_NAME, {}).one_or_none() is None

    def test_one_that_is_there_already_is_used(self, drivers: list[Any]) -> None:
        prepared = Prepared(READ_NAME)
        with prepared_connection() as connection:
            with drivers[-1].cursor() as cursor:
                cursor.execute(f"PREPARE {prepared.name} AS {prepared.text}")
            assert connection.execute(READ_NAME, {}).one_or_none() is None

    def test_where_nothing_stays_prepared_statements_are_sent_whole(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Cursor, "forgets", True)
        run = claimed(kwargs={"note": "50% of it"})
        assert run.claim.kwargs == {"note": "50% of it"}
        run.report(10, {"step": "100%"})
        with statements() as sent:
            run.succeed(None)
        assert status_of(run.task_id) is TaskStatus.SUCCEEDED
        assert sent[0].startswith("UPDATE tasks")

    def test_two_rows_where_there_is_one_at_most_are_an_error(self) -> None:
        pending()
        pending()
        with prepared_connection() as connection, pytest.raises(ValueError, match="2 rows"):
            connection.execute(select(Task.id), {}).one_or_none()

    def test_errors_say_nothing_of_the_values(self) -> None:
        with pytest.raises(DBAPIError) as caught, prepared_connection() as connection:
            connection.execute(_DIVIDE, {})
        assert "hunter2" not in str(caught.value).partition("\n")[2].replace(str(caught.value.orig), "")
        assert isinstance(caught.value.orig, psycopg2.Error)


_DIVIDE = select(text("1/0")).where(Task.name != "hunter2")
