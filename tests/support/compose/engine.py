"""podman with storage, network and runtime files of its own, and the API of it that docker-compose speaks to."""

import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from app.launcher.processes import ManagedProcess
from tests.support import reaper
from tests.support.waiting import wait_for

PROGRAMS = ("podman", "runc", "docker-compose", "debootstrap", "catatonit", "nft")
HEALTH_SECONDS = 1.0
STEADY_SECONDS = 60.0  # between two checks of a healthy container
START_SECONDS = 60.0


class EngineUnavailable(Exception):
    """This machine can run no containers; the message says why, in one line."""


def why_not() -> str:
    """What is missing here to run containers; empty if nothing is. `.ci/run` installs the programs on Debian."""
    if sys.platform != "linux":
        return "podman runs on Linux"
    if os.geteuid() != 0:
        return "containers of several users need root"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


class Engine:
    """`with Engine(directory):` serves podman's API and runs health checks. Images stay in the directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "podman.sock"
        self.environment = {
            **_passed_on(),
            "CONTAINERS_CONF": str(directory / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(directory / "storage.conf"),
            "DOCKER_HOST": f"unix://{self.socket}",
            "PODMAN_IGNORE_CGROUPSV1_WARNING": "1",
        }
        self._stopped = threading.Event()
        self._health = threading.Thread(target=self._check_health, daemon=True)

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._configure()
        self.socket.unlink(missing_ok=True)
        command = [shutil.which("podman") or "podman", "system", "service", "--time=0", self.environment["DOCKER_HOST"]]
        self._service = ManagedProcess(command, log=self.directory / "service.log", env=self.environment)
        self._service.start()
        wait_for(lambda: self.socket.exists() or not self._service.running, START_SECONDS, "podman to serve its API")
        if not self._service.running:
            raise EngineUnavailable(f"podman does not start: {' '.join(self._service.tail(2))}")
        self._health.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stopped.set()
        self._health.join(START_SECONDS)
        self._service.kill()

    def _configure(self) -> None:
        """Containers get the limits of this process: raising them may not be allowed."""
        kinds = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
        self.limits = [f"{name}={_text(soft)}:{_text(soft)}" for name, (soft, _) in _limits(kinds).items()]
        quoted = ", ".join(f'"{limit}"' for limit in self.limits)
        (self.directory / "containers.conf").write_text(
            f"[containers]\ndefault_ulimits = [{quoted}]\n"
            f'[engine]\nruntime = "runc"\nlock_type = "file"\ntmp_dir = "{self.directory}/tmp"\n'
            f'[network]\nnetwork_config_dir = "{self.directory}/networks"\n'
        )
        (self.directory / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{self.directory}/storage"\nrunroot = "{self.directory}/run"\n'
        )

    def run(self, *command: str | Path, seconds: float = 60) -> str:
        """Run a command against this engine and return its stdout. Raises CommandFailed with its last lines."""
        done = subprocess.run(
            command, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds,
            check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise CommandFailed(f"{' '.join(map(str, command[:3]))}: {_tail(done.stdout + done.stderr)}")
        return done.stdout

    def build(self, tag: str, dockerfile: Path, context: Path, seconds: float = 600) -> None:
        """Build an image with the network of this machine. Isolated no more than a chroot, which needs no cgroups."""
        options = ["--isolation=chroot", "--network=host", "--format=docker", "--pull=never", "--quiet"]
        limits = [word for limit in self.limits for word in ("--ulimit", limit)]
        command = ["podman", "build", *options, *limits, "--tag", tag, "--file", str(dockerfile), str(context)]
        self.run(*command, seconds=seconds)

    def _check_health(self) -> None:
        """Those of new containers at once, later ones rarely: a worker's takes seconds of a core."""
        due: dict[str, float] = {}
        while not self._stopped.wait(HEALTH_SECONDS):
            rows = self._unchecked("podman", "ps", "--format", "{{.ID}} {{.Status}}").splitlines()
            for name, status in (row.split(" ", 1) for row in rows):
                if "(healthy)" not in status or time.monotonic() > due.get(name, 0):
                    self._unchecked("podman", "healthcheck", "run", name)
                    due[name] = time.monotonic() + STEADY_SECONDS

    def _unchecked(self, *command: str) -> str:
        """A container may end meanwhile, and a check may fail or hang: podman records it."""
        try:
            done = subprocess.run(
                command, env=self.environment, capture_output=True, text=True, check=False, timeout=30
            )
        except subprocess.TimeoutExpired:
            return ""
        return done.stdout


class CommandFailed(Exception):
    """A command of the engine ended with an error."""


def _passed_on() -> dict[str, str]:
    """Nothing that docker-compose.yml would take for a setting."""
    kept = ("PATH", "HOME", "TMPDIR", "LANG", reaper.VARIABLE)
    return {name: value for name, value in os.environ.items() if name in kept or name.lower().endswith("_proxy")}


def _limits(kinds: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    return {name: resource.getrlimit(number) for name, number in kinds.items()}


def _text(limit: int) -> str:
    return "-1" if limit == resource.RLIM_INFINITY else str(limit)


def _tail(output: str, lines: int = 15) -> str:
    return "\n".join(output.strip().splitlines()[-lines:])
