"""The measuring tells the truth: errors are counted, percentiles are ones, load stays on this machine."""

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest

import performance_test
from tests.performance.figures import Row, percentile, plot, table
from tests.performance.load import Endpoint, Measured, measure
from tests.performance.scenario import HEALTHZ
from tests.performance.wire import Answer, Connection, Request
from tests.support.loopback import NotLoopback, loopback
from tests.support.tools import needs
from tests.support.weak_service import WeakService


def measured(*milliseconds: float, errors: dict[str, int] | None = None) -> Measured:
    return Measured([value / 1000 for value in milliseconds], Counter(errors or {}), seconds=1.0)


class TestLoopback:
    @pytest.mark.parametrize(
        "url", ["http://127.0.0.1:8000", "http://localhost:1", "http://[::1]:8000/x", "http://127.9.9.9"]
    )
    def test_takes_this_machine(self, url: str) -> None:
        assert loopback(url).host in {"127.0.0.1", "::1", "127.9.9.9"}

    @pytest.mark.parametrize(
        "url",
        ["http://10.0.0.1", "http://127.0.0.1.example.com", "http://user@example.com", "http://2130706433", "//127.0.0.1",
         "http://[::ffff:8.8.8.8]", "http://0.0.0.0", "http://127.0.0.1:99999", "http://[", ""],
    )  # fmt: skip
    def test_refuses_everything_else(self, url: str) -> None:
        with pytest.raises(NotLoopback):
            loopback(url)


class TestPercentile:
    def test_is_a_value_that_was_measured(self) -> None:
        values = [float(value) for value in range(1, 101)]
        assert [percentile(values, share) for share in (0.5, 0.9, 0.99, 1.0)] == [50, 90, 99, 100]

    def test_of_one_and_of_none(self) -> None:
        assert percentile([7.0], 0.5) == percentile([7.0], 0.99) == 7.0
        assert percentile([], 0.5) == 0.0


class TestFigures:
    def test_ratio_is_to_the_slices_measured_beside_it(self) -> None:
        assert Row("x", measured(1, 1), measured(1, 1, 1, 1)).ratio == 0.5

    def test_errors_are_shown_by_kind(self) -> None:
        text = table([Row("GET /x", measured(1, errors={"HTTP 503": 2, "ConnectionResetError": 1}), measured(1))])
        assert text.splitlines()[2].split()[-1] == "3"
        assert "'HTTP 503': 2" in text

    @needs("matplotlib")
    def test_draws_a_picture(self, tmp_path: Path) -> None:
        plot(
            [Row("x", measured(1, 2, 3), measured(1)), Row("none", measured(), measured(1))],
            tmp_path / "p.png",
            "title",
        )
        assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


class TestMeasure:
    def test_counts_answers_and_their_time(self) -> None:
        with WeakService() as service:
            result = asyncio.run(measure(loopback(service.url), HEALTHZ, clients=4, requests=40, seconds=30))
        assert len(result.latencies) == 40
        assert not result.errors
        assert result.per_second > 0

    def test_an_unexpected_status_is_an_error(self) -> None:
        endpoint = Endpoint("GET /tasks/", lambda _: Request("GET", "/api/v1/tasks/"))
        with WeakService() as service:
            result = asyncio.run(measure(loopback(service.url), endpoint, clients=2, requests=10, seconds=30))
        assert result.errors == {"HTTP 401": 10}
        assert not result.latencies

    def test_gives_up_on_a_server_that_is_gone(self) -> None:
        with WeakService() as service:
            address = loopback(service.url)
        result = asyncio.run(measure(address, HEALTHZ, clients=2, requests=100_000, seconds=30))
        assert sum(result.errors.values()) == 40
        assert result.per_second == 0

    def test_begins_nothing_after_its_seconds(self) -> None:
        with WeakService() as service:
            result = asyncio.run(measure(loopback(service.url), HEALTHZ, clients=2, requests=100_000, seconds=0.1))
        assert len(result.latencies) < 100_000
        assert result.seconds < 5

    def test_reads_chunked_answers(self) -> None:
        async def ask() -> Answer:
            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
                await writer.drain()
                writer.close()

            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            async with server:
                connection = Connection(loopback(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
                answer = await connection.ask(Request("GET", "/"))
                await connection.close()
            return answer

        assert asyncio.run(ask()).body == b"abcde"


class TestCommand:
    @needs("matplotlib")
    def test_measures_a_running_server_and_clears_up(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        figures, picture = tmp_path / "f.json", tmp_path / "p.png"
        with WeakService() as service:
            arguments = [service.url, "--requests", "20", "--clients", "4", "--rounds", "1"]
            code = performance_test.main([*arguments, "--json", str(figures), "--plot", str(picture)])
        assert code == 0, capsys.readouterr().out
        names = [row["name"] for row in json.loads(figures.read_text())["endpoints"]]
        assert names[0] == "GET /healthz"
        assert "POST /tasks/" in names
        assert picture.exists()

    def test_errors_make_its_exit_code(self, capsys: pytest.CaptureFixture[str]) -> None:
        with WeakService(broken="/api/v1/tasks/count") as service:
            code = performance_test.main([service.url, "--requests", "10", "--clients", "2", "--rounds", "1"])
        assert code == 1
        assert "'HTTP 500': 10" in capsys.readouterr().out

    def test_a_server_that_is_not_there_is_a_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        with WeakService() as service:
            url = service.url
        assert performance_test.main([url]) == 2
        assert capsys.readouterr().err.startswith("error: ")
