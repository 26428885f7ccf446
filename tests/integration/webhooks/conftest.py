"""What the tests of webhooks share; `tests/integration/conftest.py` has the receiver."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from tests.support.settings import settings
from tests.support.tasks import new_user
from tests.support.webhooks import ALLOWED


@pytest.fixture
def allowed(db: Session) -> Iterator[None]:
    """Requests may go to this machine, and the URLs of tasks are signed."""
    del db
    with settings(ALLOWED):
        yield


@pytest.fixture
def user(db: Session) -> UUID:
    return new_user(db)
