"""A client of the small application that a test file defines as `app`."""

import pytest
from starlette.testclient import TestClient


@pytest.fixture(scope="module")
def client(request: pytest.FixtureRequest) -> TestClient:
    return TestClient(request.module.app, raise_server_exceptions=False, follow_redirects=False)
