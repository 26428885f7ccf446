"""docker-compose.yml, brought up on an engine under a name of its own."""

import json
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import httpx

from app.launcher.environment import read_env
from app.launcher.ports import free_loopback_port
from tests.support import accounts
from tests.support.compose.engine import CommandFailed, Engine
from tests.support.containers import ROOT, documented_secrets
from tests.support.waiting import answers, wait_for

UP_SECONDS = 180.0


class Deployment:
    """`with Deployment(engine, directory, image, …) as deployment:` brings everything up, until it is ready.

    `settings` stand in its `.env` besides.
    """

    def __init__(self, engine: Engine, directory: Path, image: str, **settings: str) -> None:
        self.engine, self.port = engine, free_loopback_port()
        env_file = directory / ".env"
        subprocess.run(["bash", "-euc", documented_secrets()], cwd=directory, check=True)
        self.secrets = read_env(env_file)
        with env_file.open("a") as file:
            settings |= {"API_PORT": str(self.port), "ENV_FILE": str(env_file), "TASK_SERVICE_IMAGE": image}
            file.writelines(f"{name}={value}\n" for name, value in settings.items())
        self.variables = read_env(env_file)
        self._project = f"task-service-{secrets.token_hex(4)}"
        places = [
            "--project-directory",
            str(ROOT),
            "--file",
            str(ROOT / "docker-compose.yml"),
            "--env-file",
            str(env_file),
        ]
        self._command = ["docker-compose", *places, "--project-name", self._project]

    def __enter__(self) -> Self:
        try:
            self.up()
            wait_for(self.is_ready, UP_SECONDS, "the API to be ready")
        except (CommandFailed, AssertionError) as error:
            error.add_note(self.logs())
            self.down()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.down()

    def compose(self, *arguments: str, seconds: float = UP_SECONDS) -> str:
        """A command of docker-compose; its stdout."""
        return self.engine.run(*self._command, *arguments, seconds=seconds)

    def up(self, *options: str) -> None:
        """`docker compose up`, without pulling and building."""
        self.compose("up", "--detach", "--no-build", "--pull", "never", *options)

    def down(self) -> None:
        """End and remove all of it, the volumes too."""
        self.compose("down", "--volumes", "--timeout", "20")

    def containers(self, service: str) -> list[str]:
        """The ids of the containers of a service that run."""
        return self.compose("ps", "--quiet", service).split()

    def exec(self, service: str, *command: str) -> str:
        """Run a command in a service's first container; its stdout."""
        return self.engine.run("podman", "exec", self.containers(service)[0], *command)

    def environment_of(self, service: str) -> dict[str, str]:
        """The variables with which the first container of a service was made."""
        (container,) = self.compose("ps", "--all", "--quiet", service).split()[:1]
        (found,) = json.loads(self.engine.run("podman", "inspect", container))
        return dict(entry.split("=", 1) for entry in found["Config"]["Env"])

    def health(self) -> dict[str, str]:
        """{container: `healthy`, `unhealthy` or `starting`} of all that run."""
        rows = self.engine.run("podman", "ps", "--format", "{{.Names}} {{.Status}}").splitlines()
        pairs = (row.split(" ", 1) for row in rows if row.startswith(self._project))
        return {name: status.rpartition("(")[2].rstrip(")") for name, status in pairs}

    def logs(self) -> str:
        """What all containers wrote, one after the other."""
        return self.compose("logs", "--no-color")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def is_ready(self) -> bool:
        return answers(self.url, "/readyz", 5)

    @contextmanager
    def client(self) -> Iterator[httpx.Client]:
        """As the first administrator."""
        with httpx.Client(base_url=self.url, timeout=30) as http:
            password = self.variables["FIRST_ADMIN_PASSWORD"]
            http.headers.update(accounts.bearer(accounts.login(http, "admin", password)["access_token"]))
            yield http
