"""Models measured, beside the same metrics in plain Python."""

import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from app.tasks.learning import pipelines
from app.tasks.learning.predictions import evaluate, predict
from tests.unit.tasks.learning.conftest import Open, flowers, silent

Models = dict[str, Path]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    directory = tmp_path / "output"
    directory.mkdir()
    return directory


def area(truth: list[bool], scores: list[float]) -> float:
    """The share of pairs of a true and a false row in which the true one has the higher score."""
    pairs = [
        1.0 if one > other else 0.5 if one == other else 0.0
        for one, is_true in zip(scores, truth, strict=True)
        if is_true
        for other, other_is_true in zip(scores, truth, strict=True)
        if not other_is_true
    ]
    return sum(pairs) / len(pairs)


class TestMetrics:
    @pytest.mark.parametrize("model", ["linear", "gradient_boosting"])
    def test_of_classes_are_those_of_plain_python(
        self, models: Models, open_table: Open, output: Path, model: str
    ) -> None:
        table = flowers(150, seed=5)
        result = evaluate(models[f"species {model}"], open_table(table), output, report=silent)
        predict(models[f"species {model}"], open_table(table), output / "rows", report=silent)
        rows = pl.read_parquet(output / "rows")
        pairs = [*zip(table["species"], rows["prediction"].to_list(), strict=True)]
        recalls, scores = [], []
        for name in ("low", "tall"):
            hits = pairs.count((name, name))
            actual, predicted = (sum(pair[side] == name for pair in pairs) for side in (0, 1))
            recalls.append(hits / actual)
            scores.append(2 * hits / (actual + predicted))
        of_tall = [
            probability if predicted == "tall" else 1 - probability for predicted, probability in rows.iter_rows()
        ]
        assert result == {
            "kind": "classification",
            "rows": 150,
            "metrics": {
                "accuracy": pytest.approx(sum(one == other for one, other in pairs) / 150, abs=1e-6),
                "balanced_accuracy": pytest.approx(sum(recalls) / 2, abs=1e-6),
                "f1_macro": pytest.approx(sum(scores) / 2, abs=1e-6),
                "roc_auc": pytest.approx(area([name == "tall" for name in table["species"]], of_tall), abs=1e-6),
            },
        }

    @pytest.mark.parametrize("model", ["linear", "gradient_boosting"])
    def test_of_numbers_are_those_of_plain_python(
        self, models: Models, open_table: Open, output: Path, model: str
    ) -> None:
        table = flowers(150, seed=5)
        result = evaluate(models[f"height {model}"], open_table(table), output, report=silent)
        predict(models[f"height {model}"], open_table(table), output / "rows", report=silent)
        predicted = pl.read_parquet(output / "rows")["prediction"].to_list()
        errors = [one - other for one, other in zip(table["height"], predicted, strict=True)]
        mean = sum(table["height"]) / 150
        squares = sum(error**2 for error in errors)
        assert result["metrics"] == {
            "r2": pytest.approx(1 - squares / sum((height - mean) ** 2 for height in table["height"]), abs=1e-6),
            "mean_absolute_error": pytest.approx(sum(map(abs, errors)) / 150, abs=1e-6),
            "root_mean_squared_error": pytest.approx(math.sqrt(squares / 150), abs=1e-6),
        }

    def test_do_not_depend_on_the_batches(
        self, models: Models, open_table: Open, output: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = evaluate(models["colour linear"], open_table(flowers(500)), output, report=silent)
        monkeypatch.setattr(pipelines, "BATCH_ROWS", 64)
        assert evaluate(models["colour linear"], open_table(flowers(500)), output, report=silent) == whole
        assert "roc_auc_ovr" in whole["metrics"]

    def test_that_the_rows_do_not_define_are_left_out(self, models: Models, open_table: Open, output: Path) -> None:
        tall = pl.DataFrame(flowers()).filter(pl.col("species") == "tall")
        result = evaluate(models["species linear"], open_table(tall), output, report=silent)
        assert result["metrics"].keys() == {"accuracy", "balanced_accuracy", "f1_macro"}
        result = evaluate(models["height linear"], open_table(tall.head(1)), output, report=silent)
        assert result["metrics"].keys() == {"mean_absolute_error", "root_mean_squared_error"}


class TestTarget:
    def test_rows_without_it_are_left_out(self, models: Models, open_table: Open, output: Path) -> None:
        table = flowers()
        table["height"][:20] = [None] * 10 + [float("nan")] * 10
        assert evaluate(models["height linear"], open_table(table), output, report=silent)["rows"] == 100

    def test_may_have_another_name(self, models: Models, open_table: Open, output: Path) -> None:
        table = flowers()
        table["kind"] = table.pop("species")
        result = evaluate(models["species linear"], open_table(table), output, target="kind", report=silent)
        assert result["rows"] == 120
        assert (output / "confusion.svg").exists()

    @pytest.mark.parametrize(
        ("change", "target", "message"),
        [
            ({}, "spcies", "target: the file has no column 'spcies', did you mean species"),
            ({}, "width", "target: column 'width' is number, and was text in training"),
            (
                {"species": ["huge", "low"] * 60},
                None,
                "values that the model does not know: 'huge'. Leave these rows out",
            ),
            ({"species": pl.Series([None] * 120, dtype=pl.String)}, None, "no row has a value in column 'species'"),
            ({"noise": ["x"] * 120}, None, "'noise' is text, and was number in training"),
        ],
    )
    def test_faults_are_said_in_words(
        self, models: Models, open_table: Open, output: Path, change: Any, target: Any, message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            evaluate(models["species linear"], open_table(flowers() | change), output, target=target, report=silent)
        assert list(output.iterdir()) == []


class Cancelled(Exception):
    pass


def test_a_report_that_raises_ends_it_and_leaves_nothing(models: Models, open_table: Open, output: Path) -> None:
    def report(percent: float | None, detail: Any) -> None:
        if detail["stage"] == "predicting":
            raise Cancelled

    with pytest.raises(Cancelled):
        evaluate(models["species linear"], open_table(flowers()), output, report=report)
    assert list(output.iterdir()) == []
