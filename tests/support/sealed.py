"""Commands of the image in what the image would give them: see `sealed.sh`."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support import reaper
from tests.support.services import ROOT

SCRIPT = Path(__file__).with_name("sealed.sh")
IMAGE_USER = 10001
UNSHARE = shutil.which("unshare") or "unshare"
NAMESPACES = (UNSHARE, "--mount", *(() if os.geteuid() == 0 else ("--user", "--map-root-user")))


class Sealed:
    """`argv(…)` starts a command sealed, `environment(…)` is all that it gets; `why_not()` tells where that is impossible."""

    def __init__(self, directory: Path) -> None:
        self.root, self.data = directory / "root", directory / "data"
        self.root.mkdir()
        self.data.mkdir()
        self.user = IMAGE_USER if os.geteuid() == 0 else 0
        if self.user:
            os.chown(self.data, self.user, self.user)
        self.venv = Path(sys.prefix).resolve()
        variables = {"PATH": f"{self.venv}/bin:/usr/bin:/bin", "HOME": "/srv", "LANG": "C.UTF-8"}
        variables |= {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        # By this mark the session finds what is left of its processes.
        self._variables = {**variables, reaper.VARIABLE: os.environ[reaper.VARIABLE]}

    def environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        return {**self._variables, **settings}

    def argv(self, *command: str) -> list[str]:
        places = [self.root, self.data, ROOT, self.venv, Path(sys.base_prefix).resolve()]
        return [*NAMESPACES, "sh", str(SCRIPT), *map(str, places), str(self.user), *command]

    def run(self, *command: str, settings: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        given = self.environment(settings)
        return subprocess.run(self.argv(*command), env=given, capture_output=True, text=True, check=False, timeout=60)

    def why_not(self) -> str:
        """Empty where commands can be sealed; some containers allow no mounts."""
        try:
            probe = [*NAMESPACES, "mount", "-t", "tmpfs", "probe", str(self.root)]
            done = subprocess.run(probe, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            return str(error)
        return done.stderr if done.returncode else ""


def shell(command: Sequence[str]) -> list[str]:
    """A health check of docker-compose.yml as a command."""
    kind, *rest = command
    return ["sh", "-c", rest[0]] if kind == "CMD-SHELL" else list(rest)
