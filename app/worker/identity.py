"""This worker's incarnation. Made before the pool forks, so that parent and children agree on it."""

import os

from app.models.ids import new_id
from app.services.attempts import WorkerIdentity

WORKER_ID = new_id()


def identity(node_name: str) -> WorkerIdentity:
    """Who this process is when it claims: the node's name, the incarnation, its own process id."""
    return WorkerIdentity(node_name, WORKER_ID, os.getpid())
