"""A batch is done at once; where that fails, the item at fault is found, so that it costs the others nothing.

The policy of every batch whose items are of several tasks or users:

- Nearly always all items are done at once, and nothing else is tried.
- Where they fail, each half is tried, then the halves of a half that fails, until an item fails alone: one at fault
  among n costs 2 log n tries. After a lock or a time limit each item is tried alone at once: every group that has the
  item which waits would wait as long again.
- A lock is no fault of an item, and passes (`is_passing`): such an item is left for later. An item that fails alone for
  another reason is at fault. What becomes of both, each use says.
- An outage is no fault of any item either. It is raised at once, since each try would wait for the database. So is a
  deadlock: InnoDB has undone the whole transaction, which may be the caller's. A use whose transaction is its own tries
  it again (`retry_deadlocks`).
- The server may end a connection for what one item has it do, and answer others. That is the item's (`blamed`).
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.db.outage import first_line, is_deadlock, is_outage, is_passing
from app.db.session import transaction
from app.errors import ServiceError

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


class ConnectionEnded(Exception):
    """The server has ended the connection, and answers nevertheless. The text is that of the error."""


def together(
    what: str, items: Sequence[Item], do: Callable[[Sequence[Item]], Result], alone: Callable[[Item, Exception], Result]
) -> list[Result]:
    """Do these items by the policy above. Return what `do` or `alone` has returned for each part, in the items' order.

    `do` does all that it is given, or nothing where it raises: in a transaction or behind a savepoint of its own.
    `alone` is called with an item that has failed by itself and the error, which it handles or raises. `what` names
    the items in the log. Raises outages and deadlocks; the parts before them are done.
    """
    waiting = [items] if items else []
    results: list[Result] = []
    while waiting:
        part = waiting.pop()
        try:
            results.append(do(part))
        except Exception as error:
            if is_outage(error) or is_deadlock(error):
                raise
            if len(part) == 1:
                results.append(alone(part[0], error))
                continue
            if part is items:
                logger.log(_level_of(error), "%d %s are tried in parts, after: %s", len(items), what, first_line(error))
            size = 1 if is_passing(error) else (len(part) + 1) // 2
            waiting += [part[at : at + size] for at in range(0, len(part), size)][::-1]
    return results


def _level_of(error: Exception) -> int:
    """Return the level of an error. A refusal is told to the caller, and a lock is no reason to look."""
    if isinstance(error, ServiceError):
        return logging.DEBUG
    return logging.INFO if is_passing(error) else logging.WARNING


@contextmanager
def blamed(db: Session) -> Iterator[None]:
    """Run transactions of this session. Raise ConnectionEnded where the server ends the connection and answers others.

    It ends a transaction that is idle for too long, or a statement that is too large. An outage is raised as it is.
    """
    try:
        yield
    except DBAPIError as error:
        if not is_outage(error) or not _answers(db):
            raise
        raise ConnectionEnded(first_line(error)) from error


def _answers(db: Session) -> bool:
    try:
        with transaction(db):
            db.execute(sa.select(1))
    except DBAPIError:
        return False
    return True
