"""The arguments of an attempt, with the results of other tasks in the places of the references (docs/workflows.md)."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from app.core.json_text import json_size
from app.core.redaction import secrets_in
from app.db.statements import workflows as statements
from app.db.transactions import Executes
from app.errors import ResultTooLarge, UnusableResult
from app.models.task import TaskStatus
from app.services.execution.attempts import Claim, check_bytes
from app.workflows import references
from app.workflows.references import MissingPath, Reference

# Results are read so many bytes at a time, one at least: of each, a path may name a small part.
_BYTES = 4 * 1024 * 1024
Read = Callable[[Callable[[Executes], Any]], Any]


class Arguments(NamedTuple):
    """What the body is called with. `secrets` are those of the results, which no line of the process shows."""

    args: list[Any]
    kwargs: dict[str, Any]
    secrets: Sequence[str] = ()


def filled(claim: Claim, read: Read) -> Arguments:
    """Return the arguments of the claim; of a task of a workflow with the results that they refer to.

    `read` runs a function on a connection. Raises UnusableResult where a task is deleted, a path is missing, or all is
    larger than MAX_ARGUMENTS_BYTES; then the same would come of another attempt.
    """
    given = [claim.args, claim.kwargs]
    if not references.holds_any(given):
        return Arguments(claim.args, claim.kwargs)
    wanted = Counter(references.find(given)) if read(lambda db: statements.is_node(db, claim.id)) else None
    if wanted is None:
        return Arguments(claim.args, claim.kwargs)  # of no workflow: it is data
    found: dict[str, statements.Parent] = {}
    if wanted:
        found = read(lambda db: statements.parents(db, claim.id, {each.ref for each in wanted}))
    secrets: list[str] = []
    values = dict(_values(wanted, found, read, secrets))
    args, kwargs = references.fill(given, values.__getitem__)
    what = "arguments with the results in them"
    _check_bytes(_size_of([args, kwargs], what), what)
    return Arguments(args, kwargs, secrets)


def _values(
    wanted: Counter[Reference], found: Mapping[str, statements.Parent], read: Read, secrets: list[str]
) -> Iterator[tuple[Reference, Any]]:  # fmt: skip
    """Yield what each reference stands for: null for a task that has not succeeded. Raises UnusableResult.

    `wanted` says how often each stands in the arguments: what they take together is known before they are filled.
    """
    size = 0
    needed: dict[UUID, list[Reference]] = {}
    for reference in wanted:
        parent = found.get(reference.ref)
        if parent is not None and parent.status is not TaskStatus.SUCCEEDED:
            yield reference, None
        elif parent is None or parent.task_id is None:
            raise UnusableResult(f"the task {reference.ref!r}, whose result is needed, is deleted")
        else:
            needed.setdefault(parent.task_id, []).append(reference)
    sizes = {parent.task_id: parent.size for parent in found.values()}
    for ids in _groups(needed, sizes):
        results = read(partial(statements.results, ids=ids))
        for task_id in ids:
            if task_id not in results:
                raise UnusableResult(f"the task {needed[task_id][0].ref!r}, whose result is needed, is deleted")
            secrets += secrets_in(results[task_id])
            for reference in needed[task_id]:
                try:
                    value = reference.of(results[task_id])
                except MissingPath as error:
                    raise UnusableResult(str(error)) from None
                size += _size_of(value, f"result of {reference}") * wanted[reference]
                _check_bytes(size, f"arguments with the result of {reference} in them")
                yield reference, value


def _size_of(value: Any, what: str) -> int:
    try:
        return json_size(value)
    except ValueError as error:
        raise UnusableResult(f"the {what} cannot be passed on: {error}") from None


def _check_bytes(size: int, what: str) -> None:
    try:
        check_bytes(size, what, arguments=True)
    except ResultTooLarge as error:
        raise UnusableResult(str(error)) from None


def _groups(ids: Mapping[UUID, object], sizes: Mapping[UUID | None, int]) -> Iterator[list[UUID]]:
    """Yield the ids in groups whose results take _BYTES together, one id at least."""
    group: list[UUID] = []
    total = 0
    for each in ids:
        if group and total + sizes[each] > _BYTES:
            yield group
            group, total = [], 0
        group.append(each)
        total += sizes[each]
    if group:
        yield group
