"""What the API does before its first request."""

import gc

from fastapi.testclient import TestClient

from app.catalogue import catalogue
from app.main import create_app


def test_the_tasks_are_imported_before_the_first_request() -> None:
    catalogue.cache_clear()
    with TestClient(create_app()):
        assert catalogue.cache_info().currsize == 1


def test_the_collector_leaves_what_was_there_before_alone() -> None:
    before = gc.get_threshold()
    with TestClient(create_app()):
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold()[0] > before[0]
    assert (gc.get_freeze_count(), gc.get_threshold()) == (0, before)
