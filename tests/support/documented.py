"""A deployment as the documents describe it, for tests that run what they show."""

import os
from pathlib import Path

import httpx
import pytest

from app.launcher.environment import PASSWORD, URL, Environment
from app.launcher.ports import free_loopback_port
from tests.support.accounts import bearer, login
from tests.support.pages import Page
from tests.support.reader import Reader, commands
from tests.support.running import TASKS
from tests.support.services import ROOT, Services
from tests.support.stack import Part, Stack

PAGES = {name: Page(name) for name in ("README.md", *sorted(path.name for path in (ROOT / "docs").glob("*.md")))}
# Python that is a module of tasks, which a worker loads.
MODULES = {
    "README.md": "myteam.totals",
    "files.md": "myteam.lines",
    "recipes.md": "myteam.nightly",
    "steps.md": "myteam.orders",
    "writing-tasks.md": "myteam.tasks",
}
FOLDER = "/srv/mine"  # where the pages keep modules of tasks
# In the page that starts servers: where it starts those for production, those for development, and more workers.
PRODUCTION, DEVELOPMENT, MORE_WORKERS = "--workers 2", "--reload", ("-Q high_priority", "-Q low_priority")
READY = {"uvicorn": "Application startup complete.", "worker": " ready.", "beat": "beat: Starting..."}


class Deployment:
    """Started with the commands of docs/deployment.md, and the variables that the pages give to run_server.py."""

    def __init__(self, services: Services, directory: Path) -> None:
        self.stack, self.directory, self.mine = Stack(services, directory), directory, directory / "mine"
        self.stack.port = free_loopback_port()
        self.receiver_port = free_loopback_port()
        for name, module in MODULES.items():
            file = self.mine / f"{module.replace('.', '/')}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(PAGES[name].module(module), encoding="utf-8")
        self.values, self.env = self._environment()
        self.http = httpx.Client(base_url=self.stack.url, timeout=70)
        self.prepared = ""  # what the commands printed that go before the servers
        self.stack.settings |= {**self.values, "PYTHONPATH": f"{ROOT}{os.pathsep}{self.mine}"}

    def _environment(self) -> tuple[dict[str, str], str]:
        """What run_server.py gives its parts, and what it writes to `.data/env`."""
        for name in ("files.md", "recipes.md", "steps.md", "writing-tasks.md"):
            shown = PAGES[name].variables("python3 run_server.py")
            assert shown == {"PYTHONPATH": FOLDER, "TASK_MODULES": MODULES[name]}
        given = {**PAGES["webhooks.md"].variables("python3 run_server.py"), **self.stack.settings}
        given |= {"PYTHONPATH": str(self.mine), "TASK_MODULES": ",".join(MODULES.values())}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in given.items():
                patch.setenv(name, value)
            made = Environment(self.directory, self.directory / "env")
        made.values[URL] = self.stack.url
        made.write()
        return made.values, made.env_file.read_text(encoding="utf-8")

    def reader(self, folder: Path) -> Reader:
        shorter = {'"args": [60]': '"args": [2]'}
        port = {f"127.0.0.1{to}9000": f"127.0.0.1{to}{self.receiver_port}" for to in (":", '", port=')}
        return Reader(folder, self.stack.url, self.env, {**shorter, **port, FOLDER: str(self.mine)})

    def start(self) -> None:
        with_database = [words for words in self._shown(PRODUCTION) if words[0] in ("alembic", "python")]
        script = "\n".join([". .venv/bin/activate", "set -a; . .data/env", *map(" ".join, with_database)])
        self.prepared = self.reader(self.directory / "project").shell(script)
        self.servers([words for block in (PRODUCTION, *MORE_WORKERS) for words in self._shown(block)], self.stack.port)
        pair = login(self.http, self.values["FIRST_ADMIN_USERNAME"], self.values[PASSWORD])
        self.http.headers.update(bearer(pair["access_token"]))

    def develop(self) -> None:
        """Start what the page has for development as well, and stop it again."""
        for part in self.servers(self._shown(DEVELOPMENT), free_loopback_port()):
            part.stop(20)

    def servers(self, wanted: list[list[str]], port: int) -> list[Part]:
        """Those of the commands that start a server, once all are ready."""
        started = []
        for words in wanted:
            kind = next((kind for kind in READY if kind in words), None)
            bound = [str(port) if word == "8000" else word for word in words]
            if kind == "uvicorn" and "--port" not in words:
                bound += ["--port", str(port)]
            if kind:
                started.append((self.stack.start_part(kind, bound, None), READY[kind]))
        for part, line in started:
            part.await_line(line)
        return [part for part, _ in started]

    @staticmethod
    def _shown(words: str) -> list[list[str]]:
        (block,) = (
            block for block in PAGES["deployment.md"].blocks if block.language == "bash" and words in block.text
        )
        return commands(block.text)

    def create(self, name: str, **arguments: object) -> httpx.Response:
        body = {"name": name, "task_type": "documents", "celery_task_name": name, "kwargs": arguments}
        return self.http.post(TASKS, json=body)

    def ended(self, answer: httpx.Response) -> dict[str, object]:
        assert answer.status_code == 201, answer.text
        ended = self.http.get(f"{TASKS}{answer.json()['id']}", params={"wait": 60}).json()
        assert ended["progress"] == 100 or ended["status"] != "succeeded"
        return dict(ended)

    def result(self, name: str, **arguments: object) -> object:
        ended = self.ended(self.create(name, **arguments))
        assert ended["status"] == "succeeded", ended
        return ended["result"]

    def end_all(self) -> None:
        """A page leaves tasks behind that run for ten minutes."""
        for task in self.http.get(TASKS, params={"status": ["pending", "running"]}).json():
            self.http.post(f"{TASKS}{task['id']}/cancel")

    def close(self) -> None:
        self.http.close()
        self.stack.close()
