"""Password hashes that cost little, for a process whose tests do not depend on their strength."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from app.core import security


@contextmanager
def light_hashes() -> Iterator[None]:
    light = security._passwords().copy(argon2__memory_cost=64, argon2__time_cost=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(security, "_passwords", lambda: light)
        security._dummy_hash.cache_clear()
        yield
    security._dummy_hash.cache_clear()
