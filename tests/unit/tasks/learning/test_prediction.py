"""Predictions of tables in files, batch by batch."""

import csv
import json
import threading
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from app.tasks.data.tables import UnusableData
from app.tasks.learning import pipelines, predictions
from app.tasks.learning.predictions import predict
from tests.unit.tasks.learning.conftest import Open, Train, flowers, silent

Models = dict[str, Path]
NEW = {"width": [2.5, -2.5, None], "colour": ["red", "violet", None], "noise": [0.1, 0.2, None], "id": ["a", "b", "c"]}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    directory = tmp_path / "output"
    directory.mkdir()
    return directory / "predictions"


class TestResult:
    @pytest.mark.parametrize("model", ["linear", "gradient_boosting"])
    def test_has_the_class_and_its_probability_also_for_what_training_did_not_see(
        self, models: Models, open_table: Open, output: Path, model: str
    ) -> None:
        result = predict(models[f"species {model}"], open_table(NEW), output, keep=["id"], report=silent)
        assert result == {"rows": 3, "columns": ["id", "prediction", "probability"]}
        rows = pl.read_parquet(output)
        assert rows["id"].to_list() == ["a", "b", "c"]
        assert rows["prediction"].to_list()[:2] == ["tall", "low"]
        assert all(0.5 <= probability <= 1 for probability in rows["probability"])

    @pytest.mark.parametrize("model", ["linear", "gradient_boosting"])
    def test_has_the_number_of_a_regression(self, models: Models, open_table: Open, output: Path, model: str) -> None:
        table = flowers(50, seed=9)
        result = predict(models[f"height {model}"], open_table(table), output, report=silent)
        assert result == {"rows": 50, "columns": ["prediction"]}
        predicted = pl.read_parquet(output)["prediction"].to_list()
        errors = [abs(one - other) for one, other in zip(predicted, table["height"], strict=True)]
        assert sum(errors) / 50 < 1

    @pytest.mark.parametrize("values", [[True, False], [3, 7], [1.0, 2.0], ["no", "yes"]])
    def test_has_the_type_of_the_target(
        self, learn: Train, open_table: Open, tmp_path: Path, output: Path, values: list[Any]
    ) -> None:
        table = {"x": [0, 9] * 20, "y": values * 20}
        learn(table, target="y")
        predict(tmp_path / "model" / "model.skops", open_table({"x": [0, 9]}), output, report=silent)
        predicted = pl.read_parquet(output)["prediction"]
        assert predicted.to_list() == values
        assert predicted.dtype == pl.Series(values).dtype

    @pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
    def test_is_bounded(self, models: Models, open_table: Open, output: Path, form: str) -> None:
        table = open_table(flowers(2000))
        with pytest.raises(UnusableData, match="the output is larger than 2000 bytes"):
            predict(models["height linear"], table, output, output=form, max_bytes=2000, report=silent)
        assert [*output.parent.iterdir()] == []
        predict(models["height linear"], table, output, output=form, max_bytes=200_000, report=silent)
        assert output.stat().st_size <= 200_000

    def test_in_csv_has_no_formulas(self, models: Models, open_table: Open, output: Path) -> None:
        table = NEW | {"id": ["=1+1", "@x", "fine"]}
        predict(models["species linear"], open_table(table), output, output="csv", keep=["id"], report=silent)
        with output.open(newline="") as file:
            assert [row["id"] for row in csv.DictReader(file)] == ["'=1+1", "'@x", "fine"]

    def test_in_json_lines_has_an_object_a_row(self, models: Models, open_table: Open, output: Path) -> None:
        predict(models["species linear"], open_table(NEW), output, output="jsonl", keep=["id"], report=silent)
        rows = [json.loads(line) for line in output.read_text().splitlines()]
        assert [row["id"] for row in rows] == ["a", "b", "c"]
        assert rows[0].keys() == {"id", "prediction", "probability"}

    @pytest.mark.parametrize("format_", ["parquet", "csv", "jsonl"])
    def test_of_no_rows_is_a_file_all_the_same(
        self, models: Models, open_table: Open, output: Path, format_: str
    ) -> None:
        table = pl.DataFrame(NEW).clear()
        assert predict(models["species linear"], open_table(table), output, output=format_, report=silent)["rows"] == 0
        if format_ == "parquet":
            assert pl.read_parquet(output).columns == ["prediction", "probability"]
        else:
            assert output.read_text() == ("prediction,probability\n" if format_ == "csv" else "")

    def test_is_the_same_of_a_csv_file(self, models: Models, open_table: Open, output: Path) -> None:
        table = flowers(40, seed=3)
        predict(models["species linear"], open_table(table), output, report=silent)
        of_parquet = pl.read_parquet(output)
        predict(models["species linear"], open_table(pl.DataFrame(table).write_csv()), output, report=silent)
        assert pl.read_parquet(output).equals(of_parquet)


