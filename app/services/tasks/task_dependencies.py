"""What the tasks of a request depend on: other tasks, and the files that their arguments name.

Both are the user's own. They are locked until the commit, and the edges and uses are written with the tasks.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from app.catalogue import find_type
from app.db.statements import dependencies, files
from app.db.statements.dependencies import Edge
from app.errors import FieldError, InvalidArguments, InvalidTask
from app.models.outbox import ConsumerNumber
from app.models.task import TERMINAL, Task, TaskStatus
from app.schemas.task import TaskCreate
from app.services.execution import ends
from app.services.outbox import add_followers
from app.services.tasks.new_rows import NewTask

PARENT_FAILED = "parent_failed"


@dataclass(frozen=True)
class Parents:
    """The parents that a request names, by id, with the states in which they are until the commit."""

    states: Mapping[UUID, TaskStatus]
    goes_on: bool = False
    """Whether the children run also where a parent has not succeeded."""

    def applied(self, row: NewTask) -> NewTask:
        """Return the row as it is inserted: it waits, unless all its parents have succeeded."""
        if row.id in self.states:
            row = row.followed(ConsumerNumber.CHILDREN.bit)
        return row.waiting() if any(not self._is_done(parent) for parent in row.parents) else row

    def link(self, db: Session, children: Iterable[tuple[UUID, NewTask]]) -> list[UUID]:
        """Write the edges of these tasks, which are there by now. Returns those that it has revoked at once."""
        edges = [(task_id, parent) for task_id, row in children for parent in row.parents]
        if not edges:
            return []
        dependencies.add_edges(
            db,
            (
                (Edge(task_id, parent, self.goes_on), self.states[parent] not in TERMINAL)
                for task_id, parent in edges
            ),
        )  # fmt: skip
        add_followers(db, ConsumerNumber.CHILDREN.bit, Task.id.in_({parent for _, parent in edges}))
        failed = list(dict.fromkeys(task_id for task_id, parent in edges if self._has_failed(parent)))
        if failed:
            ends.end_tasks(db, ends.withdrawn(PARENT_FAILED), Task.id.in_(failed))
        return failed

    def _is_done(self, parent: UUID) -> bool:
        state = self.states[parent]
        return state is TaskStatus.SUCCEEDED or (self.goes_on and state in TERMINAL)

    def _has_failed(self, parent: UUID) -> bool:
        return self.states[parent] in TERMINAL and not self._is_done(parent)


def _find_parents(db: Session, rows: Sequence[NewTask], *, goes_on: bool) -> Parents:
    """Lock what these rows, of one user, depend on. Raises InvalidTask for an id that is none of the user's tasks."""
    own = {row.id: TaskStatus.PENDING for row in rows}
    named = {parent for row in rows for parent in row.parents}
    if not named:
        return Parents({})
    states = {each: own[each] for each in named & own.keys()}
    if others := named - own.keys():
        states |= dependencies.lock_parents(db, others, rows[0].user_id)
    for at, row in enumerate(rows):
        errors = [_unknown_parent(place) for place, parent in enumerate(row.parents) if parent not in states]
        if errors:
            refusal = InvalidTask(errors=errors)
            raise refusal.of_batch(at) if len(rows) > 1 else refusal
    return Parents(states, goes_on)


def _unknown_parent(place: int) -> FieldError:
    return {"loc": ["depends_on", place], "msg": "is the id of none of your tasks", "type": "unknown_parent"}


# -- The files that the arguments of tasks name: they are the user's, and are not deleted while a task waits or runs ---

UNKNOWN_FILE = "there is no such file of yours: upload it first"


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
        if errors := _unknown_files(row.wanted, row.files, found):
            refusal = InvalidArguments(errors=errors)
            raise refusal.of_batch(at) if len(rows) > 1 else refusal
    return NamedFiles(found)


def find_named_files(db: Session, wanted: TaskCreate, ids: Collection[UUID], user_id: UUID) -> NamedFiles:
    """Lock the files that the new arguments of one task name. Raises InvalidArguments."""
    found = files.lock_named(db, ids, user_id)
    if errors := _unknown_files(wanted, ids, found):
        raise InvalidArguments(errors=errors)
    return NamedFiles(found)


def _unknown_files(wanted: TaskCreate, ids: Collection[UUID], found: Collection[UUID]) -> list[FieldError]:
    parameters = find_type(wanted.celery_task_name).task_parameters
    return [
        {"loc": parameters.place_of(wanted.args, wanted.kwargs, str(each)), "msg": UNKNOWN_FILE, "type": "unknown_file"}
        for each in ids
        if each not in found
    ]


# -- Both, for the tasks of a request ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Needs:
    """What the rows of a request depend on, which is locked until the commit."""

    parents: Parents
    files: NamedFiles

    def link(self, db: Session, new: Sequence[NewTask], replacing: Mapping[UUID, tuple[object, NewTask]]) -> list[UUID]:
        """Write the edges and uses of new tasks, and of those that rows replace. Returns those it has revoked at once.

        The tasks are there by now. Those that are replaced may have named other files before.
        """
        replaced = [(task_id, row) for task_id, (_, row) in replacing.items()]
        revoked = self.parents.link(db, [*((row.id, row) for row in new), *replaced])
        self.files.link(db, ((row.id, row.files) for row in new))
        taking = [each for each in replaced if find_type(each[1].wanted.celery_task_name).task_parameters.takes_files]
        self.files.link(db, ((task_id, row.files) for task_id, row in taking), changed=True)
        return revoked


def find_needs(db: Session, rows: Sequence[NewTask], *, goes_on: bool) -> Needs:
    """Lock what these rows, of one user, depend on. Raises InvalidTask for a parent, InvalidArguments for a file."""
    return Needs(_find_parents(db, rows, goes_on=goes_on), find_files(db, rows))
