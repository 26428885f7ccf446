"""profile_data, transform_data, fetch_to_file, attachments: from a file to what is saved. What each measures is tested
where it is measured (`tests/unit/tasks/data/`)."""

import csv
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.catalogue import EXTRAS, catalogue, find_type
from app.core.config import get_settings
from app.errors import InvalidArguments, UnknownTask
from app.tasks.common_tasks import fetch_to_file
from app.tasks.high_priority_tasks import send_email
from app.tasks.http_requests import AnsweredNo, name_of_url
from app.tasks.learning_tasks import evaluate_model, predict, train_model
from app.tasks.table_tasks import profile_data, transform_data
from app.testing import TaskRun, TaskRunner
from tests.support.services import ROOT, process_environment
from tests.support.settings import settings
from tests.unit.outbound.web_server import Web, reply
from tests.unit.tasks.smtp_server import Mailbox

FILE, OTHER = "019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d14", "019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d15"
ORDERS = "id,city,amount\n1,Köln,10\n2,Bonn,5\n3,Köln,\n4,=SUM(A1),20\n"
CITIES = "city,country\nKöln,DE\nBonn,DE\n"


@pytest.fixture
def runner(tmp_path: Path) -> TaskRunner:
    files = {FILE: ("orders.csv", ORDERS), OTHER: ("cities.csv", CITIES)}
    paths = {}
    for file_id, (name, text) in files.items():
        paths[file_id] = tmp_path / name
        paths[file_id].write_text(text, encoding="utf-8")
    return TaskRunner(files=paths)


def succeeded(run: TaskRun) -> Any:
    assert run.status == "succeeded", run.error
    assert run.progress == 100
    return run.result


def failed(run: TaskRun) -> str:
    assert run.status == "failed", run.result
    assert run.error is not None
    return str(run.error.message)


class TestProfile:
    def test_is_saved_as_a_page_a_picture_and_json(self, runner: TaskRunner) -> None:
        run = runner.run(profile_data, FILE)
        result = succeeded(run)
        assert (result["rows"], result["format"]) == (4, "csv")
        amount = next(each for each in result["columns"] if each["name"] == "amount")
        assert (amount["missing"], amount["min"], amount["max"]) == (1, 5, 20)
        assert json.loads(run.artifacts["profile.json"]) == result
        assert run.artifacts["report.html"].startswith(b"<!doctype html>")
        assert run.artifacts["histograms.svg"].startswith(b"<svg")

    def test_of_an_unknown_column_names_it(self, runner: TaskRunner) -> None:
        run = runner.run(profile_data, FILE, columns=["amuont"])
        assert "did you mean amount" in failed(run)
        assert run.artifacts == {}

    def test_stops_when_it_is_cancelled(self, runner: TaskRunner) -> None:
        runner.cancel_after = 1
        run = runner.run(profile_data, FILE)
        assert (run.status, run.artifacts) == ("revoked", {})

    def test_of_more_than_the_bound_is_refused(self, runner: TaskRunner, tmp_path: Path) -> None:
        (tmp_path / "orders.csv").write_text("a\n" + "x" * 2_000_000 + "\n")
        with settings({"MAX_TASK_DATA_BYTES": str(1024 * 1024)}):
            assert "more than 1048576" in failed(runner.run(profile_data, FILE))


class TestTransform:
    def rows(self, run: TaskRun, name: str = "orders.csv") -> list[list[str]]:
        return list(csv.reader(run.artifacts[name].decode().splitlines()))

    def test_filters_joins_and_groups(self, runner: TaskRunner) -> None:
        run = runner.run(
            transform_data,
            FILE,
            filter={"op": ">", "args": [{"property": "amount"}, 4]},
            join_with=OTHER,
            join_on=["city"],
            group_by=["country"],
            aggregate={"total": {"op": "sum", "args": [{"property": "amount"}]}},
        )
        result = succeeded(run)
        assert (result["rows_read"], result["rows_written"], result["columns"]) == (4, 1, ["country", "total"])
        assert self.rows(run) == [["country", "total"], ["DE", "15"]]

    def test_escapes_what_a_spreadsheet_would_run(self, runner: TaskRunner) -> None:
        run = runner.run(transform_data, FILE, select=["city"], sort=["-city"])
        succeeded(run)
        assert ["'=SUM(A1)"] in self.rows(run)

    @pytest.mark.parametrize("output", ["parquet", "jsonl"])
    def test_writes_other_formats(self, runner: TaskRunner, output: str) -> None:
        run = runner.run(transform_data, FILE, output=output)
        assert succeeded(run)["rows_written"] == 4
        assert [*run.artifacts] == [f"orders.{output}"]

    def test_of_an_unknown_operator_names_it(self, runner: TaskRunner) -> None:
        run = runner.run(transform_data, FILE, filter={"op": "drop table", "args": []})
        assert "drop table" in failed(run)
        assert run.artifacts == {}


