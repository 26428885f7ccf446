"""A worker or beat without the settings it needs says so, and does not look for a broker that nobody named."""

import pytest
from celery import signals

from app.celery_app import celery_app
from app.core.config import get_settings
from app.worker import bootsteps


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(get_settings(), "database_url", None)
    monkeypatch.setattr(get_settings(), "celery_broker_url", None)


def test_a_worker_names_what_is_missing() -> None:
    with pytest.raises(SystemExit, match=r"DATABASE_URL and CELERY_BROKER_URL not set: .*run_server\.py"):
        signals.celeryd_init.send(sender="worker@test", instance=None, conf=celery_app.conf, options={})


def test_beat_names_what_is_missing() -> None:
    with pytest.raises(SystemExit, match="DATABASE_URL"):
        signals.beat_init.send(sender=None)


def test_a_module_that_cannot_be_imported_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(get_settings(), "task_modules", ["no_such_company.tasks"])
    with pytest.raises(SystemExit, match=r"TASK_MODULES names no_such_company\.tasks.*PYTHONPATH"):
        celery_app.loader.import_default_modules()


def test_what_runs_beside_the_worker_starts_after_the_pool_has_forked() -> None:
    assert bootsteps.ServiceStep in celery_app.steps["worker"]
    assert bootsteps.ServiceStep.requires == ("celery.worker.components:Pool",)
