"""Password hashes of the tests' own process cost little: no test of this suite depends on their strength.

`tests/unit/core/test_passwords.py` has the parameters of the service. The processes that tests start use them.
"""

from collections.abc import Iterator

import pytest

from app.core import security


@pytest.fixture(scope="package", autouse=True)
def _light_hashes() -> Iterator[None]:
    light = security._passwords.copy(argon2__memory_cost=64, argon2__time_cost=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(security, "_passwords", light)
        security._dummy_hash.cache_clear()
        yield
    security._dummy_hash.cache_clear()
