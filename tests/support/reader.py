"""Somebody who has a checkout and a running service, opens a shell in the checkout, and pastes what a document shows."""

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from app.launcher.processes import ManagedProcess
from tests.support.pages import MARK, Block, Page, without
from tests.support.services import ROOT, process_environment

SECONDS = 80.0
BASH = shutil.which("bash") or "bash"
DATA = ".data/env"
# A reader is slower than a worker, on any machine: the pause between two blocks waits until no task of the reader waits.
PRELUDE = """\
exec 2>>shell.log
asks() {{ curl -sS "{url}/api/v1/tasks/$1" -H "Authorization: Bearer $TOKEN"; }}
pause() {{ [ -z "${{TOKEN-}}" ] || until asks count | grep -q '"pending":0'; do command sleep 0.05; done; }}
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
"""


@dataclass(frozen=True)
class Ran:
    """What a block printed."""

    block: Block
    output: str


class Reader:
    """`url`: of the service; `env`: what run_server.py left in `.data/env`; `changed`: texts of the documents to replace."""

    def __init__(self, folder: Path, url: str, env: str, changed: Mapping[str, str]) -> None:
        self.folder, self.url = folder, url
        self.changed = {"http://localhost:8000": url, **changed}
        _check_out(folder)
        (folder / ".data").mkdir()
        (folder / DATA).write_text(env, encoding="utf-8")

    def adapted(self, text: str) -> str:
        for shown, here in self.changed.items():
            text = text.replace(shown, here)
        return text

    def read(self, page: Page, left_out: Mapping[str, str], given: str = "") -> list[Ran]:
        """Paste the page's blocks in one shell, after those of the tour that it takes for read."""
        before = [block for block in Page("tour.md").blocks if block.language == "bash"]
        taken = [block for heading in page.needed() for block in before if block.heading.lower() == heading]
        steps = [(block, block.text) for block in taken] + _steps(page, left_out)
        printed = self.shell(given + "".join(f"\npause\nprintf '{MARK}'\n{text}\n" for _, text in steps)).split(MARK)[
            1:
        ]
        assert len(printed) == len(steps)
        return [Ran(block, output) for (block, _), output in zip(steps, printed, strict=True)][len(taken) :]

    def shell(self, script: str) -> str:
        """What `bash -euo pipefail` prints for it, in a clean environment; it must succeed."""
        output, errors = self.folder / "output", self.folder / "shell.log"
        output.unlink(missing_ok=True)
        errors.touch()
        text = PRELUDE.format(url=self.url) + self.adapted(script)
        command = [BASH, "-euo", "pipefail", "-c", text]
        process = ManagedProcess(command, log=output, env=_clean_environment(), cwd=self.folder)
        process.start()
        code = process.wait(SECONDS)
        process.kill()
        printed = output.read_text(encoding="utf-8")
        assert code == 0, f"exit code {code}, after:\n{printed}\n{errors.read_text(encoding='utf-8')}"
        return printed


def _steps(page: Page, left_out: Mapping[str, str]) -> list[tuple[Block, str]]:
    """Programs go into their files. A command that stands before the program that it runs is pasted after each one."""
    steps: list[tuple[Block, str]] = []
    runners: dict[str, Block] = {}
    files = {block.file for block in page.blocks if block.file}
    saved: set[str] = set()
    for block in page.blocks:
        if block.language == "bash":
            early = [file for file in files - saved if block.runs(file)]
            runners |= dict.fromkeys(early, block)
            text, _ = without(block.text, left_out)
            if text.strip() and not early:
                steps.append((block, text))
        elif file := block.file:
            into = ">" if file in runners or file not in saved else ">>"
            saved.add(file)
            run = runners[file].text if file in runners else ""
            steps.append((block, f"cat {into} {file} <<'END OF FILE'\n\n{block.text}END OF FILE\n{run}"))
    return steps


def _check_out(folder: Path) -> None:
    """The parts of the project that a command may read, and `.venv`; a copy of what it may write to."""
    folder.mkdir()
    for name in ("tests", "alembic.ini", "pyproject.toml", "run_server.py"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "app", folder / "app", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".venv").symlink_to(sys.prefix)


def _clean_environment() -> dict[str, str]:
    """As after a login: no .venv is active."""
    variables = process_environment({})
    paths = [path for path in variables["PATH"].split(os.pathsep) if not Path(path).is_relative_to(sys.prefix)]
    kept = {name: value for name, value in variables.items() if not name.startswith(("PYTHON", "COV"))}
    return {**kept, "PATH": os.pathsep.join(paths)}


def commands(text: str) -> list[list[str]]:
    """The words of each command of a block of plain commands."""
    return [shlex.split(line) for line in text.replace("\\\n", " ").splitlines()]
