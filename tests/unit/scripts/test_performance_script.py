"""`performance_test.py` tells the truth: errors are counted, figures are right, load stays on this machine."""

import asyncio
import json
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import performance_test
from app.launcher.ports import free_loopback_port
from tests.performance import sections
from tests.performance.capacity import FULL, Costs, Mix, microseconds, most, one_broker, plan
from tests.performance.documents import filled
from tests.performance.figures import Row, percentile
from tests.performance.findings import Findings
from tests.performance.goals import Comparison, Goal
from tests.performance.load import Endpoint, Measured, measure
from tests.performance.machine import machine
from tests.performance.scenario import HEALTHZ
from tests.performance.slices import Way, keep
from tests.performance.table import markdown, printed
from tests.performance.wire import Request
from tests.support.loopback import Address, NotLoopback, loopback
from tests.support.services import ROOT
from tests.support.tools import needs
from tests.unit.outbound.web_server import Handler, Web, reply


def measured(*milliseconds: float, errors: dict[str, int] | None = None) -> Measured:
    return Measured([value / 1000 for value in milliseconds], Counter(errors or {}), seconds=1.0)


class TestLoopback:
    def test_takes_this_machine(self) -> None:
        own = ("http://127.0.0.1:8000", "http://localhost:1", "http://[::1]:8000/x", "http://127.9.9.9")
        assert [loopback(url).host for url in own] == ["127.0.0.1", "127.0.0.1", "::1", "127.9.9.9"]

    def test_refuses_everything_else(self) -> None:
        others = (
            "http://10.0.0.1", "http://127.0.0.1.example.com", "http://user@example.com", "http://2130706433", "//127.0.0.1",
            "http://[::ffff:8.8.8.8]", "http://0.0.0.0", "http://127.0.0.1:99999", "http://[", "https://127.0.0.1", "x", "",
        )  # fmt: skip
        taken = []
        for url in others:
            with suppress(NotLoopback):
                taken.append((url, loopback(url)))
        assert taken == []


class TestFigures:
    def test_a_percentile_is_a_measured_value(self) -> None:
        values = [float(value) for value in range(1, 101)]
        assert [percentile(values, share) for share in (0.5, 0.9, 0.99, 1.0)] == [50, 90, 99, 100]
        assert (percentile([7.0], 0.99), percentile([], 0.5)) == (7.0, 0.0)

    def test_a_ratio_is_to_the_slices_measured_beside_it(self) -> None:
        assert Row("x", measured(1, 1), measured(1, 1, 1, 1)).ratio == 0.5

    @pytest.mark.parametrize(
        ("goal", "value", "reached"),
        [(Goal(at_least=5), 5.0, True), (Goal(at_least=5), 4.99, False), (Goal(at_most=2), 2.0, True),
         (Goal(at_most=2), 2.01, False), (Goal(), 7.0, None), (Goal(at_most=0), 0.0, True)],
    )  # fmt: skip
    def test_a_goal_is_reached_at_its_very_figure(self, goal: Goal, value: float, reached: bool | None) -> None:
        assert goal.reached(value) is reached

    def test_a_row_is_judged_by_the_median_of_its_rounds(self) -> None:
        row = Comparison("x", "y", Goal(at_least=5), [1.0, 6.0, 70.0])
        assert (row.verdict, row.measured) == ("reached", "6 × (1–70)")

    def test_capacity_is_limited_by_cores_and_by_one_broker(self) -> None:
        run = {"worker parent": 500.0, "worker children": 300.0, "broker": 200.0}
        costs, bare = Costs({"API": 650.0}, {"API": 100.0}, run, {}), Mix(reads=0)
        assert microseconds(costs, Mix(reads=2, body_seconds=0.5))["worker children"] == 500_300
        assert most(costs, 2, bare).tasks_per_second == pytest.approx(2 * FULL * 1e6 / 1650)
        assert most(costs, 1000, bare).tasks_per_second == pytest.approx(one_broker(costs, bare))
        assert (plan(costs, 4000, bare).api_processes, plan(costs, 4000, bare).workers) == (4, 3)


class TestMeasure:
    @staticmethod
    def measure(url: str, requests: int, seconds: float = 30, endpoint: Endpoint = HEALTHZ) -> Measured:
        return asyncio.run(measure(loopback(url), endpoint, clients=2, requests=requests, seconds=seconds))

    @pytest.fixture
    def url(self, web: Web) -> str:
        web.answer["/healthz"] = reply()
        return web.url()

    def test_counts_answers_and_their_time(self, url: str) -> None:
        result = self.measure(url, 40)
        assert (len(result.latencies), result.errors) == (40, Counter())
        assert result.per_second > 0

    def test_an_unexpected_status_is_an_error(self, url: str) -> None:
        endpoint = Endpoint("GET /tasks/", lambda _: Request("GET", "/api/v1/tasks/"))
        result = self.measure(url, 10, endpoint=endpoint)
        assert (result.errors, result.latencies) == ({"HTTP 404": 10}, [])

    def test_gives_up_on_a_server_that_is_gone(self) -> None:
        result = self.measure(f"http://127.0.0.1:{free_loopback_port()}", 100_000)
        assert (sum(result.errors.values()), result.per_second) == (40, 0)

    def test_begins_nothing_after_its_seconds(self, url: str) -> None:
        assert len(self.measure(url, 100_000, seconds=0.1).latencies) < 100_000


