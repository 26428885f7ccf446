"""The claim of the next row while millions wait: beside a small backlog, with a long transaction, and after churn."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from app.core.ids import new_id
from app.db.postgresql.prepared import PreparedConnection
from app.db.statements.pending_rows import TaskNames
from app.models.task import TaskPriority
from app.services.execution.claims import Claims
from app.services.execution.ends import Success, end_successes
from tests.support.services import sqlalchemy_url
from tests.support.tasks import LONG_RUNNING, WORKER

QUEUE = "default"
# As workers take them: tasks of some length one by one, no-op tasks ten at a time.
SINGLES, BATCHES = TaskNames([LONG_RUNNING], []), TaskNames([LONG_RUNNING], [LONG_RUNNING])
_USERS = text("""
INSERT INTO users (id, username, username_normalized, email, email_normalized, password_hash)
SELECT id, id::text, id::text, id || '@example.com', id || '@example.com', '!'
FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, :users)) AS new""")
# Each user's tasks have turns one apart, beginning anywhere between two.
_ROWS = text("""
INSERT INTO tasks (
    id, celery_id, user_id, name, task_type, celery_task_name, args, kwargs, priority, queue, due_at, turn
)
SELECT uuidv7(), uuidv7(), whose.id, 'a task', 'common', :name, '[1]', '{}', 'normal', :queue, now(),
    nth + (SELECT coalesce(max(turn), 0) FROM claimed_turns)
FROM generate_series(1, :each) AS nth, (SELECT id FROM users ORDER BY id LIMIT :users) AS whose""")


@dataclass
class Backlog:
    """A database with tasks that wait. `claims` is where a pool process of it looks."""

    url: str
    users: int
    connection: Connection
    driver: PreparedConnection
    claims: Claims = field(
        default_factory=lambda: Claims([(QUEUE, priority.value) for priority in reversed(TaskPriority)])
    )

    def fill(self, rows: int) -> None:
        """Have so many tasks wait; the triggers would write counts of them."""
        self.connection.execute(text("ALTER TABLE tasks DISABLE TRIGGER USER"))
        self.connection.execute(_USERS, {"users": self.users})
        self._add(rows // self.users, self.users)
        self.connection.execute(text("ALTER TABLE tasks ENABLE TRIGGER USER"))
        self.connection.execute(text("VACUUM ANALYZE"))

    def _add(self, each: int, users: int) -> None:
        self.connection.execute(_ROWS, {"each": each, "users": users, "name": LONG_RUNNING, "queue": QUEUE})

    def claim(self, names: TaskNames = SINGLES) -> float:
        """Claim the next one, or ten, and end it. Returns the seconds that the claim took."""
        begun = time.perf_counter()
        claimed = self.claims.next(self.driver, names, new_id(), WORKER)
        took = time.perf_counter() - begun
        assert claimed, "nothing was ready"
        end_successes(self.driver, [Success(claim.id, claim.attempt, None) for claim in claimed])
        return took

    def churn(self, number: int) -> None:
        """Let so many tasks run, and as many come in."""
        users = min(10, self.users)
        for _ in range(number // 10):
            self.claim(BATCHES)
            self._add(10 // users, users)

    @contextmanager
    def long_transaction(self) -> Iterator[None]:
        """While the block runs, nothing that it leaves dead can be vacuumed."""
        engine = create_engine(self.url, poolclass=NullPool)
        with engine.connect() as connection:
            connection.execution_options(isolation_level="REPEATABLE READ")
            connection.execute(text("SELECT count(*) FROM claimed_turns"))
            yield


@contextmanager
def backlog(database_url: str, rows: int, users: int) -> Iterator[Backlog]:
    """A database with so many tasks of so many users."""
    url = sqlalchemy_url(database_url)
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection, engine.connect() as other:
        driver = other.connection.driver_connection
        found = Backlog(url, users, connection, PreparedConnection(driver, max_idle_seconds=3600))
        found.fill(rows)
        yield found
