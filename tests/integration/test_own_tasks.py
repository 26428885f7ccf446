"""A user's own tasks, in whatever form they are written, run, and break no test of the project."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.checkout import copy_of_checkout
from tests.support.running import TASKS, Running
from tests.support.services import Services, process_environment
from tests.support.stack import Stack

INDENT = "    "
# The first one is the example of the owner's description, to the letter; the others are all that such a task may do.
MY_TASKS = f'''\
import os

import httpx
from app.celery_app import SQLAlchemyTask, celery_app
from app.core.config import get_settings
from app.db.session import SessionLocal

get_settings()


@celery_app.task(bind=True, name="app.tasks.example_task")
def example_task(self, arg1, arg2, task_id=None):
    """
    示例任务
    """
    # 任务逻辑实现
    result = {{}}
{INDENT}
    # 返回结果
    return result


class CountingTask(SQLAlchemyTask):
    abstract = True
    counted = 0

    def after_return(self, status, retval, task_id, args, kwargs, einfo):
        type(self).counted += 1
        super().after_return(status, retval, task_id, args, kwargs, einfo)


@celery_app.task(bind=True, base=CountingTask, name="app.tasks.count_task")
def count_task(self, step=1):
    return {{"home": bool(os.environ.get("HOME")), "step": step}}


@celery_app.task(name="purge_my_folder")
def purge_my_folder(path, *more):
    db = SessionLocal()
    db.commit()
    db.close()
'''
NAMES = {"app.tasks.example_task", "app.tasks.count_task", "purge_my_folder"}
# Those that read the catalogue, the tasks or the sources.
READERS = ("services/test_catalogue.py", "api/test_openapi.py", "api/test_lifespan.py", "test_documents.py", "test_conventions.py", "test_house.py", "test_architecture.py",
           "test_routing.py", "tasks/test_parameters.py")  # fmt: skip


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the tasks in a module of their own, which `app/tasks/__init__.py` imports."""
    directory = copy_of_checkout(tmp_path_factory.mktemp("checkout"))
    (directory / "app" / "tasks" / "my_tasks.py").write_text(MY_TASKS, encoding="utf-8")
    with (directory / "app" / "tasks" / "__init__.py").open("a", encoding="utf-8") as file:
        file.write("\nfrom app.tasks import my_tasks\n")
    return directory


@pytest.fixture
def running(services: Services, checkout: Path, tmp_path: Path) -> Iterator[Running]:
    with Stack(services, tmp_path, PYTHONPATH=str(checkout)) as stack:
        yield Running(stack)


def test_they_are_offered_and_run(running: Running) -> None:
    offered = {kind["celery_task_name"]: kind for kind in running.http.get(f"{TASKS}types").json()}
    assert offered.keys() >= NAMES
    assert offered["app.tasks.example_task"]["summary"] == "示例任务"
    running.stack.worker()
    assert running.run("app.tasks.example_task", "a", 2)["result"] == {}
    assert running.run("app.tasks.count_task")["result"] == {"home": True, "step": 1}


@pytest.mark.full
@pytest.mark.timeout(600)
def test_the_projects_unit_tests_do_not_judge_them(checkout: Path) -> None:
    folders = [f"tests/unit/{each}" for each in READERS]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *folders]
    environment = process_environment({"PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"})
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
