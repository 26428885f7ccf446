"""Cancels, retries and deletes whole workflows. The caller has locked the workflow, and commits."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from uuid import UUID

from sqlalchemy.orm import Session

from app.db.statements import bulk, workflows
from app.errors import ParentDeleted, TaskHasChildren, WorkflowActive, WorkflowTransition
from app.models.auth import Scope
from app.models.task import ACTIVE, UNSUCCESSFUL, TaskStatus
from app.services.accounts.users import Rights
from app.services.tasks import due_tasks, limited_tasks, task_changes, task_queries, unique_keys
from app.services.tasks.permissions import check_may_create, check_may_run
from app.services.tasks.quotas import load_of_row, quotas, sum_of_loads
from app.services.workflows.reading import final
from app.services.workflows.restarting import Restart
from app.workflows import references


def cancel(db: Session, workflow_id: UUID) -> list[UUID] | None:
    """Revoke what waits, and ask what runs to stop. Returns the tasks that it has revoked; None if all had ended so.

    Raises WorkflowTransition for one that has ended otherwise than revoked.
    """
    nodes = workflows.nodes(db, workflow_id)
    status = final(node.status for node in nodes)
    if status is not None:
        if status is TaskStatus.REVOKED:
            return None
        raise WorkflowTransition(f"The workflow has already {status}")
    revoked: list[UUID] = []
    for _ in range(task_changes.TRIES):  # one may be claimed, or given back, between the two statements
        active = [node.task_id for node in nodes if node.task_id is not None and node.status in ACTIVE]
        if not active:
            break
        task_changes.revoke_all_pending(db, active)
        task_changes.request_all_cancels(db, active)
        nodes = workflows.nodes(db, workflow_id)
        left = {node.task_id for node in nodes if node.status in ACTIVE}
        revoked += [each for each in active if each not in left]
        if all(node.status is not TaskStatus.PENDING for node in nodes):
            break
    return revoked


def retry(
    db: Session, workflow_id: UUID, until_commit: ExitStack, *, rights: Rights | None, within_quota: bool
) -> None:  # fmt: skip
    """Have what failed or was revoked run again, and wait for each other as before.

    What has succeeded stays. Raises WorkflowTransition if there is nothing to retry, ParentDeleted, UniqueKeyTaken,
    UnknownLimit; with `rights`, those of the caller, what `check_may_create` raises; with `within_quota` QuotaExceeded.
    """
    nodes = workflows.nodes(db, workflow_id)
    # Those that are active as well: none of them fails, and revokes what waits for it, until the commit.
    ids = [node.task_id for node in nodes if node.task_id is not None and node.status is not TaskStatus.SUCCEEDED]
    tasks = [task for task in bulk.lock_tasks(db, ids, wait=True) if task.status in UNSUCCESSFUL] if ids else []
    if not tasks:
        raise WorkflowTransition("Nothing of the workflow has failed or was revoked")
    if rights is not None:
        for task in tasks:
            _check(db, task, rights)
    check_parents_kept(db, workflow_id, [task.id for task in tasks])
    if within_quota:
        load = sum_of_loads(load_of_row(task.arguments_bytes, task.attached_bytes) for task in tasks)
        until_commit.push(quotas.reserve(db, tasks[0].user_id, load).end)
    for limit in sorted({task.limit for task in tasks if task.limit is not None}):
        limited_tasks.keep(db, limit)
    restart = Restart(db, tasks)
    for task in tasks:
        if task.unique_key is not None:
            unique_keys.take_again(db, task, partial(task_changes.restart, db, task.id))
    task_changes.restart_all(db, [task.id for task in tasks if task.unique_key is None])
    restart.apply(db, [task.id for task in tasks])
    due_tasks.wake_all_due(db, {task.id: task.queue for task in tasks})


def _check(db: Session, task: bulk.LockedTask, rights: Rights) -> None:
    """Raise what `check_may_create` raises. The arguments, which may be large, are read for an API key alone."""
    check_may_run(task, rights)
    if Scope.TASKS_READ not in rights.scopes:
        check_may_create([task_queries.read(db, task.id)], rights)


def delete(db: Session, workflow_id: UUID) -> None:
    """Delete an ended workflow with its tasks. Raises WorkflowActive, TaskHasChildren if a pending task needs one."""
    nodes = workflows.nodes(db, workflow_id)
    if any(node.status in ACTIVE for node in nodes):
        raise WorkflowActive
    ids = [node.task_id for node in nodes if node.task_id is not None]
    if ids and task_changes.delete_all_ended(db, ids) < len(ids):
        raise TaskHasChildren
    workflows.delete(db, [workflow_id])


def check_parents_kept(db: Session, workflow_id: UUID, ids: Sequence[UUID]) -> None:
    """Raise ParentDeleted if one of these tasks of the workflow needs one that is deleted.

    That is one whose result it refers to, and one that has not succeeded, where that revokes what follows.
    """
    deleted = workflows.deleted_nodes(db, workflow_id)
    refs = {node.position: node.ref for node in deleted if node.status in UNSUCCESSFUL}
    for task_id, position in workflows.held_by(db, ids, refs).items() if refs else ():
        raise ParentDeleted(f"Task {task_id} depends on {refs[position]!r}, which has not succeeded and is deleted")
    gone = {node.ref for node in deleted if node.status is TaskStatus.SUCCEEDED}
    for task_id in ids if gone else ():  # one by one: their arguments may be large
        task = task_queries.read(db, task_id)
        needed = next((each.ref for each in references.find([task.args, task.kwargs]) if each.ref in gone), None)
        if needed is not None:
            raise ParentDeleted(f"Task {task_id} needs the result of {needed!r}, which is deleted")
