"""How a worker and beat start: what they refuse, what they load, and what is done before the pool forks."""

import gc
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from celery import Celery

from app.__main__ import main
from app.catalogue import known_queues
from app.celery_app import celery_app
from app.core.config import ConfigurationError, Settings, get_settings
from app.messaging.application import configuration
from app.messaging.loader import Loader, check_task_modules
from app.worker.bootsteps import ServiceStep, prepare_fork
from tests.support.services import ROOT, process_environment
from tests.support.sources import assert_none, run_program


def test_a_worker_and_beat_name_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery would look for a broker on this machine, without end."""
    for name in ("database_url", "celery_broker_url"):
        monkeypatch.setattr(get_settings(), name, None)
    with pytest.raises(SystemExit, match=r"DATABASE_URL and CELERY_BROKER_URL not set: .*run_server\.py"):
        Loader(celery_app).init_worker()


def test_a_module_that_does_not_exist_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(get_settings(), "task_modules", ["no_such_company.tasks"])
    with pytest.raises(ConfigurationError, match=r"TASK_MODULES names no_such_company\.tasks.*PYTHONPATH"):
        check_task_modules(get_settings())


# The fourth line of a user's module, and what is told of it.
RAISE = {
    "ordered": ("def body(order: Order): ...", "NameError: name 'Order' is not defined"),
    "importing": ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
    "misspelled": ("def body(:", "SyntaxError: "),
    "leaving": ("import sys; sys.exit(0)", "SystemExit: 0"),
}
MODULE = "from app.celery_app import celery_app\n@celery_app.task(name='{name}.good')\ndef good() -> None: ...\n"


def test_a_module_that_raises_is_left_out_with_one_line_and_check_exits_with_1(tmp_path: Path) -> None:
    for name, (source, _) in RAISE.items():
        (tmp_path / f"{name}.py").write_text(f"{MODULE.format(name=name)}{source}\n")
    (tmp_path / "fine.py").write_text(MODULE.format(name="fine"))
    environment = process_environment({"TASK_MODULES": ",".join([*RAISE, "fine"]), "PYTHONPATH": f"{ROOT}:{tmp_path}"})
    # A task that is above the error is left out, too: its body may use what is below.
    program = (
        "import sys; from app.__main__ import main; from app.catalogue import catalogue;"
        "print(*(name for name in catalogue() if name.endswith('.good')), flush=True); sys.exit(main(['check']))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    created, *told = done.stdout.splitlines()
    assert (done.returncode, created) == (1, "fine.good")
    assert len(told) == len(RAISE), done.stdout
    assert_none(
        f"of {name}, not {why!r}: {line}"
        for (name, (_, why)), line in zip(RAISE.items(), told, strict=True)
        if not line.startswith(f"module {name} cannot be imported, its tasks are left out: {why}")
        or not line.endswith(f"({tmp_path / name}.py:4)")
    )
    # Once in the log, and not again by the command.
    assert [line for line in done.stderr.splitlines() if line.startswith("module ")] == told


def test_a_setting_that_is_refused_is_a_line_of_celerys_command() -> None:
    command = [sys.executable, "-m", "celery", "-A", "app.celery_app", "worker", "-c", "1"]
    environment = process_environment({"MAX_CRASHES": "none"})
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("configuration: MAX_CRASHES: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_worker_and_the_check_refuse_shares_of_a_queue_that_there_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(get_settings(), "queue_shares", {"default": 3, "fast": 1})
    expected = "configuration: QUEUE_SHARES: no queue fast (there are "
    expected += f"{', '.join(sorted(known_queues()))})"  # other tests of this process may have declared some
    with pytest.raises(SystemExit) as refused:
        ServiceStep(object())
    assert str(refused.value) == expected
    assert main(["check"]) == 1
    assert capsys.readouterr().err == f"{expected}\n"


def test_what_runs_beside_the_worker_starts_after_the_pool_has_forked() -> None:
    assert celery_app.steps["worker"] == {f"{ServiceStep.__module__}:{ServiceStep.__name__}"}
    assert ServiceStep.requires == ("celery.worker.components:Pool",)


def test_what_every_child_does_first_is_done_before_the_fork() -> None:
    """Imported or built after it, it would be each child's own: some megabytes each."""
    program = (
        "import os, sys; from app.worker.bootsteps import prepare_fork; from app.celery_app import SQLAlchemyTask;"
        "from kombu.utils.imports import symbol_by_name;"
        "from billiard.util import set_pdeathsig; from app.db.postgresql import attempts, prepared;"
        "prepare_fork();"
        "known, built = set(sys.modules), prepared._prepared.cache_info().misses;"
        "os.fork() and sys.exit(os.waitstatus_to_exitcode(os.wait()[1]));"
        "set_pdeathsig(9), attempts.build_statements(), symbol_by_name(SQLAlchemyTask.RecordRunner);"
        "print(*(set(sys.modules) - known), prepared._prepared.cache_info().misses - built)"
    )
    assert run_program(program).split() == ["0"]


def test_the_parents_objects_are_frozen_before_its_first_fork() -> None:
    gc.unfreeze()
    prepare_fork.cache_clear()
    try:
        prepare_fork()
        frozen = gc.get_freeze_count()
        assert frozen > 0
        kept: list[list[int]] = [[] for _ in range(1000)]
        prepare_fork()  # before a child that takes another's place
        assert gc.get_freeze_count() <= frozen
        del kept
    finally:
        gc.unfreeze()


def test_certificates_of_the_broker_are_verified_unless_its_url_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the URL comes from the environment, which Celery reads by itself."""
    monkeypatch.setenv("CELERY_BROKER_URL", "rediss://:password@broker.example:6379/0")
    made = Celery("tests", set_as_current=False)
    made.add_defaults(lambda: configuration(Settings()))
    for connection in (made.connection_for_read(), made.connection_for_write()):
        assert connection.ssl == {"ssl_cert_reqs": ssl.CERT_REQUIRED}
