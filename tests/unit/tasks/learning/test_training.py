"""Models trained for real, on tables of some hundred rows."""

import io
import json
import math
import re
import threading
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from app.tasks.data.tables import UnusableData
from app.tasks.learning.model_file import load_model
from tests.unit.tasks.learning.conftest import SHA256, Train, flowers


def counts(directory: Path) -> list[int]:
    """The numbers of the confusion matrix, row by row."""
    return [
        int(count) for count in re.findall(r"<title>(\d+) of \d+</title>", (directory / "confusion.svg").read_text())
    ]


class TestResult:
    def test_of_a_classification(self, learn: Train, tmp_path: Path) -> None:
        result = learn(flowers(), target="species", features=["width", "colour", "noise"])
        assert (result["kind"], result["rows"]) == ("classification", 120)
        assert result["features"] == ["width", "colour", "noise"]
        assert result["metrics"].keys() == {"accuracy", "balanced_accuracy", "f1_macro", "roc_auc"}
        assert result["metrics"]["accuracy"]["mean"] > 0.8
        assert result.keys() == {"kind", "rows", "features", "metrics", "importance"}
        assert json.loads(json.dumps(result, allow_nan=False)) == result
        assert {path.name for path in (tmp_path / "model").iterdir()} == {"model.skops", "report.html", "confusion.svg"}

    @pytest.mark.parametrize("model", ["linear", "gradient_boosting"])
    def test_of_a_regression(self, learn: Train, tmp_path: Path, model: str) -> None:
        result = learn(flowers(), target="height", features=["width", "colour"], model=model)
        assert result["kind"] == "regression"
        assert result["metrics"].keys() == {"r2", "mean_absolute_error", "root_mean_squared_error"}
        assert result["metrics"]["r2"]["mean"] > 0.9
        assert {path.name for path in (tmp_path / "model").iterdir()} == {"model.skops", "report.html", "residuals.svg"}

    def test_the_mean_accuracy_of_folds_of_one_size_is_that_of_the_confusion_matrix(
        self, learn: Train, tmp_path: Path
    ) -> None:
        result = learn(flowers(), target="species", folds=4)
        right_low, _, _, right_tall = matrix = counts(tmp_path / "model")
        assert sum(matrix) == 120
        assert result["metrics"]["accuracy"]["mean"] == pytest.approx((right_low + right_tall) / 120, abs=1e-6)

    def test_the_important_columns_come_first(self, learn: Train) -> None:
        importance = learn(flowers(), target="height", features=["noise", "colour", "width"])["importance"]
        assert [*importance] == ["width", "colour", "noise"]
        assert importance["width"]["mean"] > 10 * abs(importance["noise"]["mean"])

    def test_the_same_seed_gives_the_same_numbers_and_another_one_others(self, learn: Train) -> None:
        first, again, other = (
            learn(flowers(), target="species", model="gradient_boosting", seed=seed) for seed in (7, 7, 8)
        )
        assert first == again
        assert first["metrics"] != other["metrics"]

    def test_three_classes_have_the_curves_of_each_against_the_others(self, learn: Train) -> None:
        result = learn(flowers(), target="colour", features=["height", "width"])
        assert result["metrics"]["roc_auc_ovr"]["mean"] > 0.6

    def test_the_report_names_what_was_left_out_and_escapes_it(self, learn: Train, tmp_path: Path) -> None:
        table = flowers() | {"<id>": [f"k{number}" for number in range(120)]}
        table["species"][:3] = [None, None, None]
        assert learn(table, target="species")["rows"] == 117
        page = (tmp_path / "model" / "report.html").read_text()
        assert "3 rows without a value of it were left out" in page
        assert "&lt;id&gt; has 117 different texts in 117 rows, as a name or an identifier has" in page
        assert "<id>" not in page
        assert "<script" not in page


class TestKind:
    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            (["a", "b"] * 30, "classification"),
            ([True, False] * 30, "classification"),
            ([0, 1, 2] * 20, "classification"),
            ([1.0, 2.0] * 30, "classification"),
            ([1.5, 2.0] * 30, "regression"),
            (list(range(60)), "regression"),
            (list(range(20)) * 3, "classification"),
            (list(range(30)) * 2, "regression"),
        ],
    )
    def test_is_decided_by_type_and_number_of_values(self, learn: Train, values: list[Any], expected: str) -> None:
        assert learn({"x": [n % 7 for n in range(60)], "y": values}, target="y")["kind"] == expected

    def test_can_be_given(self, learn: Train) -> None:
        table = {"x": [n % 7 for n in range(60)], "y": [0, 1, 2] * 20}
        assert learn(table, target="y", kind="regression")["kind"] == "regression"


