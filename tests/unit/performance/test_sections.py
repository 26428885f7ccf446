"""What a section brings back, whatever happens in it; and the pieces that need no server."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import performance_test
from tests.performance import sections
from tests.performance.bench import Servers
from tests.performance.counts import by_statement, each
from tests.performance.findings import Findings
from tests.performance.goals import Comparison, Goal
from tests.performance.load import Measured
from tests.performance.processes import CpuMeter, cpu_seconds, memory
from tests.performance.scenario import CannotMeasure
from tests.performance.sections import growth
from tests.performance.sizes import FULL, MAX_ROUNDS, QUICK
from tests.performance.slices import Way, keep
from tests.performance.sse import NoStream, Stream
from tests.support.loopback import Address


class TestMeasureAll:
    def test_one_that_breaks_is_an_error_and_stops_no_other(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(_: Any) -> Findings:
            raise ValueError("no such thing")

        modules = {"a": SimpleNamespace(measure=broken), "b": SimpleNamespace(measure=lambda _: Findings("b"))}
        monkeypatch.setattr(sections, "import_module", lambda name: modules[name.rpartition(".")[2]])
        first, second = sections.measure_all(SimpleNamespace(), ["a", "b"], lambda _: None)
        assert first.section == "a"
        assert first.errors[0].startswith("ValueError: no such thing")
        assert (second.section, second.errors) == ("b", [])

    def test_one_that_is_stopped_keeps_what_was_measured_before(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def stopped(_: Any) -> Findings:
            raise KeyboardInterrupt

        modules = {"a": SimpleNamespace(measure=lambda _: Findings("a")), "b": SimpleNamespace(measure=stopped)}
        monkeypatch.setattr(sections, "import_module", lambda name: modules[name.rpartition(".")[2]])
        found = sections.measure_all(SimpleNamespace(), ["a", "b", "a"], lambda _: None)
        assert [(findings.section, findings.errors) for findings in found] == [("a", []), ("b", ["stopped"])]

    def test_every_section_is_there(self) -> None:
        for name in sections.NAMES:
            module = __import__(f"tests.performance.sections.{name}", fromlist=["measure"])
            assert module.__doc__
            assert callable(module.measure)


def test_a_run_that_was_stopped_tells_what_there_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = Findings("submit", [Comparison("a row", "—", Goal(at_most=2), [1.0])])
    stopped = Findings("run", errors=[sections.WAS_STOPPED])
    monkeypatch.setattr(performance_test, "measure_all", lambda *_: [measured, stopped])
    figures = tmp_path / "f.json"
    assert performance_test.main(["--only", "submit,run", "--json", str(figures)]) == 130
    assert "a row" in capsys.readouterr().out
    assert [section["section"] for section in json.loads(figures.read_text())["sections"]] == ["submit", "run"]


class TestKeep:
    def test_errors_of_every_round_are_told(self) -> None:
        way = Way("POST", Address("127.0.0.1", 1), None, 1)
        way.rounds = [Measured([0.1], Counter({"HTTP 503": 2}), 1.0), Measured([0.1], Counter({"HTTP 503": 3}), 1.0)]
        findings = Findings("submit")
        keep(findings, [way])
        assert findings.errors == ["POST: {'HTTP 503': 5}"]

    def test_a_batch_counts_its_tasks(self) -> None:
        way = Way("batch", Address("127.0.0.1", 1), None, 1, each=1000)
        way.rounds = [Measured([0.5, 0.5], seconds=2.0, moments=[1.0, 2.0])]
        way.cpu = {"server": 1.0, "generator": 0.5}
        findings = Findings("batch")
        keep(findings, [way])
        told = findings.details["batch"]
        assert told["per_second"] == [1000.0]
        assert told["cpu_microseconds_each"] == {"server": 500.0, "generator": 250.0}
        assert told["generator_share_of_a_core"] == 0.25
        assert len(findings.moments["batch"]) == 2000


class TestCpu:
    def test_counts_children_that_have_ended(self) -> None:
        meter = CpuMeter({"all": os.getpid(), "alone": (os.getpid(), False)})
        subprocess.run([sys.executable, "-c", "sum(range(30_000_000))"], check=True)
        spent = meter.read()
        assert spent["all"] > spent["alone"] + 0.1

    def test_of_a_process_that_is_gone_is_none(self) -> None:
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        assert cpu_seconds([gone.pid]) == 0

    def test_memory_is_in_mebibytes(self) -> None:
        assert 1 < memory(os.getpid())["uss"] < 10_000


def test_flame_graphs_need_py_spy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert performance_test.main(["--only", "run", "--flame", str(tmp_path / "flames")]) == 2
    assert "pip install py-spy" in capsys.readouterr().err
    assert not (tmp_path / "flames").exists()


def test_counts_leave_out_what_goes_on_anyway() -> None:
    before, after = (
        Counter({"SQL statements": 10, "broker ping": 5}),
        Counter({"SQL statements": 230, "broker ping": 25}),
    )
    assert each(before, after, 100, {"SQL statements": 20.0, "broker ping": 20.0}) == {"SQL statements": 2.0}


def test_statements_are_those_of_one_dearest_first() -> None:
    before = {"UPDATE a": (10, 1000.0), "SELECT beat": (5, 50.0)}
    after = {"UPDATE a": (110, 6000.0), "INSERT b": (100, 9000.0), "SELECT beat": (6, 60.0)}
    assert by_statement(before, after, 100) == [
        {"statement": "INSERT b", "each": 1.0, "microseconds": 90.0},
        {"statement": "UPDATE a", "each": 1.0, "microseconds": 50.0},
    ]


class TestGrowth:
    def test_makes_a_curve_and_a_row_of_each_line(self) -> None:
        findings = Findings("growth")
        whats = ("first page", "keeper pass", "count by user", "filter: absent type")
        growth.tell(
            findings,
            [{"rows": rows, "what": what, "milliseconds": rows / 1000} for rows in (3000, 1000) for what in whats],
        )
        assert findings.curves["first page"] == [(1000, 1.0), (3000, 3.0)]
        assert [(row.goal, row.values) for row in findings.rows] == [
            (Goal(at_most=1.5), [3.0]), (Goal(at_most=1.2), [3.0]),
            (Goal(at_most=10, unit="ms"), [3.0]), (Goal(at_most=50, unit="ms"), [3.0]),
        ]  # fmt: skip


class TestStream:
    @staticmethod
    async def read(*answer: bytes) -> tuple[list[dict[str, Any]], bool]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"".join(answer))
            writer.close()

        events: list[dict[str, Any]] = []
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            stream = Stream(lambda event, _: events.append(event))
            await stream.open(Address("127.0.0.1", server.sockets[0].getsockname()[1]), "/", "token")
            assert stream.reading is not None
            await stream.reading
            await stream.close()
        return events, stream.ended

    HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"

    def test_reads_events_across_chunks_and_past_comments(self) -> None:
        chunks = (b": hello\n\nevent: task\nda", b'ta: {"id": 1}\n\n', b'id: 7\r\ndata: {"id": 2}\r\n\r\n')
        body = [b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks]
        assert asyncio.run(self.read(self.HEAD, *body, b"0\r\n\r\n")) == ([{"id": 1}, {"id": 2}], True)

    def test_one_that_was_cut_has_not_ended(self) -> None:
        assert asyncio.run(self.read(self.HEAD, b"20\r\ndata: ")) == ([], False)

    @pytest.mark.parametrize("answer", ["404 Not Found", "200 OK"], ids=["another status", "another type"])
    def test_another_answer_is_no_stream(self, answer: str) -> None:
        with pytest.raises(NoStream, match=answer):
            asyncio.run(self.read(f"HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n".encode()))


class TestChoice:
    def chosen(self, *words: str) -> list[str]:
        return performance_test._chosen(performance_test._parser().parse_args(words))

    def test_is_everything_in_its_order(self) -> None:
        assert self.chosen() == ["endpoints", *sections.NAMES]
        assert self.chosen("--only", "run,submit") == ["submit", "run"]
        assert self.chosen("http://127.0.0.1:1") == ["endpoints"]

    @pytest.mark.parametrize(
        "words", [("--only", "sumbit"), ("http://127.0.0.1:1", "--only", "run")], ids=["unknown", "of a URL"]
    )
    def test_refuses_what_it_cannot_measure(self, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(CannotMeasure):
            self.chosen(*words)
        assert performance_test.main(words) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1

    def test_the_command_is_told_with_what_changes_its_figures(self) -> None:
        parse = performance_test._parser().parse_args
        assert performance_test._command(parse([])) == "python performance_test.py"
        chosen = parse(["--full", "--only", "run", "--no-fsync", "--json", "x"])
        assert performance_test._command(chosen) == "python performance_test.py --full --only run --no-fsync"

    @pytest.mark.parametrize("fsync", [True, False], ids=["with", "without"])
    def test_servers_wait_for_the_disk_unless_told_otherwise(self, fsync: bool) -> None:
        servers = Servers(fsync=fsync)
        shutil.rmtree(servers.directory)
        assert servers.postgres.durable is fsync

    def test_sizes_stay_within_bounds(self) -> None:
        def size(*words: str) -> Any:
            return performance_test._size(performance_test._parser().parse_args(words))

        assert size() == QUICK
        assert size("--full") == FULL
        wild = size("--rounds", "1000", "--clients", "99999", "--requests", "9999999", "--seconds", "99999")
        assert (wild.rounds, wild.clients, wild.requests, wild.seconds) == (MAX_ROUNDS, 512, 100_000, 120.0)
        assert (size("http://127.0.0.1:1").requests, size("http://127.0.0.1:1").rounds) == (2000, 2)
