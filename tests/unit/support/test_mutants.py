"""The mutants of the fault tests still find what they take out."""

from tests.support.faults.mutants import MUTANTS, mutant
from tests.support.sources import run_program


class TestEveryMutant:
    def test_finds_the_safeguard_that_it_removes(self) -> None:
        program = "import app.celery_app; app.celery_app.celery_app.loader.import_default_modules()"
        run_program(program, **mutant(*MUTANTS))