class TestColumns:
    def test_dates_truth_values_times_and_missing_values_are_learnt_from(self, learn: Train, tmp_path: Path) -> None:
        days = [date(2024, 1, 1) + timedelta(days=number) for number in range(140)]
        table = pl.DataFrame(
            {
                "day": [None if number % 9 == 0 else day for number, day in enumerate(days)],
                "at": pl.Series(days).cast(pl.Datetime),
                "clock": pl.Series([number * 10**9 for number in range(140)]).cast(pl.Time),
                "odd": [bool(number % 2) for number in range(140)],
                "colour": [None if number % 5 == 0 else "red" for number in range(140)],
                "amount": [
                    float("nan")
                    if number % 4 == 0
                    else 1e300
                    if number % 8 == 1
                    else float("inf")
                    if number % 4 == 1
                    else 1.0 * number
                    for number in range(140)
                ],
                "free": [day.weekday() > 4 for day in days],
            }
        )
        for model in ("linear", "gradient_boosting"):
            result = learn(table, target="free", model=model)
            assert result["features"] == ["day", "at", "clock", "odd", "colour", "amount"]
        assert result["metrics"]["accuracy"]["mean"] > 0.9
        assert next(iter(result["importance"])) in ("day", "at")

    @pytest.mark.parametrize("model", ["linear", "gradient_boosting"])
    def test_without_a_value_in_a_whole_fold_are_no_fault(self, learn: Train, model: str) -> None:
        table = flowers() | {
            "rare": [None] * 119 + [1.5],
            "wild": [None] * 119 + ["x"],
            "infinite": [None, math.inf] * 60,
        }
        table["wild"][:2] = ["x", "y"]
        table["wild"][3] = "y"
        result = learn(table, target="height", model=model, folds=5)
        assert {"rare", "infinite", "wild"} <= {*result["features"]}
        assert result["metrics"]["r2"]["mean"] > 0.8

    def test_useless_ones_are_left_out_with_the_reason(self, learn: Train, tmp_path: Path) -> None:
        table = flowers() | {
            "one": [1] * 120,
            "none": [None] * 120,
            "tags": [["a"]] * 120,
            "essay": [("word " * 50) + str(n % 2) for n in range(120)],
            "names": [f"n{n // 2}" for n in range(119)] + ["x"],
        }
        assert learn(table, target="height")["features"] == ["width", "colour", "noise", "species"]
        assert load_model(tmp_path / "model" / "model.skops").card.left_out == {
            "one": "has one value",
            "none": "is empty",
            "tags": "has the type list(string)",
            "essay": "has texts of more than 200 characters",
            "names": "has 61 different texts in 120 rows, as a name or an identifier has",
        }


FEW = {"x": [1, 2, 3], "y": ["a", "b", "a"]}
CLASSES = {"x": [1.5, 2.5, 3.5, 4.5] * 5, "y": ["a"] * 18 + ["b", "c"], "day": [date(2024, 1, 1)] * 20}


