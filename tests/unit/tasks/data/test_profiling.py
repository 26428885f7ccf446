import collections
import datetime as dt
import json
import math
import random
import statistics
from typing import Any

import polars as pl
import pytest

from app.tasks.data import profiles
from app.tasks.data.errors import InvalidExpression, UnusableData
from app.tasks.data.profiles import SKETCH, kind_of, measure, measure_large, prepared, profile_with_histograms
from app.tasks.data.tables import Data
from tests.unit.tasks.data.conftest import Open

QUANTILES = ["0.05", "0.25", "0.5", "0.75", "0.95"]


def ignore(*_: Any) -> None:
    """Takes reports."""


def profile(data: Data, **options: Any) -> dict[str, Any]:
    return profile_with_histograms(data, **options).result


def column(found: dict[str, Any], name: str) -> dict[str, Any]:
    json.dumps(found, allow_nan=False)
    return next(each for each in found["columns"] if each["name"] == name)


def interpolated(values: list[float], at: float) -> float:
    place = at * (len(values) - 1)
    low = math.floor(place)
    return values[low] + (values[min(low + 1, len(values) - 1)] - values[low]) * (place - low)


class TestColumns:
    def test_of_a_small_table_are_what_they_hold(self, open_table: Open) -> None:
        text = "id,price,city,paid,day,at\n1,1.5,ann,true,2024-01-31,2024-01-31T12:00:00Z\n2,,bob,false,2024-02-29,\n3,nan,ann,,,\n"
        found = profile(open_table(text), report=ignore)
        assert {name: found[name] for name in ("rows", "format")} == {"rows": 3, "format": "csv"}
        assert found["columns"] == [
            {"name": "id", "type": "integer", "missing": 0, "distinct": 3, "min": 1, "max": 3, "mean": 2.0,
             "quantiles": {"0.05": 1.1, "0.25": 1.5, "0.5": 2.0, "0.75": 2.5, "0.95": 2.9},
             "top": [{"value": 1, "count": 1}, {"value": 2, "count": 1}, {"value": 3, "count": 1}]},
            {"name": "price", "type": "number", "missing": 2, "distinct": 1, "min": 1.5, "max": 1.5, "mean": 1.5,
             "quantiles": dict.fromkeys(QUANTILES, 1.5), "top": [{"value": 1.5, "count": 1}]},
            {"name": "city", "type": "text", "missing": 0, "distinct": 2, "min": "ann", "max": "bob", "mean": None,
             "quantiles": None, "top": [{"value": "ann", "count": 2}, {"value": "bob", "count": 1}]},
            {"name": "paid", "type": "boolean", "missing": 1, "distinct": 2, "min": None, "max": None, "mean": None,
             "quantiles": None, "top": [{"value": False, "count": 1}, {"value": True, "count": 1}]},
            {"name": "day", "type": "date", "missing": 1, "distinct": 2, "min": "2024-01-31", "max": "2024-02-29", "mean": None,
             "quantiles": {"0.05": "2024-01-31", "0.25": "2024-01-31", "0.5": "2024-01-31", "0.75": "2024-02-29", "0.95": "2024-02-29"},
             "top": [{"value": "2024-01-31", "count": 1}, {"value": "2024-02-29", "count": 1}]},
            {"name": "at", "type": "timestamp", "missing": 2, "distinct": 1, "min": "2024-01-31T12:00:00Z", "max": "2024-01-31T12:00:00Z",
             "mean": None, "quantiles": dict.fromkeys(QUANTILES, "2024-01-31T12:00:00Z"), "top": [{"value": "2024-01-31T12:00:00Z", "count": 1}]},
        ]  # fmt: skip

    def test_agree_with_python_on_a_random_table(self, open_table: Open) -> None:
        rng = random.Random(3)
        numbers = [rng.choice([None, round(rng.gauss(0, 10), 2)]) for _ in range(4000)]
        words = [rng.choice(["a", "b", "c,d", 'e"', "ü"]) for _ in range(4000)]
        content = "".join(json.dumps({"n": n, "w": w}) + "\n" for n, w in zip(numbers, words, strict=True))
        found = profile(open_table(content), report=ignore)
        known = sorted(n for n in numbers if n is not None)
        n = column(found, "n")
        assert (n["missing"], n["distinct"], n["min"], n["max"]) == (
            4000 - len(known),
            len({*known}),
            known[0],
            known[-1],
        )
        assert n["mean"] == pytest.approx(statistics.fmean(known))
        assert n["quantiles"] == pytest.approx({at: interpolated(known, float(at)) for at in QUANTILES})
        counted = sorted(collections.Counter(words).items(), key=lambda each: (-each[1], each[0]))
        assert column(found, "w")["top"] == [{"value": value, "count": count} for value, count in counted]
        numbers_counted = sorted(collections.Counter(known).items(), key=lambda each: (-each[1], each[0]))[:10]
        assert n["top"] == [{"value": value, "count": count} for value, count in numbers_counted]

    def test_have_no_value_that_json_has_not(self, open_table: Open) -> None:
        text = f"big,inf,long,exact\n{2**53},inf,{'x' * 300},{2**53 - 1}\n-9007199254740993,-inf,y,0\n"
        found = profile(open_table(text), report=ignore)
        assert (column(found, "big")["min"], column(found, "big")["max"]) == ("-9007199254740993", str(2**53))
        assert (column(found, "inf")["min"], column(found, "inf")["max"], column(found, "inf")["mean"]) == (
            "-Infinity",
            "Infinity",
            None,
        )
        assert column(found, "long")["min"] == "x" * 199 + "…"
        assert column(found, "exact")["max"] == 2**53 - 1

    def test_of_any_type_are_told(self, open_table: Open) -> None:
        content = '{"nested": {"a": 1}, "list": [1], "none": null, "count": 1}\n{"count": 1}\n'
        found = profile(open_table(content), report=ignore)
        assert column(found, "nested") == {
            "name": "nested", "type": "nested", "missing": 1, "distinct": None, "min": None, "max": None, "mean": None,
            "quantiles": None, "top": [],
        }  # fmt: skip
        assert (column(found, "none")["missing"], column(found, "none")["distinct"]) == (2, 0)
        assert column(found, "count")["top"] == [{"value": 1, "count": 2}]

    def test_without_rows_are_empty(self, open_table: Open) -> None:
        found = profile(open_table("a,b\n"), report=ignore)
        assert found["rows"] == 0
        assert column(found, "a") == {
            "name": "a", "type": "text", "missing": 0, "distinct": 0, "min": None, "max": None, "mean": None,
            "quantiles": None, "top": [],
        }  # fmt: skip

    def test_are_those_asked_for(self, open_table: Open) -> None:
        found = profile(open_table("a,b,c\n1,2,3\n"), columns=["c", "a"], report=ignore)
        assert [each["name"] for each in found["columns"]] == ["c", "a"]
        with pytest.raises(InvalidExpression, match="columns: there is no column 'd'"):
            profile(open_table("a,b,c\n1,2,3\n"), columns=["d"], report=ignore)
        with pytest.raises(InvalidExpression, match="bins must be from 1 to 200, not 0"):
            profile(open_table("a\n1\n"), bins=0, report=ignore)

    def test_are_refused_where_the_file_is_at_fault(self, open_table: Open) -> None:
        with pytest.raises(UnusableData, match="line 3 has 1 fields"):
            profile(open_table("a,b\n1,2\n3\n"), report=ignore)


