"""The release that comes next: the code as it is, with the revisions of `example_revisions/` and words that this code does not know."""

import shutil
import subprocess
import sys
from pathlib import Path

from app.db.compatibility import read_revisions
from tests.support.services import ROOT, process_environment
from tests.support.sources import APP

EXAMPLES = ROOT / "tests" / "support" / "example_revisions"
HELD, OUTCOME, REASON = "approval", "skipped", "superseded"
# By file: behind which line which line stands.
_WORDS = {
    "models/task.py": {
        '    DEPENDENCY = "dependency"\n    """A task that it': f'    APPROVAL = "{HELD}"\n',
        '    HANDED_BACK = "handed_back"\n': f'    SKIPPED = "{OUTCOME}"\n',
    }
}
SECONDS = 120


def add_revisions(directory: Path) -> None:
    """Write the example revisions there, behind the newest one of the code."""
    head, _ = read_revisions()
    for path in EXAMPLES.glob("*.py"):
        (directory / path.name).write_text(path.read_text().replace('"HEAD"', f'"{head}"'))


class NextRelease:
    """Its code in a directory. `env` has a process run it, where the process is given these variables."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        shutil.copytree(APP, directory / "app", ignore=shutil.ignore_patterns("__pycache__"))
        add_revisions(directory / "app" / "migrations" / "versions")
        for name, words in _WORDS.items():
            path = directory / "app" / name
            text = path.read_text()
            for known, word in words.items():
                assert text.count(known) == 1, known
                text = text.replace(known, word + known)
            path.write_text(text)
        self.env = {"PYTHONPATH": f"{directory}:{ROOT}"}
        self._directory = directory

    def migrate(self, settings: dict[str, str]) -> None:
        """Bring the database of these settings to its newest revision, as a deploy does."""
        done = subprocess.run(
            [sys.executable, "-m", "app", "migrate"], cwd=self._directory,
            env=process_environment({**settings, **self.env}), check=False, capture_output=True, text=True, timeout=SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
