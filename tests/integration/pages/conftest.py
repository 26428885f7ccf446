"""What the tests of the pages share. The fixtures of `tests/support/fixtures.py` are on this service, too.

shared         one service for all tests of a file, with the pages
client         the same, without what the tests before have left there
account        the user of `tasks`
reader         a browser in which `account` is signed in; see `tests/support/page_reader.py`
administrator  one in which the user of `admin` is
others         another user's view of the task endpoints
stranger       a browser in which the user of `others` is signed in
"""

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.support.accounts import MakeUser
from tests.support.page_reader import Reader, signed_in
from tests.support.task_client import TaskClient, module_client, task_client
from tests.support.throttle import forget_deeds, forget_everybody

shared = module_client(WEB_UI="true")

# What outlives the users of a test.
LEFT = ("limit_places", "limits", "worker_processes", "claim_holds", "bulk_deeds", "error_times")


@pytest.fixture
def client(shared: TestClient, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    forget_everybody(shared, *LEFT)
    forget_deeds(monkeypatch)
    return shared


@pytest.fixture
def account(tasks: TaskClient) -> dict[str, Any]:
    return tasks.user


@pytest.fixture
def reader(client: TestClient, account: dict[str, Any]) -> Reader:
    return signed_in(client, account)


@pytest.fixture
def administrator(client: TestClient, admin: TaskClient) -> Reader:
    return signed_in(client, admin.user)


@pytest.fixture
def others(client: TestClient, make_user: MakeUser) -> TaskClient:
    return task_client(client, make_user)


@pytest.fixture
def stranger(client: TestClient, others: TaskClient) -> Reader:
    return signed_in(client, others.user)