class TestHistograms:
    def test_count_every_value_once(self, open_table: Open) -> None:
        found = profile_with_histograms(
            open_table("a,b,c,d\n0,x,5,2024-01-01\n5,y,5,2024-01-05\n10,z,,2024-01-11\n10,,5,\n"), bins=2, report=ignore
        )
        assert {name: each.counts for name, each in found.histograms.items()} == {"a": [1, 3], "c": [3], "d": [2, 1]}
        assert (found.histograms["d"].low, found.histograms["d"].high) == (dt.date(2024, 1, 1), dt.date(2024, 1, 11))

    def test_are_right_for_every_unit_and_for_decimals(self) -> None:
        moments = pl.Series("c", [dt.datetime.fromisoformat(f"2024-01-0{day}") for day in (1, 1, 2, 3)])
        for unit in ("ms", "us", "ns"):
            values = moments.dt.cast_time_unit(unit)
            assert measure(values, "timestamp", 2).histogram.counts == [2, 2]
            assert measure_large(values.to_frame().lazy(), "c", "timestamp", 4, 2).histogram.counts == [2, 2]
        decimals = pl.Series("c", ["1.10", "1.20", "2.10"]).cast(pl.Decimal(10, 2))
        assert measure(decimals, "number", 2).histogram.counts == [2, 1]
        assert measure_large(decimals.to_frame().lazy(), "c", "number", 3, 2).histogram.counts == [2, 1]
        assert measure(decimals, "number", 2).fields["max"] == "2.10"

    def test_leave_infinite_values_out(self, open_table: Open) -> None:
        found = profile_with_histograms(open_table("a\n1\n2.5\ninf\nnan\n"), bins=3, report=ignore)
        assert found.histograms["a"].counts == [1, 0, 1]


