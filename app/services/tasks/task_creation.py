"""Creates tasks: one way for every request, over HTTP or from Python. What is before and after it differs.

The steps, in their order:

1. parsed: the schema reads the request, and `new_rows.rows_of` makes a row of it, by the catalogue;
2. permitted: `permissions`, by what the caller's login or API key says, or in `creating` by the user's row;
3. keyed: `unique_keys` finds the tasks that have the keys of the rows, and says which rows are new;
4. within quota: `quotas`, for what is new and for what a replacement adds, and then the replacement is written;
5. limited: `limited_tasks` refuses, or cancels others, as the limits of the rows say;
6. inserted: `new_rows`, and with them what they depend on (`task_dependencies`);
7. published: `due_tasks`, after the commit.

`creating` takes them in a transaction, `create_groups` for requests that came at the same moment: these share one
INSERT and one commit (docs/adr/0024).
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session, make_transient_to_detached

from app.db.session import SessionLocal, group_engine, transaction
from app.db.together import together
from app.db.transactions import retry_deadlocks
from app.errors import InvalidTask, QuotaExceeded, ServiceError, Text
from app.models.task import Task
from app.models.user import User
from app.services.operations.worker_service import look_at_workers_for
from app.services.tasks import due_tasks, limited_tasks, new_rows, task_dependencies, task_queries, unique_keys
from app.services.tasks.new_rows import Created, NewTask
from app.services.tasks.permissions import check_priorities
from app.services.tasks.quotas import NO_LOAD, Load, Reservation, quotas, sum_of_loads

# Errors that the values of a row cause. Any other error concerns all rows.
_ROW_ERRORS = (IntegrityError, DataError)

_Inserted = list[dict[str, Any]]


@contextmanager
def creating(
    db: Session,
    rows: Sequence[NewTask],
    *,
    commit: bool = True,
    within_quota: bool = False,
    permitted: bool = False,
    goes_on: bool = False,
) -> Iterator[list[Created]]:
    """Create one user's tasks, or find or replace those that have their keys, as each says; all of it or nothing.

    The block belongs to the transaction. `permitted`: the caller has checked the priorities, and the rows say what
    follows them. `goes_on`: they run also where a parent has failed. Raises PriorityNotAllowed, UniqueKeyTaken,
    UnknownLimit, LimitReached, InvalidTask for a parent that is none, InvalidArguments for a file that is none,
    IntegrityError; with `within_quota` also QuotaExceeded and KeptTasksTooLarge.
    """
    with ExitStack() as until_commit, transaction(db, commit=commit):
        for attempt in unique_keys.attempts(db, rows, savepoint=not commit):
            with attempt, ExitStack() as reserved:
                # Nothing is read before the savepoint: with all of the transaction InnoDB gives its locks back.
                if rows and not permitted:
                    followers = check_priorities(db, [row.wanted for row in rows], rows[0].user_id)
                    rows = [row.followed(followers) for row in rows]
                locked = limited_tasks.lock_limits(db, rows)
                keyed = unique_keys.match_keys(db, rows)
                if within_quota and (load := keyed.load) != NO_LOAD:
                    reserved.enter_context(quotas.reserve(db, rows[0].user_id, load))
                parents = task_dependencies.find_parents(db, rows, goes_on=goes_on)
                named = task_dependencies.find_files(db, rows)
                keyed.apply(parents.applied)
                keyed.change_held(db)
                cancelled = limited_tasks.check_limits(
                    db, locked, keyed.new, [row for _, row in keyed.replacing.values()]
                )
                keyed.read_kept(db, bounded=within_quota, cancelled=cancelled)
                accepted = accept(db, keyed.new)
                revoked = parents.link(db, keyed.rows_by_id())
                named.link(db, ((row.id, row.files) for row in keyed.new))
                named.link(db, task_dependencies.files_of_replaced(keyed.replacing), changed=True)
                until_commit.push(reserved.pop_all())
                break
        if revoked:
            accepted = [_as_it_is(db, task) if task["id"] in revoked else task for task in accepted]
        inserted = {row.unique_key or row.id: task for row, task in zip(keyed.new, accepted, strict=True)}
        yield [keyed.created(row, inserted) for row in rows]


def create_plain(db: Session, rows: Sequence[NewTask]) -> list[Created]:
    """Create tasks of one or several users in the caller's transaction, in one statement; all of it or nothing.

    They are permitted, and have no keys, no limits, no parents and no files. Raises QuotaExceeded, IntegrityError,
    DataError.
    """
    loads: dict[UUID, list[Load]] = {}
    for row in rows:
        loads.setdefault(row.user_id, []).append(row.load)
    with ExitStack() as reserved, db.begin_nested():
        for user_id, its in loads.items():
            reserved.enter_context(quotas.reserve(db, user_id, sum_of_loads(its)))
        return [Created(task, is_new=True) for task in accept(db, rows)]


def create_from_rows(
    db: Session, rows: Sequence[NewTask], *, commit: bool, within_quota: bool
) -> list[tuple[Task, bool]]:  # fmt: skip
    """Create tasks as `creating` does. Return them as objects of the session, each with whether it is new.

    Raises InvalidTask besides, for an unknown user; with `commit=False` that is an IntegrityError.
    """
    try:
        with creating(db, rows, commit=commit, within_quota=within_quota) as created:
            return [*zip(as_tasks(db, created), [each.is_new for each in created], strict=True)]
    except IntegrityError as error:
        if not commit:
            raise  # it may be about other rows of the caller's transaction, which is still open
        with transaction(db):
            exists = db.get(User, rows[0].user_id) is not None
        if exists:
            raise
        raise InvalidTask(Text("There is no user {}", rows[0].user_id)) from error


def as_tasks(db: Session, created: Sequence[Created]) -> list[Task]:
    """Return these tasks as objects of the session, without another statement."""
    tasks = {each.id: each.task for each in created}
    for task_id, row in tasks.items():
        if not isinstance(row, Task):
            task = Task(**{name: value for name, value in row.items() if name != "error"})
            make_transient_to_detached(task)
            tasks[task_id] = task
    db.add_all(tasks.values())
    return [tasks[each.id] for each in created]


def accept(db: Session | sa.Connection, rows: Sequence[NewTask]) -> _Inserted:
    """Insert these rows, and publish them after the commit. Raises IntegrityError, DataError as `insert_rows` does."""
    if not rows:
        return []
    assert isinstance(db, Session) or not any(map(_needs_locks, rows)), "limits and parents are locked in a transaction"
    accepted = new_rows.insert_rows(db, rows)
    look_at_workers_for(db, (row["waits"] for row in accepted))
    due_tasks.publish(db, accepted)
    return accepted


def _as_it_is(db: Session, inserted: dict[str, Any]) -> dict[str, Any]:
    """A row that has changed since it was inserted, in this transaction."""
    task = task_queries.read(db, inserted["id"])
    return {name: getattr(task, name) for name in inserted}


def create_groups(groups: Sequence[Sequence[NewTask]]) -> list[_Inserted | Exception]:
    """Create the tasks of each group, or none of it, in one statement if possible. Each group is of one permitted user.

    No row has a unique key. Returns the rows or the error of each group.
    """
    outcomes: dict[int, _Inserted | Exception] = {}
    reservations: dict[int, Reservation] = {}
    try:
        with SessionLocal() as db:
            for at, rows in enumerate(groups):
                try:
                    reservations[at] = quotas.reserve(db, rows[0].user_id, sum_of_loads(row.load for row in rows))
                except QuotaExceeded as refusal:
                    outcomes[at] = refusal
        outcomes.update(zip(reservations, _insert([groups[at] for at in reservations]), strict=True))
    finally:
        for at, reservation in reservations.items():
            reservation.end(committed=isinstance(outcomes.get(at), list))
    return [outcomes[at] for at in range(len(groups))]


def _insert(groups: Sequence[Sequence[NewTask]]) -> list[_Inserted | Exception]:
    """Insert in one statement if possible. Returns the rows or the error of each group."""
    locking = [any(map(_needs_locks, rows)) for rows in groups]
    if any(locking):
        plain = iter(_insert([rows for rows, is_locking in zip(groups, locking, strict=True) if not is_locking]))
        return [
            _insert_locking(rows) if is_locking else next(plain)
            for rows, is_locking in zip(groups, locking, strict=True)
        ]
    return [each for part in together("submits", groups, _commit, _refuse) for each in part]


def _refuse(_: Sequence[NewTask], problem: Exception) -> list[_Inserted | Exception]:
    return [problem]


def _needs_locks(row: NewTask) -> bool:
    return row.limit is not None or bool(row.parents or row.files)


def _insert_locking(rows: Sequence[NewTask]) -> _Inserted | Exception:
    """In a transaction of its own, which may have to wait for the limit, or for a parent."""
    try:
        return retry_deadlocks(partial(_in_a_transaction, rows))
    except (ServiceError, SQLAlchemyError) as problem:
        return problem


def _in_a_transaction(rows: Sequence[NewTask]) -> _Inserted:
    with SessionLocal() as db, creating(db, rows, permitted=True) as created:
        return [each.task for each in created]


def _commit(groups: Sequence[Sequence[NewTask]]) -> list[_Inserted | Exception]:
    """Insert the rows of all groups in one statement, which is its own transaction. Returns those of each group.

    Raises what a row may be at fault for. Any other error of the database is the outcome of each of these groups.
    """
    try:
        with group_engine().connect() as connection:
            inserted = iter(accept(connection, [row for rows in groups for row in rows]))
    except _ROW_ERRORS:
        raise
    except SQLAlchemyError as problem:
        return [problem] * len(groups)
    return [list(islice(inserted, len(rows))) for rows in groups]
