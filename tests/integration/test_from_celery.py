"""docs/from-celery.md: its application with Celery alone, and after each step, with real workers and beats."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.accounts import bearer
from tests.support.pages import Page
from tests.support.services import ROOT, Services
from tests.support.sources import run_program
from tests.support.stack import Part, Stack
from tests.support.waiting import wait_for

PAGE = Page("from-celery.md")
FILES = {block.file: block.text for block in PAGE.blocks if block.language == "python"}
MODULE = "/srv/shop/shop/tasks.py"
RENDERED = "order-7-m.pdf"
SECONDS = 60.0
PERIOD = 1.0


class Shop:
    """The application in a folder of its own, which the stack's processes import."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack, self.folder = stack, folder
        (folder / "shop").mkdir(parents=True)
        self.variables = {**stack.settings, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"}

    def save(self, text: str, period: str) -> None:
        """The module, for the stack's broker, and with periods that a test can wait for."""
        assert text.count(period) == 1
        text = text.replace(period, str(PERIOD)).replace("redis://localhost:6379/0", self.stack.broker_url)
        (self.folder / "shop" / "tasks.py").write_text(text, encoding="utf-8")

    def run(self, file: str, **replaced: str) -> str:
        text = FILES[file]
        for old, new in replaced.items():
            assert old in text
            text = text.replace(f'"{old}"', repr(new))
        return run_program(text, **self.variables).strip()

    def part(self, *command: str) -> Part:
        return self.stack.start_part(command[0], ["celery", *command[1:]], self.variables)


@pytest.fixture
def shop(services: Services, tmp_path: Path) -> Iterator[Shop]:
    with Stack(services, tmp_path) as stack:
        yield Shop(stack, tmp_path / "mine")


def test_an_application_moves_over(shop: Shop, tmp_path: Path) -> None:
    shop.save(FILES["before.py"], "600.0")
    beat = ("beat", "-l", "info", "-s", str(tmp_path / "schedule"))
    celery = ["worker", "-l", "info", "--concurrency", "1"]
    old = [shop.part("old-worker", "-A", "shop.tasks", *celery), shop.part("old-beat", "-A", "shop.tasks", *beat)]
    assert shop.run("caller.py") == RENDERED
    wait_for(lambda: "tidied" in old[0].output(), SECONDS, "the period of Celery")
    for part in old:
        part.stop(30)

    shop.save(FILES[MODULE], "timedelta(minutes=10)")
    user, token = shop.stack.make_user()
    asked = PAGE.variables("python3 run_server.py")
    assert asked.pop("PYTHONPATH") == str(Path(MODULE).parents[1])
    assert asked.keys() == {"TASK_MODULES", "CELERY_RESULT_BACKEND"}
    shop.variables |= {**asked, "CELERY_RESULT_BACKEND": shop.stack.broker_url}
    shop.stack.server().stop(30)
    shop.stack.server(shop.variables)
    worker = shop.part("worker", "-A", "app", *celery)
    worker.await_line(" ready.")
    shop.part("beat", "-A", "app", *beat)
    assert shop.run("caller.py") == RENDERED  # a plain message, as before
    wait_for(lambda: "tidied" in worker.output(), SECONDS, "the period of the service's beat")

    ids = [shop.run("caller_with_record.py", admin=user["username"])]
    http = shop.stack.api(token=token)
    body = {"name": "invoice 7", "task_type": "invoice", "celery_task_name": "shop.tasks.render", "args": [7]}
    ids.append(http.post("/api/v1/tasks/", json=body, headers=bearer(token)).json()["id"])
    for each in ids:
        ended = http.get(f"/api/v1/tasks/{each}?wait=30").json()
        assert (ended["status"], ended["result"], ended["attempt"]) == ("succeeded", RENDERED, 2)
    refused = http.post("/api/v1/tasks/", json=body | {"args": ["7"]})
    assert refused.status_code == 422
    refused = http.post("/api/v1/tasks/", json=body | {"celery_task_name": "shop.tasks.tidy", "args": []})
    assert refused.status_code in {403, 422}
