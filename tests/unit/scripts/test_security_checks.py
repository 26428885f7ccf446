"""Each check of `security_test.py` passes on a service that behaves, and fails on one that is weak in just that."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import security_test
import tests.security  # noqa: F401 (registers the checks)
from app.launcher.ports import free_loopback_port
from tests.security.registry import CHECKS, GROUPS, Check, run_one
from tests.security.target import Target, prepare
from tests.support.loopback import loopback
from tests.support.weak_service import WeakService


@contextmanager
def target_of(weak: str) -> Iterator[Target]:
    with WeakService(weak) as service, prepare(loopback(service.url), None, None) as target:
        yield target


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.key)
def test_fails_on_a_service_that_is_weak_in_it(check: Check) -> None:
    with target_of(check.key) as target:
        result = run_one(check, target)
    assert result.outcome == "failed"
    assert result.detail


def test_every_check_has_a_key_of_its_own_and_a_group_of_the_report() -> None:
    assert len({check.key for check in CHECKS}) == len(CHECKS) >= 40
    assert {check.group for check in CHECKS} == set(GROUPS)


def test_where_the_pages_are_turned_off_there_is_nothing_to_probe() -> None:
    of_pages = [check for check in CHECKS if check.run.__module__ == "tests.security.pages"]
    with target_of("without_pages") as target:
        assert {run_one(check, target).outcome for check in of_pages} == {"passed"}


def test_an_answer_of_another_shape_is_a_failure_not_a_crash() -> None:
    check = Check("odd", GROUPS[0], "odd", lambda target: target.ask("GET", "//docs").json())
    with target_of("") as target:
        assert run_one(check, target).outcome == "failed"


class TestCommand:
    def test_passes_a_service_that_behaves(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with WeakService() as service:
            code = security_test.main([service.url, "--json", str(tmp_path / "s.json")])
        assert code == 0, capsys.readouterr().out
        checks = json.loads((tmp_path / "s.json").read_text())["checks"]
        assert len(checks) == len(CHECKS)
        assert {check["outcome"] for check in checks} == {"passed"}

    def test_fails_a_weak_one_and_says_in_what(self, capsys: pytest.CaptureFixture[str]) -> None:
        with WeakService("algorithm_none") as service:
            assert security_test.main([service.url]) == 1
        assert "FAIL  A token with the algorithm none is answered 401 — alg none: 200" in capsys.readouterr().out

    def test_a_server_that_is_not_there_is_a_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert security_test.main([f"http://127.0.0.1:{free_loopback_port()}"]) == 2
        said = capsys.readouterr()
        assert said.err.startswith("error: ")
        assert said.out == ""

    def test_names_the_accounts_that_it_cannot_delete(self, capsys: pytest.CaptureFixture[str]) -> None:
        with WeakService() as service:
            assert security_test.main([service.url]) == 0
        said = capsys.readouterr().out
        (line,) = [line for line in said.splitlines() if line.startswith("left behind: ")]
        assert all(f"{name}-" in line for name in ("alice", "mallory", "otto"))
        # Though the checks have closed a login by guesses, and put a second factor before another.
        assert "clearing up ended early" not in said
        assert "DELETE /api/v1/users/ID" in line