class TestRefusals:
    @pytest.mark.parametrize(
        ("table", "options", "message"),
        [
            (flowers(), {"target": "specie"}, "target: the file has no column 'specie', did you mean species"),
            (
                flowers(),
                {"target": "height", "features": ["colours"]},
                "features: .* no column 'colours', did you mean colour",
            ),
            (flowers(), {"target": "height", "features": ["height"]}, "features: 'height' is the target"),
            (flowers(), {"target": "height", "features": ["width", "width"]}, "a column is named twice"),
            (flowers(), {"target": "height", "kind": "guess"}, "kind must be one of auto, classification, regression"),
            (flowers(), {"target": "height", "model": "oracle"}, "model must be one of gradient_boosting, linear"),
            (flowers(), {"target": "height", "folds": 1}, "folds must be between 2 and 20"),
            (flowers(), {"target": "height", "seed": -1}, "seed must be between 0 and"),
            (flowers(), {"target": "colour", "kind": "regression"}, "'colour' is text, and a regression needs numbers"),
            (
                flowers(),
                {"target": "height", "kind": "classification"},
                "120 different values, and .* at most 50 classes",
            ),
            (FEW, {"target": "y"}, "3 rows have a value of the target 'y', fewer than the 4 that 2 folds need"),
            (CLASSES, {"target": "y"}, "fewer rows than the 2 folds: .*'[bc]'.* Give more rows of them, or leave"),
            (CLASSES, {"target": "day"}, "column 'day' is date, and a target is text, boolean or number"),
            (
                flowers() | {"day": [1] * 120},
                {"target": "height", "features": ["day"]},
                "features: 'day' has one value. Leave",
            ),
            ({"x": [1, 2] * 5, "y": ["a"] * 10}, {"target": "y"}, "all rows are of one class, 'a'"),
            ({"x": [1, 2] * 5, "y": [1.5] * 10}, {"target": "y"}, "all values of column 'y' are equal"),
            (
                {"x": [1] * 10, "y": [1.5, 2.5] * 5},
                {"target": "y"},
                "no column is left to learn from: 'x' has one value",
            ),
            ({"x": [1, 2] * 5, "y": [1e200, 2.5] * 5}, {"target": "y"}, "'y' has numbers beyond 1e\\+100"),
            (
                {"x": [1, 2] * 5, "y": pl.Series([2**63, 2**63 + 1] * 5, dtype=pl.UInt64)},
                {"target": "y"},
                "has whole numbers above",
            ),
            ({"y": [1.5, 2.5] * 5}, {"target": "y"}, "at least one column beside the target"),
        ],
    )
    def test_say_what_to_do(
        self, learn: Train, tmp_path: Path, table: Any, options: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            learn(table, **options)
        assert list((tmp_path / "model").iterdir()) == []

    def test_of_more_bytes_than_allowed_come_before_anything_is_read(self, learn: Train) -> None:
        reports: list[Any] = []
        with pytest.raises(
            UnusableData, match=r"training needs the whole table in memory: \d+ bytes, more than the 500"
        ):
            learn(flowers(), target="height", max_bytes=500, report=lambda *report: reports.append(report))
        assert reports == []

    def test_of_a_damaged_file_are_in_words(self, learn: Train) -> None:
        file = io.BytesIO()
        pl.DataFrame(flowers(5000)).write_parquet(file)
        content = file.getvalue()
        with pytest.raises(UnusableData, match="data cannot be read: its content is damaged"):
            learn(content[:1000] + bytes(20_000) + content[21_000:], target="height")


class Cancelled(Exception):
    pass


class TestProgress:
    def test_comes_after_each_fold(self, learn: Train) -> None:
        reports: list[tuple[Any, Any]] = []
        learn(flowers(), target="species", folds=3, report=lambda *report: reports.append(report))
        assert [percent for percent, detail in reports if percent] == [30, 60, 90, 90, 98]
        assert [detail["fold"] for _, detail in reports if "fold" in detail] == [1, 2, 3]

    @pytest.mark.parametrize("last", ["loading", "cross-validation", "final fit", "writing"])
    def test_that_raises_ends_it_and_leaves_nothing(self, learn: Train, tmp_path: Path, last: str) -> None:
        def report(percent: float | None, detail: Any) -> None:
            if detail["stage"] == last:
                raise Cancelled

        with pytest.raises(Cancelled):
            learn(flowers(), target="species", report=report)
        assert list((tmp_path / "model").iterdir()) == []


class TestProcess:
    def test_training_keeps_to_one_core(self, learn: Train) -> None:
        threadpoolctl = pytest.importorskip("threadpoolctl")
        seen: list[int] = []

        def report(percent: float | None, detail: Any) -> None:
            if "fold" in detail:
                seen.extend(pool["num_threads"] for pool in threadpoolctl.threadpool_info())

        learn(flowers(), target="species", report=report)
        assert set(seen) == {1}

    def test_reports_come_from_the_thread_of_the_caller(self, learn: Train) -> None:
        threads: set[int] = set()
        learn(flowers(), target="height", report=lambda *_: threads.add(threading.get_ident()))
        assert threads == {threading.get_ident()}


def test_the_card_has_the_hash_of_the_file_and_the_versions(learn: Train, tmp_path: Path) -> None:
    result = learn(flowers(), target="species")
    card = load_model(tmp_path / "model" / "model.skops").card
    assert card.sha256 == SHA256
    assert card.metrics == result["metrics"]
    assert card.target.classes == ["low", "tall"]
    assert card.versions.scikit_learn.startswith("1.")
    assert [(column.name, column.kind) for column in card.columns][:2] == [("width", "number"), ("colour", "text")]
