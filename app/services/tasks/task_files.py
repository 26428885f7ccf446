"""The files that the arguments of tasks name: they are the user's, and are not deleted while a task waits or runs."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from app.catalogue import find_type
from app.db.statements import files
from app.errors import FieldError, InvalidArguments
from app.models.outbox import ConsumerNumber
from app.models.task import Task
from app.schemas.task import TaskCreate
from app.services.outbox import add_followers
from app.services.tasks.new_rows import NewTask

UNKNOWN = "there is no such file of yours: upload it first"


@dataclass(frozen=True)
class NamedFiles:
    """Files that arguments name, each with the task that has saved it, of an artifact. They stay until the commit."""

    tasks: Mapping[UUID, UUID | None]

    def link(
        self, db: Session, users: Iterable[tuple[UUID, Collection[UUID]]], *, changed: bool = False
    ) -> None:  # fmt: skip
        """Note which files each task or schedule names, by its id: they are not deleted while it needs them.

        `changed`: it may have named others before.
        """
        uses = {by: ids for by, ids in users if ids or changed}
        if not uses:
            return
        files.set_uses(db, uses)
        # This mark has a deletion look for what needs the task.
        saved_by = {task for task in self.tasks.values() if task is not None}
        if saved_by:
            add_followers(db, ConsumerNumber.CHILDREN.bit, Task.id.in_(saved_by))


def find_files(db: Session, rows: Sequence[NewTask]) -> NamedFiles:
    """Lock the files that these rows, of one user, name. Raises InvalidArguments, naming the parameter."""
    ids = {each for row in rows for each in row.files}
    if not ids:
        return NamedFiles({})
    found = files.lock_named(db, ids, rows[0].user_id)
    for at, row in enumerate(rows):
        if errors := _unknown(row.wanted, row.files, found):
            refusal = InvalidArguments(errors=errors)
            raise refusal.of_batch(at) if len(rows) > 1 else refusal
    return NamedFiles(found)


def find_named(db: Session, wanted: TaskCreate, ids: Collection[UUID], user_id: UUID) -> NamedFiles:
    """As `find_files`, of the new arguments of one task."""
    found = files.lock_named(db, ids, user_id)
    if errors := _unknown(wanted, ids, found):
        raise InvalidArguments(errors=errors)
    return NamedFiles(found)


def of_replaced(replacing: Mapping[UUID, tuple[object, NewTask]]) -> list[tuple[UUID, Collection[UUID]]]:
    """Return the files of tasks that are replaced and may have named others before, each with its task's id."""
    return [
        (task_id, row.files)
        for task_id, (_, row) in replacing.items()
        if find_type(row.wanted.celery_task_name).task_parameters.takes_files
    ]


def _unknown(wanted: TaskCreate, ids: Collection[UUID], found: Collection[UUID]) -> list[FieldError]:
    parameters = find_type(wanted.celery_task_name).task_parameters
    return [
        {"loc": parameters.place_of(wanted.args, wanted.kwargs, str(each)), "msg": UNKNOWN, "type": "unknown_file"}
        for each in ids
        if each not in found
    ]
