"""The tasks as a worker would run them, without a broker, a worker or a database."""

from pathlib import Path

import pytest
from invoices.tasks import sum_by_customer

from app.testing import TaskRunner

FILE = "019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d14"  # any id


@pytest.fixture
def runner(task_runner: TaskRunner, tmp_path: Path) -> TaskRunner:
    task_runner.files = {FILE: tmp_path / "may.csv"}
    return task_runner


def test_sums_by_customer(runner: TaskRunner) -> None:
    lines = "".join(f"{'ab'[n % 2]},1.50\n" for n in range(2000))
    runner.files[FILE].write_text(f"customer,amount\n{lines}b,?\n")
    run = runner.run(sum_by_customer, FILE)
    assert run.status == "succeeded", run.error
    assert (run.result["customers"], run.result["total"], run.result["left_out"]) == (2, "3000.00", 1)
    assert run.artifacts["sums-may.csv"].decode().splitlines() == ["customer,amount in EUR", "a,1500.00", "b,1500.00"]
    assert run.output("steps") == [{"lines": 1000, "customers": 2}, {"lines": 2000, "customers": 2}]


def test_of_another_file_says_what_is_missing(runner: TaskRunner) -> None:
    runner.files[FILE].write_text("name\nx\n")
    run = runner.run(sum_by_customer, FILE)
    assert (run.status, run.error.message) == ("failed", "may.csv has no column amount, customer")


def test_stops_when_it_is_cancelled(runner: TaskRunner) -> None:
    runner.files[FILE].write_text("customer,amount\n" + "a,1\n" * 5000)
    runner.cancel_after = 2
    run = runner.run(sum_by_customer, FILE)
    assert (run.status, run.artifacts) == ("revoked", {})