class TestLargeColumns:
    @pytest.mark.parametrize("kind", ["integer", "number", "text", "date", "boolean"])
    def test_agree_with_exact_ones_where_a_sample_holds_all(self, kind: str) -> None:
        rng = random.Random(1)
        make = {
            "integer": lambda: rng.randint(-500, 500), "number": lambda: rng.choice([rng.gauss(0, 1), math.nan, math.inf]),
            "text": lambda: rng.choice("abc"), "date": lambda: dt.date(2024, 1, 1) + dt.timedelta(rng.randint(0, 99)),
            "boolean": lambda: rng.random() < 0.5,
        }[kind]  # fmt: skip
        frame = pl.DataFrame({"c": [rng.choice([None, make()]) for _ in range(5000)]})
        values = frame.select(prepared(pl.col("c"), frame.schema["c"]))
        kind_found = kind_of(frame.schema["c"])
        assert kind_found == kind
        exact, large = (
            measure(values["c"], kind_found, 7),
            measure_large(values.lazy(), "c", kind_found, values.height, 7),
        )
        assert large.fields.pop("approximate") is True
        assert large.fields.pop("mean") == pytest.approx(exact.fields.pop("mean"))
        assert large.fields == exact.fields
        assert large.histogram == exact.histogram

    def test_are_within_one_percent(self) -> None:
        rows = 3_000_000
        frame = pl.select(c=pl.int_range(rows, dtype=pl.Int64) * 7919 % 1_500_000).lazy()
        found = measure_large(frame, "c", "integer", rows, 10).fields
        assert found["distinct"] > SKETCH
        assert found["distinct"] == pytest.approx(1_500_000, rel=0.01)
        for at, value in found["quantiles"].items():
            assert value / 1_500_000 == pytest.approx(float(at), abs=0.01)
        assert (found["min"], found["max"], found["missing"]) == (0, 1_499_999, 0)

    def test_are_what_a_long_table_has(self, open_table: Open, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(profiles, "EXACT_ROWS", 2)
        found = profile(open_table("a,b\n1,x\n2,x\n4,\n"), report=ignore)
        assert column(found, "a") == {
            "name": "a", "type": "integer", "missing": 0, "distinct": 3, "min": 1, "max": 4, "mean": pytest.approx(7 / 3),
            "quantiles": pytest.approx({"0.05": 1.1, "0.25": 1.5, "0.5": 2.0, "0.75": 3.0, "0.95": 3.8}),
            "top": [{"value": 1, "count": 1}, {"value": 2, "count": 1}, {"value": 4, "count": 1}], "approximate": True,
        }  # fmt: skip
        assert column(found, "b")["top"] == [{"value": "x", "count": 2}]


class TestProgress:
    def test_goes_up_to_100(self, open_table: Open) -> None:
        seen: list[tuple[int, dict[str, Any]]] = []
        profile(open_table("a,b\n1,2\n"), report=lambda *each: seen.append(each))
        percents = [percent for percent, _ in seen]
        assert percents == sorted(percents)
        assert seen[-1] == (100, {"stage": "measuring", "columns": 2, "of": 2})

    @pytest.mark.parametrize("stage", ["reading", "measuring"])
    def test_is_where_a_task_is_cancelled(self, open_table: Open, stage: str) -> None:
        data = open_table("a,b\n" + "1,2\n" * 100_000)

        def cancel(_: int, detail: dict[str, Any]) -> None:
            if detail["stage"] == stage:
                raise KeyError("cancelled")

        with pytest.raises(KeyError, match="cancelled"):
            profile(data, report=cancel)


@pytest.mark.parametrize("when", ["0000-01-01", "0001-01-01T00:00:00+23:00", "9999-12-31T23:59:59-12:00"])
def test_times_that_python_cannot_hold_are_named(open_table: Open, when: str) -> None:
    with pytest.raises(UnusableData, match="column b has times outside the years 1 to 9999"):
        profile(open_table(f"a,b\n1,{when}\n"), report=lambda *_: None)
