"""The table is whole: every row, every note, every error, as text and as Markdown."""

import platform
from pathlib import Path

import pytest

from tests.performance.documents import filled, write
from tests.performance.findings import Findings
from tests.performance.goals import Comparison, Goal
from tests.performance.machine import flush_seconds, machine
from tests.performance.table import costs, markdown, printed

DOCS = Path(__file__).resolve().parents[3] / "docs"


def found() -> list[Findings]:
    one = Findings("submit", [Comparison("requests/s", "by hand", Goal(at_least=5), [4.0, 6.0, 7.0], "a note")])
    one.skip("batch", "single submits", "it is not there")
    return [one, Findings("run", errors=["RuntimeError: it broke\nand how"])]


class TestPrinted:
    def test_tells_rows_notes_skips_and_errors(self) -> None:
        text = printed(found())
        assert text.splitlines()[2].split() == ["requests/s", "by", "hand", "≥", "5", "×", "6", "×", "(4–7)", "reached"]
        assert "      a note" in text
        assert "      skipped: it is not there" in text
        assert "ERROR in run: RuntimeError: it broke" in text

    def test_tells_what_each_way_took(self) -> None:
        one = Findings("run")
        one.details["ours"] = {
            "per_second": [400.0, 500.0, 900.0],
            "cpu_microseconds_each": {"generator": 30.0, "parent": 900.0},
        }
        one.details["turns"] = [1]
        assert costs([one]) == (
            ("section", "way", "a second", "parent", "generator"),
            [("run", "ours", "500", "900", "30")],
        )
        one.rows = found()[0].rows
        assert printed([one]).splitlines()[-1].split() == ["run", "ours", "500", "900", "30"]
        assert "| run | ours | 500 | 900 | 30 |" in markdown([one], machine("c", 1))["table"]

    def test_is_nothing_of_nothing(self) -> None:
        assert printed([Findings("run")]) == ""


class TestMarkdown:
    def test_says_where_with_what_and_how(self) -> None:
        text = markdown(found(), machine("python performance_test.py --only submit", 3))["table"]
        assert "`python performance_test.py --only submit`, rounds: 3" in text
        assert "celery 5" in text
        assert "a flush to disk of " in text
        assert "| requests/s | by hand | ≥ 5 × | 6 × (4–7) | yes | a note |" in text
        assert "- run: RuntimeError: it broke" in text

    def test_a_bar_stays_in_its_cell(self) -> None:
        text = markdown([Findings("x", [Comparison("a|b", "—", Goal(), [1.0])])], machine("c", 1))["table"]
        assert "| a\\|b | — |" in text

    def test_brings_what_the_capacity_page_needs(self) -> None:
        details = {
            "cpu_microseconds": {"submit": {"API": 400.0, "PostgreSQL": 100.0}},
            "counts": {"submit": {"SQL statements": 2.0, "broker commands": 1.0, "broker lpush": 1.0}},
            "statements": {"submit": [{"statement": "INSERT INTO tasks", "each": 0.1, "microseconds": 250.0}]},
            "machines": [{"cores": 2, "tasks/s": 800}],
            "loads": [{"tasks/s": 10_000, "brokers": 3}],
            "one_broker_tasks_per_second": 3500.0,
            "mix": {"reads": 2, "reports": 0, "body_seconds": 0},
        }
        blocks = markdown([Findings("capacity", details=details)], machine("c", 1))
        assert blocks.keys() == {"capacity"}  # the table of a run without rows would replace one with rows
        text = blocks["capacity"]
        assert text.endswith(printed([Findings("capacity", details=details)]).strip())
        assert "| submit | 400 | 100 | 500 |" in text
        assert "| submit | 2 | 1 | lpush 1 |" in text
        assert "| submit | `INSERT INTO tasks` | 0.1 | 250 |" in text
        assert "one broker is full at 3,500 tasks/s" in text
        assert "| cores | tasks/s |\n| --- | --- |\n| 2 | 800 |" in text
        assert "| 10000 | 3 |" in text


def test_a_flush_takes_some_time() -> None:
    assert 0 < flush_seconds() < 60


class TestDocuments:
    def test_fill_the_places_that_a_document_has(self) -> None:
        text = "a\n<!-- figures: table -->\nold\n<!-- end of figures -->\nb\n<!-- figures: x -->\nkept\n<!-- end of figures -->\n"
        assert filled(text, {"table": r"new \1", "unknown": "-"}) == text.replace("\nold\n", "\n\nnew \\1\n\n")

    def test_write_a_file_without_places_whole(self, tmp_path: Path) -> None:
        write(tmp_path / "new.md", {"table": "one", "capacity": "two"})
        write(tmp_path / "new.md", {"table": "three"})
        assert (tmp_path / "new.md").read_text() == "three\n"

    @pytest.mark.parametrize(("name", "block"), [("performance.md", "table"), ("capacity.md", "capacity")], ids=str)
    def test_the_published_ones_have_their_place(self, name: str, block: str) -> None:
        text = (DOCS / name).read_text(encoding="utf-8")
        assert "\nfigures of today\n" in (filled(text, {block: "figures of today"}) or "")


def test_the_machine_is_told_without_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: "a-host-of-ours")
    assert "a-host-of-ours" not in str(machine("c", 1))