class TestSections:
    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_what_was_measured_before_an_error_is_kept(
        self, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
    ) -> None:
        def broken(_: Any) -> Findings:
            raise error("no such thing")

        modules = {"a": SimpleNamespace(measure=broken), "b": SimpleNamespace(measure=lambda _: Findings("b"))}
        monkeypatch.setattr(sections, "import_module", lambda name: modules[name.rpartition(".")[2]])
        found = sections.measure_all(SimpleNamespace(forget_account=lambda: None), ["b", "a", "b"], lambda _: None)
        assert [each.section for each in found] == (["b", "a", "b"] if error is ValueError else ["b", "a"])
        assert found[1].errors[0].startswith("ValueError: no such thing" if error is ValueError else "stopped")

    def test_errors_of_every_round_are_told(self) -> None:
        way = Way("POST", Address("127.0.0.1", 1), HEALTHZ, 1)
        way.rounds = [measured(1, errors={"HTTP 503": 2}), measured(1, errors={"HTTP 503": 3})]
        findings = Findings("submit")
        keep(findings, [way])
        assert findings.errors == ["POST: {'HTTP 503': 5}"]

    def test_what_is_printed_has_every_row_note_and_error(self) -> None:
        one = Findings("submit", [Comparison("requests/s", "by hand", Goal(at_least=5), [4.0, 6.0, 7.0], "a note")])
        text = printed([one, Findings("run", errors=["RuntimeError: it broke"])])
        for told in ("6 × (4–7)", "a note", "run: RuntimeError: it broke"):
            assert told in text

    def test_the_page_has_the_rows_that_are_asked_for_in_its_order_and_every_error(self) -> None:
        names = ("claim at 5,000,000 pending rows", "last message out", "requests/s of POST /tasks/, 32 clients")
        one = Findings("growth", [Comparison(name, "—", Goal(at_least=5), [4.0, 6.0]) for name in names])
        table = markdown([one, Findings("run", errors=["RuntimeError: it broke"])], machine("c", 1))["table"]
        assert [line.split(" | ")[0] for line in table.splitlines() if "5 × (4–6)" in line] == [
            f"| {names[2]}", f"| {names[0]}",
        ]  # fmt: skip
        assert "- run: RuntimeError: it broke" in table

    def test_the_page_has_a_line_for_each_peer(self) -> None:
        starts = {"p50": 11.94, "p99": 33.1}
        row = {"name": "huey", "keeps": "nothing", "per_second": [1800.0, 2000.0, 1900.0], "cpu_microseconds": 690.0,
               "start_milliseconds": starts}  # fmt: skip
        table = markdown([Findings("peers", details={"peers": [row]})], machine("c", 1))["peers"]
        assert table.splitlines()[-1] == "| huey | nothing | 1,900 (1,800–2,000) | 690 | 11.9 · 33.1 |"

    @pytest.mark.parametrize(
        ("name", "block"), [("performance.md", "table"), ("performance.md", "peers"), ("capacity.md", "capacity")]
    )
    def test_the_documents_have_a_place_for_their_figures(self, name: str, block: str) -> None:
        text = (ROOT / "docs" / name).read_text(encoding="utf-8")
        assert "\nfigures of today\n" in (filled(text, {block: "figures of today"}) or "")


class TestCommand:
    """Against canned answers; tests/integration/test_scripts.py sees what it removes from a real server."""

    @pytest.fixture
    def url(self, web: Web) -> str:
        def says(body: Any, status: int = 200) -> Handler:
            return reply(status, json.dumps(body).encode())

        def tasks(request: BaseHTTPRequestHandler) -> None:
            (says({"id": "t1"}, 201) if request.command == "POST" else says([]))(request)

        v1 = {"/auth/register": says({"id": "u1"}, 201), "/auth/login": says({"access_token": "t"}),
              "/users/me": says({"id": "u1"}), "/auth/sessions": says({}), "/auth/logout": says({}),
              "/auth/api-keys?limit=200": says([]), "/tasks/?limit=200": says([]), "/tasks/": tasks,
              "/tasks/t1": says({}), "/tasks/count": says({"total": 0})}  # fmt: skip
        web.answer |= {"/healthz": reply(), **{f"/api/v1{path}": answer for path, answer in v1.items()}}
        return web.url().rstrip("/")

    @needs("matplotlib")
    def test_measures_a_running_server(self, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        figures, picture = tmp_path / "f.json", tmp_path / "p.png"
        arguments = [url, "--requests", "20", "--clients", "4", "--rounds", "1"]
        code = performance_test.main([*arguments, "--json", str(figures), "--plot", str(picture)])
        said = capsys.readouterr().out
        assert code == 0, said
        assert "clearing up ended early" not in said
        names = [row["name"] for row in json.loads(figures.read_text())["endpoints"]]
        assert names[0] == "GET /healthz"
        assert "POST /tasks/" in names
        assert picture.read_bytes().startswith(b"\x89PNG")

    def test_errors_make_its_exit_code(self, url: str, web: Web, capsys: pytest.CaptureFixture[str]) -> None:
        web.answer["/api/v1/tasks/count"] = reply(500)
        code = performance_test.main([url, "--requests", "10", "--clients", "2", "--rounds", "1"])
        assert code == 1
        assert "'HTTP 500': 10" in capsys.readouterr().out

    @pytest.mark.parametrize(
        "words", [["--only", "sumbit"], ["http://127.0.0.1:1", "--only", "run"], ["http://127.0.0.1:1"]]
    )
    def test_what_it_cannot_measure_is_a_line(self, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert performance_test.main(words) == 2
        assert capsys.readouterr().err.startswith("error: ")
