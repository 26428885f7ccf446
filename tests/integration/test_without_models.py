"""Without scikit-learn, the extra `ml`, the service runs all other tasks and does not offer those that need it."""

import os
from pathlib import Path

from tests.support.running import TASKS, Start
from tests.support.services import ROOT

TRAIN = "app.tasks.model_tasks.train_classifier"
# Python imports a module of this name at its start.
HIDE = """
import sys
from importlib.machinery import PathFinder

class WithoutModels(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] == "sklearn" else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutModels
"""


def test_the_service_runs_and_leaves_its_tasks_out(start: Start, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(HIDE, encoding="utf-8")
    running = start(PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]))
    running.stack.worker()
    offered = {kind["celery_task_name"] for kind in running.http.get(f"{TASKS}types").json()}
    assert "app.tasks.common_tasks.long_running_task" in offered
    assert TRAIN not in offered
    refused = running.http.post(TASKS, json={"name": "x", "task_type": "test", "celery_task_name": TRAIN})
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_task")
    assert running.run("app.tasks.common_tasks.long_running_task", kwargs={"duration": 0.1})["status"] == "succeeded"
