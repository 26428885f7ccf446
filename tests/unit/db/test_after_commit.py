"""Callbacks follow the outermost commit alone. On SQLite in memory: no server."""

from collections.abc import Callable, Iterator

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from app.db.session import transaction
from app.db.transactions import after_commit


@pytest.fixture
def db() -> Iterator[Session]:
    engine = create_engine("sqlite://")
    with Session(engine) as session:
        session.execute(text("CREATE TABLE t (x)"))
        session.commit()
        yield session
    engine.dispose()


@pytest.fixture
def called() -> list[str]:
    return []


class TestCommit:
    def test_runs_each_callback_once_in_order_and_not_before(self, db: Session, called: list[str]) -> None:
        for name in "abc":
            after_commit(db, lambda name=name: called.append(name))
        assert called == []
        db.commit()
        db.execute(text("INSERT INTO t VALUES (1)"))
        db.commit()
        assert called == ["a", "b", "c"]

    def test_calls_the_others_where_one_fails_and_succeeds(
        self, db: Session, called: list[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        after_commit(db, lambda: called.remove("nothing"))
        after_commit(db, lambda: called.append("b"))
        db.commit()
        assert called == ["b"]
        assert ["ValueError" in record.exc_text for record in caplog.records if record.exc_text] == [True]
        db.execute(text("INSERT INTO t VALUES (1)"))
        db.commit()

    def test_passes_a_soft_time_limit_on_after_all_others(self, db: Session, called: list[str]) -> None:
        """A signal raises it, wherever the body of a task is; the worker sends one."""

        def be_stopped() -> None:
            raise SoftTimeLimitExceeded

        after_commit(db, be_stopped)
        after_commit(db, lambda: called.append("b"))
        with pytest.raises(SoftTimeLimitExceeded):
            db.commit()
        assert called == ["b"]


class TestRollback:
    @pytest.mark.parametrize("end", [Session.rollback, Session.close])
    def test_forgets(self, db: Session, called: list[str], end: Callable[[Session], None]) -> None:
        after_commit(db, lambda: called.append("a"))
        end(db)
        db.commit()
        assert called == []


class TestSavepoint:
    def test_its_release_is_no_commit(self, db: Session, called: list[str]) -> None:
        with db.begin_nested():
            after_commit(db, lambda: called.append("inner"))
        assert called == []
        db.commit()
        assert called == ["inner"]

    def test_its_rollback_forgets_what_was_inside_alone(self, db: Session, called: list[str]) -> None:
        after_commit(db, lambda: called.append("outer"))
        nested = db.begin_nested()
        after_commit(db, lambda: called.append("inner"))
        nested.rollback()
        db.commit()
        assert called == ["outer"]

    def test_an_outer_rollback_forgets_what_a_released_one_left(self, db: Session, called: list[str]) -> None:
        outer = db.begin_nested()
        with db.begin_nested():
            after_commit(db, lambda: called.append("inner"))
        outer.rollback()
        db.commit()
        assert called == []


class TestTransaction:
    @pytest.mark.parametrize("commit", [True, False])
    def test_commits_by_itself_or_leaves_that_to_the_caller(self, db: Session, called: list[str], commit: bool) -> None:
        with transaction(db, commit=commit):
            after_commit(db, lambda: called.append("a"))
        assert called == (["a"] if commit else [])
        db.commit()
        assert called == ["a"]

    def test_rolls_back_on_an_error(self, db: Session, called: list[str]) -> None:
        with pytest.raises(RuntimeError), transaction(db):  # noqa: PT012 (the work before the error is the point)
            db.execute(text("INSERT INTO t VALUES (1)"))
            after_commit(db, lambda: called.append("a"))
            raise RuntimeError
        assert called == []
        assert db.scalar(text("SELECT count(*) FROM t")) == 0

    def test_leaves_the_callers_transaction_alone_on_an_error(self, db: Session) -> None:
        db.execute(text("INSERT INTO t VALUES (1)"))
        with pytest.raises(RuntimeError), transaction(db, commit=False):
            raise RuntimeError
        db.commit()
        assert db.scalar(text("SELECT count(*) FROM t")) == 1
