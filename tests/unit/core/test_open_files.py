"""The limit of open files, in processes of their own."""

import pytest

from tests.support.sources import run_program


@pytest.mark.parametrize(("soft", "hard", "then"), [(64, 256, 256), (256, 256, 256), (200, 100_000_000, None)])
def test_the_soft_limit_is_raised_to_the_hard_one(soft: int, hard: int, then: int | None) -> None:
    program = (
        "import resource; from app.core.api_process import *;"
        "present = resource.getrlimit(resource.RLIMIT_NOFILE)[1];"
        f"hard = {hard} if present == resource.RLIM_INFINITY else min({hard}, present);"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, hard));"
        "raise_open_files_limit(); raise_open_files_limit();"
        f"assert open_files_limit() == ({then} or min(hard, MOST_FILES)), open_files_limit()"
    )
    run_program(program)