class TestFetch:
    @pytest.fixture
    def web(self, web: Web) -> Iterator[Web]:
        with settings({"OUTBOUND_ALLOW": '["127.0.0.1"]'}):
            yield web

    def test_saves_the_content(self, web: Web) -> None:
        body = ORDERS.encode() * 1000
        web.answer["/data/orders%202030.csv"] = reply(body=body, Content_Type="text/csv")
        run = TaskRunner().run(fetch_to_file, web.url("/data/orders%202030.csv"))
        result = succeeded(run)
        assert (result["name"], result["size"], result["content_type"]) == ("orders 2030.csv", len(body), "text/csv")
        assert result["sha256"] == hashlib.sha256(body).hexdigest()
        assert run.artifacts == {"orders 2030.csv": body}

    def test_of_more_than_its_bound_saves_nothing(self, web: Web) -> None:
        web.answer["/a"] = reply(body=bytes(5000))
        run = TaskRunner().run(fetch_to_file, web.url("/a"), name="a", max_bytes=4999)
        assert (run.status, run.artifacts) == ("failed", {})

    def test_of_an_error_saves_nothing(self, web: Web) -> None:
        web.answer["/a"] = reply(404, body=b"no")
        run = TaskRunner().run(fetch_to_file, web.url("/a"))
        assert (run.status, type(run.exception), run.artifacts) == ("failed", AnsweredNo, {})

    def test_of_a_bad_name_is_refused(self, web: Web) -> None:
        for name in ("a/b", "..", "a\nb"):
            with pytest.raises(InvalidArguments, match=r"kwargs.name: a name has no /"):
                TaskRunner().run(fetch_to_file, web.url("/a"), name=name)

    @pytest.mark.parametrize(
        ("url", "name"),
        [("https://x/", "download"), ("https://x/a/b.csv?c=d", "b.csv"), ("https://x/a%2Fb", "download"),
         ("https://x/%C3%A9", "é")],
    )  # fmt: skip
    def test_is_called_as_the_end_of_its_url(self, url: str, name: str) -> None:
        assert name_of_url(url) == name


class TestAttachments:
    def test_go_with_the_mail(self, server: Mailbox, runner: TaskRunner) -> None:
        run = runner.run(send_email, "ann@example.org", "Hi", "text", attachments=[FILE, OTHER])
        succeeded(run)
        found = {each.get_filename(): each for each in server.message().iter_attachments()}
        assert [*found] == ["orders.csv", "cities.csv"]
        assert found["orders.csv"].get_payload(decode=True) == ORDERS.encode()
        assert found["orders.csv"].get_content_type() == "text/csv"

    def test_that_are_too_large_fail_the_task(
        self, server: Mailbox, runner: TaskRunner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(get_settings(), "mail_attachment_bytes", 10)
        run = runner.run(send_email, "ann@example.org", "Hi", "text", attachments=[FILE])
        assert "MAIL_ATTACHMENT_BYTES allows 10" in failed(run)
        assert server.envelopes == []


class TestModels:
    @pytest.fixture
    def flowers(self, tmp_path: Path) -> Path:
        path = tmp_path / "flowers.csv"
        rows = ((n % 7 + (5 if n % 2 else 0), "ab"[n % 2], "big" if n % 2 else "small") for n in range(120))
        path.write_text("length,kind,size\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows))
        return path

    def test_are_trained_measured_and_used(self, runner: TaskRunner, flowers: Path, tmp_path: Path) -> None:
        runner.files = {FILE: flowers}
        trained = runner.run(train_model, FILE, "size", folds=3)
        result = succeeded(trained)
        assert (result["kind"], result["rows"], result["features"]) == ("classification", 120, ["length", "kind"])
        assert result["metrics"]["accuracy"]["mean"] == 1
        assert [*trained.artifacts] == ["confusion.svg", "model.skops", "report.html"]
        model = tmp_path / "model.skops"
        model.write_bytes(trained.artifacts["model.skops"])
        runner.files = {FILE: flowers, OTHER: model}
        measured = runner.run(evaluate_model, OTHER, FILE)
        assert succeeded(measured)["metrics"]["accuracy"] == 1
        assert [*measured.artifacts] == ["confusion.svg"]
        predicted = runner.run(predict, OTHER, FILE, output="csv", keep=["kind"])
        assert (succeeded(predicted)["rows"], predicted.result["columns"]) == (
            120,
            ["kind", "prediction", "probability"],
        )
        assert predicted.artifacts["predicted-flowers.csv"].startswith(b"kind,prediction,probability")

    def test_that_are_none_are_refused(self, runner: TaskRunner, flowers: Path) -> None:
        runner.files = {FILE: flowers}
        run = runner.run(predict, FILE, FILE)
        assert "model" in failed(run)
        assert run.artifacts == {}

    def test_of_an_unknown_target_names_it(self, runner: TaskRunner, flowers: Path) -> None:
        runner.files = {FILE: flowers}
        assert "did you mean size" in failed(runner.run(train_model, FILE, "sise"))


def test_what_an_extra_brings_is_told_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.catalogue.catalogue", dict)
    with pytest.raises(UnknownTask, match=re.escape("pip install 'task-service[data]'")):
        find_type("app.tasks.common_tasks.profile_data")
    assert {name for name in EXTRAS if name not in catalogue()} == set()


def test_none_of_it_is_loaded_with_the_tasks() -> None:
    program = "import sys, app.tasks; print({'polars', 'sklearn', 'skops', 'numpy'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=process_environment({}), capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout == "set()\n"
