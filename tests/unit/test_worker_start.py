"""A worker or beat without the settings it needs says so, and does not look for a broker that nobody named."""

import gc
import subprocess
import sys

import pytest
from celery import signals

from app.celery_app import celery_app
from app.core.config import get_settings
from app.worker.parent import bootsteps
from app.worker.shared.handover import handover
from tests.support.services import process_environment


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


def test_what_one_task_alone_needs_is_not_in_every_child() -> None:
    heavy = ("jose", "passlib", "argon2", "sklearn", "pandas", "numpy", "httpx", "fastapi", "alembic")
    program = f"import sys, app.celery_app, app.tasks; print(*[name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], env=process_environment({}), capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_what_every_child_does_first_is_done_before_the_fork() -> None:
    """Imported or built after it, it would be each child's own: some megabytes each."""
    program = (
        "import os, sys; from celery import signals; from app.celery_app import celery_app;"
        "from billiard.util import set_pdeathsig; from app.db import direct; from app.services.execution import attempts;"
        "signals.worker_before_create_process.send(sender=None);"
        "known, built = set(sys.modules), direct._prepared.cache_info().misses;"
        "os.fork() and sys.exit(os.waitstatus_to_exitcode(os.wait()[1]));"
        "set_pdeathsig(9), attempts.build_statements();"
        "print(*(set(sys.modules) - known), direct._prepared.cache_info().misses - built)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=process_environment({}), capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["0"]


def test_the_parents_objects_are_frozen_before_its_first_fork() -> None:
    gc.unfreeze()
    try:
        signals.worker_before_create_process.send(sender=None)
        frozen = gc.get_freeze_count()
        assert frozen > 0
        kept: list[list[int]] = [[] for _ in range(1000)]
        signals.worker_before_create_process.send(sender=None)  # a child that takes another's place
        assert gc.get_freeze_count() <= frozen
        del kept
    finally:
        gc.unfreeze()
        handover.close()  # opened before a fork, as by a worker
