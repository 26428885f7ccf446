"""What the report page and the runner make of a run's JSON."""

import json
from pathlib import Path
from typing import Any

from tests.performance.findings import Findings
from tests.performance.goals import Comparison, Goal
from tests.performance.machine import machine
from tests.report import scripts
from tests.report.measures import performance_section


def figures(*found: Findings) -> dict[str, Any]:
    return {
        "server": "a server", "clients": 32, "size": "quick", "machine": machine("c", 1), "endpoints": [],
        "sections": [findings.as_json() for findings in found],
    }  # fmt: skip


def cases(tmp_path: Path, *found: Findings) -> list[tuple[str, str]]:
    (tmp_path / "p.json").write_text(json.dumps(figures(*found)), encoding="utf-8")
    return [(case.name, case.outcome) for case in scripts._cases("performance", tmp_path / "p.json")]


class TestCases:
    def test_a_goal_that_is_not_reached_fails_nothing(self, tmp_path: Path) -> None:
        missed = Findings("run", [Comparison("x", "y", Goal(at_least=5), [1.0])])
        assert cases(tmp_path, missed) == [("run", "passed")]

    def test_an_error_fails_its_section(self, tmp_path: Path) -> None:
        broken = Findings("run", [Comparison("x", "y", Goal(at_least=5), [9.0])], errors=["HTTP 503"])
        assert cases(tmp_path, broken) == [("run", "failed")]

    def test_what_was_not_there_is_skipped(self, tmp_path: Path) -> None:
        absent, partly = Findings("live"), Findings("submit", [Comparison("x", "y", Goal(), [1.0])])
        absent.skip("events", "Redis", "they are not there")
        partly.skip("flower", "—", "it is not installed")
        assert cases(tmp_path, absent, partly) == [("live", "skipped"), ("submit", "passed")]


class TestPage:
    def test_shows_the_comparisons_and_every_picture_beside_the_first(self, tmp_path: Path) -> None:
        for name in ("performance.png", "performance-goals.png", "performance-latency.png", "other.png"):
            (tmp_path / name).write_bytes(b"png")
        found = Findings("run", [Comparison("<no-op>", "raw", Goal(at_least=5), [1.0], "a note")])
        text = performance_section(figures(found), tmp_path / "performance.png")
        assert "&lt;no-op&gt;" in text
        assert '<span class="tag failed">NOT REACHED</span>' in text
        assert "a note" in text
        assert text.count("<img") == 3
        assert '<img alt="performance-goals"' in text

    def test_shows_a_run_of_before_there_were_sections(self, tmp_path: Path) -> None:
        old = {"server": "s", "clients": 32, "endpoints": []}
        assert "Compared" not in performance_section(old, tmp_path / "performance.png")
