"""What a claim takes: the order over lines, what is taken together, where it looks, and how a row goes back."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert, select, text, update
from sqlalchemy.orm import Session

from app.core.ids import new_id
from app.db.session import SessionLocal
from app.db.sql import claims as statements, prepared, turns
from app.db.statements.pending_rows import MOST_ROWS, TaskNames
from app.models import Task, WorkerProcess
from app.services.execution import claims, ends
from app.services.execution.attempts import WorkerIdentity
from app.services.execution.claims import FULL_LOOK_SECONDS, NO_FLOOR, SLACK_SECONDS, Claims, ReadyClaim, give_back
from app.services.task_service import task_service
from tests.support.ahead import Ahead
from tests.support.databases import DIALECT
from tests.support.lock_waits import fail_soon_where_locked, needs_row_locks
from tests.support.settings import sql
from tests.support.tasks import LONG_RUNNING, WORKER, claim, claim_next, lines_of, names, new_task, new_user

FETCH = "app.tasks.common_tasks.fetch_url"
SHORT, LONG = {"celery_task_name": FETCH, "args": ["https://a.b"]}, {"celery_task_name": LONG_RUNNING}

NOTHING, _ = NO_FLOOR


@pytest.fixture(autouse=True)
def nobody_is_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.messaging.wakeups.publish", lambda _: None)


@pytest.fixture
def user(db: Session) -> UUID:
    return new_user(db)


def ids(found: Sequence[Any]) -> list[UUID]:
    return [each.id for each in found]


def put_at(db: Session, task: Task, turn: float | None) -> None:
    db.execute(update(Task).where(Task.id == task.id).values(turn=turn))
    db.commit()


def after_a_short_one(db: Session, user: UUID) -> Claims:
    """Claims of a process that has run a short task, and so takes several at once."""
    made = Claims(lines_of())
    first = new_task(db, user, **SHORT)
    assert ids(claim_next(db, short=[FETCH], claims=made)) == [first.id]
    return made


class TestTheOrder:
    def test_is_by_queue_and_priority_and_then_by_turn(self, db: Session, user: UUID) -> None:
        priorities = ("low", "normal", "high", "critical", "high", "normal")
        tasks = [new_task(db, user, priority=priority) for priority in priorities]
        low, normal, high, critical, high_2, normal_2 = ids(tasks)
        expected = [critical, high, high_2, normal, normal_2, low]
        assert [ids(claim_next(db)) for _ in range(7)] == [*([task] for task in expected), []]

    def test_of_the_lines_is_the_workers_own(self, db: Session, user: UUID) -> None:
        high, low = (new_task(db, user, priority=priority) for priority in ("critical", "low"))
        assert ids(claim_next(db, "default")) == []
        assert ids(claim_next(db, "low_priority", "high_priority")) == [low.id]
        assert ids(claim_next(db, "low_priority", "high_priority")) == [high.id]

    def test_of_equal_turns_is_by_id(self, db: Session) -> None:
        tasks = [new_task(db) for _ in range(3)]  # of a user each
        assert [ids(claim_next(db)) for _ in tasks] == [[task.id] for task in tasks]

    def test_passes_what_may_not_run_here(self, db: Session, user: UUID) -> None:
        unknown, paused, expired, ready = (
            new_task(db, user, **SHORT),
            new_task(db, user, priority="critical"),
            new_task(db, user, expires_at="2020-01-01T00:00:00Z"),
            new_task(db, user),
        )
        task_service.pause_queue(db, "high_priority")
        known = TaskNames([LONG_RUNNING], [])
        assert ids(Claims(lines_of()).next(db, known, new_id(), WORKER)) == [ready.id]
        assert Claims(lines_of()).next(db, known, new_id(), WORKER) == []
        waiting = [task_service.get_task(db, task.id) for task in (unknown, paused, expired)]
        assert {(task.status, task.attempt, task.version) for task in waiting} == {("pending", 0, 1)}

    def test_has_nothing_for_a_worker_that_drains(self, db: Session, user: UUID) -> None:
        db.add(WorkerProcess(id=WORKER.id, name=WORKER.name, pid=WORKER.pid, queues=["default"], concurrency=1))
        task = new_task(db, user)
        task_service.drain_worker(db, WORKER.name)
        assert claim_next(db) == []
        other = WorkerIdentity("other@test", new_id(), WORKER.pid)
        assert ids(Claims(lines_of()).next(db, names(), new_id(), other)) == [task.id]


class TestTogether:
    """A process that has run a short task takes several; one that has run a long one, or none, looks at one row."""

    @pytest.fixture
    def mine(self, db: Session, user: UUID) -> Claims:
        return after_a_short_one(db, user)

    def taken(self, db: Session, mine: Claims, number: int) -> list[list[UUID]]:
        return [ids(claim_next(db, short=[FETCH], claims=mine)) for _ in range(number)]

    def test_are_ten_short_ones(self, db: Session, user: UUID, mine: Claims) -> None:
        tasks = ids([new_task(db, user, **SHORT) for _ in range(MOST_ROWS + 3)])
        assert self.taken(db, mine, 2) == [tasks[:MOST_ROWS], tasks[MOST_ROWS:]]

    def test_are_as_many_as_the_process_asks_for(self, db: Session, user: UUID, mine: Claims) -> None:
        tasks = ids([new_task(db, user, **SHORT) for _ in range(MOST_ROWS + 5)])
        for most, expected in ((3, tasks[:3]), (MOST_ROWS + 1, tasks[3 : MOST_ROWS + 4]), (MOST_ROWS + 1, tasks[-1:])):
            asked = replace(names(FETCH), most=most)
            assert ids(mine.next(db, asked, new_id(), WORKER)) == expected

    def test_are_more_than_ten_only_behind_ten_short_ones(self, db: Session, user: UUID, mine: Claims) -> None:
        many = replace(names(FETCH), most=4 * MOST_ROWS)
        short = ids([new_task(db, user, **SHORT) for _ in range(2 * MOST_ROWS)])
        long = new_task(db, user, **LONG)
        last = ids([new_task(db, user, **SHORT) for _ in range(MOST_ROWS)])
        expected = [short, [long.id], last[:1], last[1:], []]
        assert [ids(mine.next(db, many, new_id(), WORKER)) for _ in expected] == expected

    def test_are_short_ones_of_several_lines(self, db: Session, user: UUID, mine: Claims) -> None:
        low, normal, high = ids([new_task(db, user, **SHORT, priority=each) for each in ("low", "normal", "high")])
        found = claim_next(db, short=[FETCH], claims=mine)
        assert [(each.id, each.queue, each.attempt) for each in found] == [
            (high, "high_priority", 1),
            (normal, "default", 1),
            (low, "low_priority", 1),
        ]

    def test_is_never_more_than_one_that_is_not_known_to_be_short(self, db: Session, user: UUID, mine: Claims) -> None:
        kinds = [LONG, SHORT, SHORT, SHORT, LONG, LONG, SHORT]
        tasks = ids([new_task(db, user, **kind) for kind in kinds])
        # A long one that leads is taken alone, and the next look is at one row. One behind short ones waits.
        expected = [tasks[:1], tasks[1:2], tasks[2:4], tasks[4:5], tasks[5:6], tasks[6:], []]
        assert self.taken(db, mine, len(expected)) == expected

    def test_is_none_with_one_that_cost_a_process(self, db: Session, user: UUID, mine: Claims) -> None:
        tasks = [new_task(db, user, **SHORT) for _ in range(5)]
        poison = tasks[2]
        turn = poison.turn
        assert turn is not None
        claim(db, poison)
        ends.end_tasks(db, ends.lost("a test"), Task.id == poison.id)
        turns.place_due(db)
        put_at(db, poison, turn)
        expected = [ids(tasks[:2]), [poison.id], ids(tasks[3:])]
        assert self.taken(db, mine, len(expected)) == expected

    def test_is_none_with_one_that_may_not_run_twice(self, db: Session, user: UUID, mine: Claims) -> None:
        tasks = [new_task(db, user, **SHORT) for _ in range(5)]
        for at in (0, 3):
            db.execute(update(Task).where(Task.id == tasks[at].id).values(rerun_lost=False))
        expected = [ids(tasks[:1]), ids(tasks[1:3]), ids(tasks[3:4]), ids(tasks[4:])]
        assert self.taken(db, mine, len(expected)) == expected


class TestFloors:
    """Where they stand: `tests/unit/services/test_claim_floors.py`."""

    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> Ahead:
        moved = Ahead()
        monkeypatch.setattr(claims, "time", moved)
        return moved

    @pytest.fixture
    def looks(self, monkeypatch: pytest.MonkeyPatch) -> list[list[float]]:
        """The floors of each look, without the ids."""
        floors: list[list[float]] = []
        claim_rows = statements.claim_next

        def note(db: Any, limit: int, lines: Any, *rest: Any) -> Any:
            floors.append([turn for turn, _ in lines.floors])
            return claim_rows(db, limit, lines, *rest)

        monkeypatch.setattr(statements, "claim_next", note)
        return floors

    @pytest.fixture
    def mine(self, db: Session, user: UUID, clock: Ahead, looks: list[list[float]]) -> Claims:
        """Claims of a process that has come to turn 1,000 of the first line, and looks above it."""
        made = Claims([("default", "normal"), ("low_priority", "low")])
        for turn in (1000.0, 1001.0):
            task = new_task(db, user)
            put_at(db, task, turn)
            assert ids(claim_next(db, claims=made)) == [task.id]
            clock.passes(SLACK_SECONDS)
        looks.clear()
        return made

    def test_leave_out_what_stands_below_until_the_next_full_look(
        self, db: Session, user: UUID, clock: Ahead, looks: list[list[float]], mine: Claims
    ) -> None:
        late, *ahead = (new_task(db, user) for _ in range(3))
        for task, turn in zip((late, *ahead), (999.0, 1002.0, 1003.0), strict=True):
            put_at(db, task, turn)
        assert ids(claim_next(db, claims=mine)) == [ahead[0].id]
        clock.passes(FULL_LOOK_SECONDS)
        assert ids(claim_next(db, claims=mine)) == [late.id]
        assert looks == [[1000.0, NOTHING], [NOTHING, NOTHING]]

    def test_hide_nothing_from_a_process_that_finds_nothing_else(
        self, db: Session, user: UUID, looks: list[list[float]], mine: Claims
    ) -> None:
        late = new_task(db, user)
        put_at(db, late, 999.0)
        assert ids(claim_next(db, claims=mine)) == [late.id]
        assert looks == [[1000.0, NOTHING], [NOTHING, NOTHING]]

    def test_tell_rows_of_the_same_turn_apart(self, db: Session, user: UUID, clock: Ahead, mine: Claims) -> None:
        """Of thousands of users with one turn, most may be gone."""
        before, *behind = (new_task(db, user) for _ in range(3))
        put_at(db, before, None)
        for task in behind:
            put_at(db, task, 1002.0)
        assert ids(claim_next(db, claims=mine)) == [behind[0].id]
        for _ in range(2):
            clock.passes(SLACK_SECONDS)
            claim_next(db, claims=mine)
        put_at(db, before, 1002.0)
        later = new_task(db, user)
        put_at(db, later, 1002.0)
        assert ids(claim_next(db, claims=mine)) == [later.id]

    def test_are_each_lines_own(self, db: Session, user: UUID, looks: list[list[float]], mine: Claims) -> None:
        other = new_task(db, user, priority="low")
        assert ids(claim_next(db, claims=mine)) == [other.id]
        assert looks == [[1000.0, NOTHING]]


class TestTheLostReply:
    def test_finds_the_rows_of_the_claim_again(self, db: Session, user: UUID) -> None:
        made, claim_id = after_a_short_one(db, user), new_id()
        tasks = [new_task(db, user, **SHORT) for _ in range(3)]
        found = made.next(db, names(FETCH), claim_id, WORKER)
        assert ids(found) == ids(tasks)
        again = {each.id: each for each in made.find(db, claim_id, WORKER)}
        for each in found:
            same = again[each.id]
            assert (same.attempt, same.celery_id, same.queue) == (each.attempt, each.celery_id, each.queue)
        assert ends.end_attempt(db, tasks[0].id, 1, ends.succeeded(None))
        assert {each.id for each in made.find(db, claim_id, WORKER)} == set(ids(tasks[1:]))
        assert made.find(db, new_id(), WORKER) == []
        assert made.find(db, claim_id, WorkerIdentity(WORKER.name, new_id(), WORKER.pid)) == []


class TestGivingBack:
    def taken(self, db: Session, user: UUID, number: int = 3) -> list[ReadyClaim]:
        made = after_a_short_one(db, user)
        for _ in range(number):
            new_task(db, user, **SHORT)
        return claim_next(db, short=[FETCH], claims=made)

    def test_keeps_the_turns_and_counts_no_failure(self, db: Session, user: UUID) -> None:
        found = self.taken(db, user)
        later = new_task(db, user, **SHORT)
        give_back(db, found[1:])
        rows = [task_service.get_task(db, each.id) for each in found[1:]]
        assert [row.turn for row in rows] == [each.turn for each in found[1:]]
        assert {(row.status, row.attempt, row.failures, row.crashes) for row in rows} == {("pending", 1, 0, 0)}
        (past,) = task_service.get_attempts(db, found[1].id)
        assert not isinstance(past, dict)
        assert (past.outcome, past.error_message) == ("handed_back", "claimed, and not begun")
        assert task_service.get_task(db, found[0].id).status == "running"
        made = Claims(lines_of())
        assert [ids(claim_next(db, claims=made)) for _ in range(3)] == [[task] for task in (*ids(found[1:]), later.id)]

    def test_revokes_one_whose_cancellation_was_requested(self, db: Session, user: UUID) -> None:
        found = self.taken(db, user)
        task_service.cancel(db, found[1].id)
        give_back(db, found)
        rows = [task_service.get_task(db, each.id) for each in found]
        assert [row.status for row in rows] == ["pending", "revoked", "pending"]
        assert rows[1].status_reason == "cancelled"
        (past,) = task_service.get_attempts(db, found[1].id)
        assert not isinstance(past, dict)
        assert past.outcome == "revoked"

    def test_leaves_what_another_attempt_holds(self, db: Session, user: UUID) -> None:
        found = self.taken(db, user, 1)
        give_back(db, found)
        again = claim_next(db, short=[FETCH])
        assert (again[0].id, again[0].attempt) == (found[0].id, 2)
        give_back(db, found)
        assert task_service.get_task(db, found[0].id).status == "running"
        assert len(task_service.get_attempts(db, found[0].id)) == 2

    def test_puts_what_was_found_after_a_lost_reply_in_front(self, db: Session, user: UUID) -> None:
        new_task(db, user)
        task = new_task(db, user, priority="normal")
        put_at(db, task, 0.5)
        claim_id = new_id()
        made = Claims(lines_of())
        made.next(db, names(), claim_id, WORKER)
        found = made.find(db, claim_id, WORKER)
        assert [(each.id, each.turn) for each in found] == [(task.id, None)]
        give_back(db, found)
        assert ids(claim_next(db)) == [task.id]


@pytest.mark.usefixtures("fresh_database")
class TestAtOnce:
    @needs_row_locks
    def test_a_row_that_is_locked_is_passed(self) -> None:
        with SessionLocal() as db, SessionLocal() as other:
            user = new_user(db)
            held, free = new_task(db, user), new_task(db, user)
            other.execute(select(Task.id).where(Task.id == held.id).with_for_update())
            fail_soon_where_locked(db)
            assert ids(claim_next(db)) == [free.id]
            other.rollback()
            assert ids(claim_next(db)) == [held.id]

    def test_each_row_is_claimed_once_and_none_is_left(self) -> None:
        with SessionLocal() as db:
            user = new_user(db)
            tasks = ids([new_task(db, user, **SHORT) for _ in range(150)])
        gate = threading.Barrier(4)

        def take() -> list[UUID]:
            found: list[UUID] = []
            made = Claims(lines_of("default"))
            with prepared.prepared_connection() as connection:
                gate.wait()
                while claimed := made.next(connection, names(FETCH), new_id(), WORKER):
                    found += ids(claimed)
            return found

        with ThreadPoolExecutor(4) as pool:
            found = [future.result() for future in [pool.submit(take) for _ in range(4)]]
        assert sorted(task for each in found for task in each) == tasks
        assert sql("SELECT count(*), min(attempt), max(attempt) FROM tasks WHERE status = 'running'") == [(150, 1, 1)]


def rows_read(db: Session) -> int:
    """How many the engine has read in this connection, rows of indexes included."""
    return sum(int(number) for _, number in db.execute(text("SHOW SESSION STATUS LIKE 'Handler_read%'")))


@pytest.mark.usefixtures("fresh_database")
@pytest.mark.skipif(DIALECT != "mysql", reason="the plan of another engine: test_plans.py, test_held_tasks.py")
class TestRowsRead:
    def test_are_few_however_many_wait_or_have_ended(self) -> None:
        """The look at all lines jumps from line to line in the index, also before the table was analyzed."""
        with SessionLocal() as db:
            task = new_task(db)
            row = dict(db.execute(select(Task.__table__).where(Task.id == task.id)).mappings().one())
            row.pop("odd_id", None)
            for line in ("high", "normal", "low"):
                copies = [row | {"id": new_id(), "priority": line, "turn": number / 3000} for number in range(3000)]
                db.execute(insert(Task.__table__), copies)
            db.execute(update(Task).where(Task.priority == "low").values(turn=None))
            db.commit()
            made = Claims(lines_of("default"))
            claim_next(db, claims=made)  # on MySQL the first one of all makes the row that claims share
            before = rows_read(db)
            assert len(claim_next(db, claims=made)) == 1
            assert rows_read(db) - before < 100
