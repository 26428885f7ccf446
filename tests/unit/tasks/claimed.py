"""Attempts that `TaskRunner` does not make: of claims that no request gives, or with what Celery sees of them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from app.core.ids import new_id
from app.services.execution.attempts import Claim
from app.testing import UnwrittenAttempt

Define = Callable[..., Any]


def claimed(**fields: Any) -> UnwrittenAttempt:
    """The first of one attempt, but for these fields of its claim."""
    claim = Claim(new_id(), 1, [], {}, 0, 1, max_attempts_named=False, retry_backoff_seconds=None)
    return UnwrittenAttempt(replace(claim, **fields))
