"""This worker's incarnation. Made before the pool forks, so that parent and children agree on it."""

import os

from app.core.ids import new_id
from app.services.execution.attempts import WorkerIdentity

WORKER_ID = new_id()

_pid = os.getpid()  # a system call, which each task would make


def identity(node_name: str) -> WorkerIdentity:
    """Who this process is when it claims: the node's name, the incarnation, its own process id."""
    return WorkerIdentity(node_name, WORKER_ID, _pid)


def _after_fork() -> None:
    global _pid  # noqa: PLW0603 (one per process)
    _pid = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
