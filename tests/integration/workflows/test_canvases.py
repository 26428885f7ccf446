"""A canvas gives the same results as a workflow as it gives in Celery."""

import random
import subprocess
import sys

import pytest

from tests.support.services import ROOT, Services

MOST_SEEDS = 10**6  # what fails says which one it was


def compare(services: Services, number: int, seed: int) -> None:
    command = [sys.executable, "-m", "tests.support.canvases", services.new_broker(), str(number), str(seed)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]


def test_of_random_canvases_both_results_are_the_same(services: Services) -> None:
    compare(services, 10, random.randrange(MOST_SEEDS))


@pytest.mark.full
def test_of_many_random_canvases_both_results_are_the_same(services: Services) -> None:
    compare(services, 300, random.randrange(MOST_SEEDS))
