"""The mutants of the fault tests still find what they take out."""

import subprocess
import sys

from tests.support.faults.mutants import MUTANTS, mutant
from tests.support.services import ROOT


class TestEveryMutant:
    def test_finds_the_safeguard_that_it_removes(self) -> None:
        program = "import app.celery_app; app.celery_app.celery_app.loader.import_default_modules()"
        environment = {"PYTHONPATH": str(ROOT), **mutant(*MUTANTS)}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
