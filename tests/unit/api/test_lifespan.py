"""What the API does before its first request."""

import gc

from fastapi.testclient import TestClient

from app.catalogue import catalogue
from app.main import create_app


def test_tasks_are_imported_and_objects_frozen_before_the_first_request() -> None:
    """The collector leaves alone what was there before."""
    catalogue.cache_clear()
    before = gc.get_threshold()
    with TestClient(create_app()):
        assert catalogue.cache_info().currsize == 1
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold()[0] > before[0]
    assert (gc.get_freeze_count(), gc.get_threshold()) == (0, before)