class TestColumns:
    def test_that_are_missing_or_of_another_type_are_all_named(
        self, models: Models, open_table: Open, output: Path
    ) -> None:
        table = {"width": ["1", "2"], "color": ["red", "red"], "noise": [True, False]}
        with pytest.raises(ValueError, match="not those that the model was trained with") as caught:
            predict(models["species linear"], open_table(table), output, report=silent)
        assert str(caught.value).endswith(
            "the file lacks 'colour', did you mean color; 'width' is text, and was number in training; "
            "'noise' is boolean, and was number in training"
        )
        assert list(output.parent.iterdir()) == []

    def test_without_a_value_may_be_of_any_type(self, models: Models, open_table: Open, output: Path) -> None:
        text = "width,colour,noise\n1.5,,\n-1.5,,\n"
        assert predict(models["species linear"], open_table(text), output, report=silent)["rows"] == 2

    @pytest.mark.parametrize("kind", ["date", "datetime", "time"])
    def test_of_dates_without_a_value_too(
        self, learn: Train, open_table: Open, tmp_path: Path, output: Path, kind: str
    ) -> None:
        days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 2, 29), eager=True)
        whens = {
            "date": days,
            "datetime": days.cast(pl.Datetime("us", "UTC")),
            "time": pl.Series(range(60)).cast(pl.Time),
        }
        learn(pl.DataFrame({"when": whens[kind], "x": range(60), "y": [0.5 * n for n in range(60)]}), target="y")
        model = tmp_path / "model" / "model.skops"
        assert predict(model, open_table("when,x\n,1\n,2\n"), output, report=silent)["rows"] == 2

    def test_whose_type_shows_in_a_late_row_have_it(
        self, learn: Train, open_table: Open, tmp_path: Path, output: Path
    ) -> None:
        """The first rows of a CSV file look like numbers: what was guessed by them is read again."""
        codes = ["1", "2"] * 5500 + ["A1"] * 100
        learn({"code": codes, "y": [code == "1" for code in codes]}, target="y")
        text = "code\n" + "\n".join(codes) + "\n"
        result = predict(tmp_path / "model" / "model.skops", open_table(text), output, report=silent)
        assert result["rows"] == len(codes)
        assert pl.read_parquet(output)["prediction"].to_list() == [code == "1" for code in codes]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"keep": ["ids"]}, "keep: the file has no column 'ids', did you mean id"),
            ({"keep": ["id", "id"]}, "keep: a column is named twice"),
            ({"keep": ["prediction"]}, "keep: column 'prediction' has the name of a column of the output"),
            ({"keep": ["tags"], "output": "csv"}, "column tags has data that csv cannot hold"),
            ({"output": "excel"}, "output must be csv, parquet, jsonl, not 'excel'"),
        ],
    )
    def test_to_keep_and_the_format_are_checked_before_anything_is_written(
        self, models: Models, open_table: Open, output: Path, options: dict[str, Any], message: str
    ) -> None:
        table = NEW | {"prediction": [1, 2, 3], "tags": [["a"], [], None]}
        with pytest.raises(ValueError, match=message):
            predict(models["species linear"], open_table(table), output, **{"report": silent} | options)
        assert list(output.parent.iterdir()) == []


class Cancelled(Exception):
    pass


class TestBatches:
    @pytest.fixture
    def sizes(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """The rows of each matrix, where a batch has at most 100."""
        sizes: list[int] = []
        monkeypatch.setattr(pipelines, "BATCH_ROWS", 100)

        def to_matrix(batch: pl.DataFrame, columns: Any) -> Any:
            sizes.append(len(batch))
            return pipelines.to_matrix(batch, columns)

        monkeypatch.setattr(predictions, "to_matrix", to_matrix)
        return sizes

    @pytest.mark.parametrize("format_", ["parquet", "csv", "jsonl"])
    def test_are_all_that_is_in_memory_and_keep_the_order(
        self, models: Models, open_table: Open, output: Path, sizes: list[int], format_: str
    ) -> None:
        table = flowers(2500)
        predict(models["height linear"], open_table(table), output, output=format_, keep=["height"], report=silent)
        assert max(sizes) <= 100
        assert sum(sizes) == 2500
        read = {"parquet": pl.read_parquet, "csv": pl.read_csv, "jsonl": pl.read_ndjson}[format_](output)
        assert read["height"].to_list() == pytest.approx(table["height"])

    def test_are_reported_in_the_thread_of_the_caller(
        self, models: Models, open_table: Open, output: Path, sizes: list[int]
    ) -> None:
        reports: list[tuple[Any, Any, int]] = []
        predict(
            models["height linear"], open_table(flowers(1000)), output,
            report=lambda *report: reports.append((*report, threading.get_ident())),
        )  # fmt: skip
        assert len(reports) == len(sizes) + 1
        assert {thread for *_, thread in reports} == {threading.get_ident()}
        assert reports[-1][:2] == (95, {"stage": "predicting", "rows": 1000})
        percents = [percent for percent, *_ in reports]
        assert percents == sorted(percents)

    def test_end_with_a_report_that_raises_and_leave_nothing(
        self, models: Models, open_table: Open, output: Path, sizes: list[int]
    ) -> None:
        def report(percent: float | None, detail: Any) -> None:
            if detail.get("rows", 0) >= 300:
                raise Cancelled

        with pytest.raises(Cancelled):
            predict(models["height linear"], open_table(flowers(1000)), output, report=report)
        assert sum(sizes) < 1000
        assert list(output.parent.iterdir()) == []

    def test_of_a_damaged_file_end_in_words_and_leave_nothing(
        self, models: Models, open_table: Open, output: Path, tmp_path: Path
    ) -> None:
        pl.DataFrame(flowers(5000)).write_parquet(tmp_path / "damaged")
        content = (tmp_path / "damaged").read_bytes()
        with pytest.raises(UnusableData, match="damaged"):
            predict(
                models["height linear"],
                open_table(content[:1000] + bytes(20_000) + content[21_000:]),
                output,
                report=silent,
            )
        assert list(output.parent.iterdir()) == []
