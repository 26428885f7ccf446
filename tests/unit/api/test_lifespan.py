"""What the API does before its first request."""

from fastapi.testclient import TestClient

from app.main import create_app
from app.services.catalogue import catalogue


def test_the_tasks_are_imported_before_the_first_request() -> None:
    catalogue.cache_clear()
    with TestClient(create_app()):
        assert catalogue.cache_info().currsize == 1
