"""Callbacks that run after the outermost commit and are discarded by a rollback.

SQLAlchemy's `after_commit` event also fires when a savepoint is released. So each callback is kept with the transaction
in which it was registered, moved to the parent when a savepoint is released, and dropped when its transaction is rolled
back.
"""

import logging
from collections.abc import Callable

from billiard.exceptions import SoftTimeLimitExceeded
from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

logger = logging.getLogger(__name__)

Callback = Callable[[], None]
_KEY = "after_commit"


def after_commit(db: Session, callback: Callback) -> None:
    """Call `callback` once the session's outermost transaction has committed. The callback must not use the session.

    An error in it is logged. It reaches no caller, for whom the transaction has succeeded, and keeps no other callback
    from being called. A soft time limit, which a signal raises wherever the process is, is raised after all of them.
    """
    if not db.in_transaction():
        db.begin()
    current = db.get_nested_transaction() or db.get_transaction()
    assert current is not None
    _waiting(db).append((current, callback))


def _waiting(db: Session) -> list[tuple[SessionTransaction, Callback]]:
    waiting: list[tuple[SessionTransaction, Callback]] = db.info.setdefault(_KEY, [])
    return waiting


@event.listens_for(Session, "after_commit")
def _on_commit(db: Session) -> None:
    waiting = db.info.get(_KEY)
    if not waiting:
        return
    nested = db.get_nested_transaction()
    if nested is not None:
        parent = nested.parent
        assert parent is not None
        db.info[_KEY] = [(parent if owner is nested else owner, callback) for owner, callback in waiting]
        return
    del db.info[_KEY]
    committed, stop = db.get_transaction(), None
    for owner, callback in waiting:
        # A transaction that was closed without commit or rollback (`session.close()`) leaves its callbacks here.
        if owner is committed:
            try:
                callback()
            except SoftTimeLimitExceeded as error:
                stop = error
            except Exception:
                logger.exception("what was to be done after a commit failed, and is not tried again")
    if stop is not None:
        raise stop


@event.listens_for(Session, "after_soft_rollback")
def _on_rollback(db: Session, previous: SessionTransaction) -> None:
    waiting = db.info.get(_KEY)
    if waiting:
        db.info[_KEY] = [(owner, callback) for owner, callback in waiting if not _within(owner, previous)]


def _within(owner: SessionTransaction | None, rolled_back: SessionTransaction) -> bool:
    while owner is not None:
        if owner is rolled_back:
            return True
        owner = owner.parent
    return False
