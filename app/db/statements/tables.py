"""The tables of the models, for statements that read and write rows without the ORM."""

from sqlalchemy import Table

from app.ddl.columns import Base
from app.models.error_group import ErrorGroup
from app.models.limit import DailyCount, LimitPlace
from app.models.queue import ClaimedTurn, UserTurn
from app.models.schedule import Schedule, ScheduleRun
from app.models.stored_file import StoredFile
from app.models.task import IdempotencyKey, Task, TaskOutput, TaskStep
from app.models.user import User


def _table_of(model: type[Base]) -> Table:
    return Base.metadata.tables[model.__tablename__]


TASKS = _table_of(Task)
STEPS = _table_of(TaskStep)
FILES = _table_of(StoredFile)
OUTPUT = _table_of(TaskOutput)
PLACES = _table_of(LimitPlace)
CLAIMED_TURNS = _table_of(ClaimedTurn)
USER_TURNS = _table_of(UserTurn)
USERS = _table_of(User)
ERROR_GROUPS = _table_of(ErrorGroup)
DAILY_COUNTS = _table_of(DailyCount)
IDEMPOTENCY_KEYS = _table_of(IdempotencyKey)
SCHEDULES = _table_of(Schedule)
SCHEDULE_RUNS = _table_of(ScheduleRun)

# What the database decides of a new task, and is read of it. JSONB has its own form of numbers, so `metadata` is
# answered as PostgreSQL stores it.
DECIDED = ("id", "run_at", "due_at", "created_at", "updated_at", "metadata")
