import datetime as dt
import math
import operator
import re
from typing import Any

import polars as pl
import pytest

from app.tasks.data.errors import InvalidExpression
from app.tasks.data.expressions import compile_aggregate, compile_expression, compile_filter
from tests.support.properties import given, st

NOON = dt.datetime.fromisoformat("2024-01-31T12:00:00")
FRAME = pl.DataFrame(
    {
        "i": [1, -2, None, 7],
        "f": [1.5, math.nan, None, -2.5],
        "t": ["a%b", "é\nX", None, "42"],
        "big": [2**63 - 1, 5, None, 0],
        "d": [dt.date(2024, 1, 31), None, dt.date(2023, 1, 1), None],
        "z": [NOON, None, None, None],
        "utc": pl.Series([NOON.replace(tzinfo=dt.UTC), None, None, None], dtype=pl.Datetime("ms", "Europe/Berlin")),
        "b": [True, False, None, True],
        "nested": [[1], [], None, [2]],
    }
)


def prop(name: str) -> dict[str, str]:
    return {"property": name}


def op(name: str, *args: Any) -> dict[str, Any]:
    return {"op": name, "args": [*args]}


def values(expression: Any) -> list[Any]:
    term = compile_expression(expression, FRAME.schema, "filter")
    found = FRAME.lazy().with_columns(term.expr.alias("found")).collect()
    return found["found"].to_list()


class TestOperators:
    @pytest.mark.parametrize(
        ("expression", "expected"),
        [
            (op(">", prop("i"), 1), [False, False, None, True]),
            (op("=", prop("i"), 7.0), [False, False, None, True]),
            (op("<>", prop("t"), "42"), [True, True, None, False]),
            (op(">", prop("f"), 0), [True, None, None, False]),  # NaN is a missing value
            (op("isNull", prop("f")), [False, True, True, False]),
            (op("isNull", prop("nested")), [False, False, True, False]),
            (op("=", prop("b"), True), [True, False, None, True]),
            (op("not", prop("b")), [False, True, None, False]),
            (op("and", prop("b"), op("isNull", prop("i"))), [False, False, None, False]),
            (op("or", prop("b"), op("isNull", prop("i"))), [True, False, True, True]),
            (op("between", prop("i"), -2, 1.5), [True, True, None, False]),
            (op("in", prop("i"), [1, 7.0]), [True, False, None, True]),
            (op("in", prop("t"), ["42", None]), [None, None, None, True]),
            (op("in", prop("i"), [prop("big"), 7]), [False, False, None, True]),
            (op("like", prop("t"), "%\\%_"), [True, False, None, False]),
            (op("like", prop("t"), "_\n%"), [False, True, None, False]),
            (op("like", prop("t"), "4"), [False, False, None, False]),
            (op("like", op("casei", prop("t")), op("casei", "É%")), [False, True, None, False]),
            (op("=", op("casei", prop("t")), op("casei", "A%B")), [True, False, None, False]),
            (op("+", prop("i"), 1), [2, -1, None, 8]),
            (op("-", prop("i"), 0.5), [0.5, -2.5, None, 6.5]),
            (op("*", prop("i"), prop("f")), [1.5, None, None, -17.5]),
            (op("/", prop("i"), 2), [0.5, -1.0, None, 3.5]),
            (op("/", prop("i"), op("-", prop("i"), 1)), [None, 2 / 3, None, 7 / 6]),
            (op("%", prop("i"), 3), [1, 1, None, 1]),
            (op("%", prop("i"), 0), [None] * 4),
            (op("round", prop("f")), [2.0, None, None, -3.0]),
            (op("round", op("/", prop("i"), 3), 2), [0.33, -0.67, None, 2.33]),
            (op("abs", prop("i")), [1, 2, None, 7]),
            (op("lower", prop("t")), ["a%b", "é\nx", None, "42"]),
            (op("upper", prop("t")), ["A%B", "É\nX", None, "42"]),
            (op("trim", op("concat", "  ", prop("t"), " ")), ["a%b", "é\nX", None, "42"]),
            (op("length", prop("t")), [3, 3, None, 2]),
            (op("coalesce", prop("i"), prop("f"), 0), [1.0, -2.0, 0.0, 7.0]),
            (op("coalesce", prop("i"), 0), [1, -2, 0, 7]),
            (op("year", prop("d")), [2024, None, 2023, None]),
            (op("month", prop("z")), [1, None, None, None]),
            (op("day", prop("utc")), [31, None, None, None]),
            (op("if", prop("b"), 1, 2.5), [1.0, 2.5, 2.5, 1.0]),
            (op("if", op(">", prop("i"), 0), "plus", None), ["plus", None, None, "plus"]),
            (op("=", prop("d"), {"date": "2024-01-31"}), [True, None, False, None]),
            (op("<", prop("d"), prop("z")), [True, None, None, None]),
            (op("=", prop("utc"), {"timestamp": "2024-01-31T13:00:00+01:00"}), [True, None, None, None]),
            (op("=", prop("utc"), prop("z")), [True, None, None, None]),
            (op("cast", prop("i"), "text"), ["1", "-2", None, "7"]),
            (op("cast", prop("f"), "integer"), [1, None, None, -2]),
            (op("cast", prop("i"), "boolean"), [True, True, None, True]),
            (op("cast", prop("b"), "text"), ["true", "false", None, "true"]),
            (op("cast", prop("b"), "integer"), [1, 0, None, 1]),
            (op("cast", prop("d"), "timestamp"), [dt.datetime.fromisoformat("2024-01-31"), None, dt.datetime.fromisoformat("2023-01-01"), None]),
            (op("cast", prop("utc"), "text"), ["2024-01-31T12:00:00", None, None, None]),
        ],
    )  # fmt: skip
    def test_give(self, expression: Any, expected: list[Any]) -> None:
        found = values(expression)
        assert found == expected
        assert [type(each) for each in found] == [type(each) for each in expected]

    @pytest.mark.parametrize(
        ("text", "kind", "expected"),
        [
            ("12", "integer", 12),
            ("1e3", "number", 1000.0),
            ("True", "boolean", True),
            ("2024-02-29", "date", dt.date(2024, 2, 29)),
            ("2024-01-31 12:00", "timestamp", NOON),
            ("2024-01-31T12:00:00.000000", "timestamp", NOON),
            ("2024-01-31T14:00:00+02:00", "timestamp", NOON),
            ("2024-01-31T12:00Z", "timestamp", NOON),
        ],
    )
    def test_cast_text(self, text: str, kind: str, expected: Any) -> None:
        assert {*values(op("cast", op("if", True, text, prop("t")), kind))} == {expected}

    @pytest.mark.parametrize(
        "expression",
        [
            op("cast", prop("t"), "integer"),
            op("cast", "no", "boolean"),
            op("cast", "2024-02-30", "date"),
            op("cast", prop("t"), "timestamp"),
            op("+", prop("big"), 1),
            op("*", prop("big"), 2),
        ],
    )
    def test_fail_instead_of_losing_a_value(self, expression: Any) -> None:
        term = compile_expression(expression, FRAME.schema, "filter")
        with pytest.raises(pl.exceptions.InvalidOperationError):
            FRAME.lazy().select(term.expr).collect()


class TestFaults:
    @pytest.mark.parametrize(
        ("expression", "words"),
        [
            (op("=", prop("t"), 1), "filter.args[1]: = needs values of one type, not text and a number: convert one with cast"),
            (op("and", True, op(">", "x", prop("i"))), "filter.args[1].args[1]: > needs values of one type"),
            (op("=", prop("d"), "2024-01-31"), 'write {"date": "2024-01-31"}'),
            (op("=", prop("i"), None), "filter.args[1]: nothing compares with null: use isNull"),
            (op("and", True), "filter.args: and takes at least 2 arguments, not 1"),
            (op("round", 1, 2, 3), "filter.args: round takes 1 to 2 arguments, not 3"),
            (op("isNull"), "filter.args: isNull takes 1 argument, not 0"),
            (op("betwen", 1, 2, 3), "filter.op: 'betwen' is no operator, did you mean between"),
            ({"op": ["and"], "args": []}, "filter.op: ['and'] is no operator: use one of and or"),
            (op("not", op("=", prop("amuont"), 1)), "filter.args[0].args[0].property: there is no column 'amuont'"),
            (prop("T"), "there is no column 'T', did you mean t: there are i, f"),
            ({"property": 3}, "filter.property: must be the name of a column"),
            ({"sql": "1"}, "filter: must be a value"),
            ({"op": "and", "args": [True, True], "x": 1}, "filter: has only op and args, not x"),
            ({"op": "not", "args": True}, "filter.args: must be a list of arguments"),
            ([1], "filter: must be a single value, not a list"),
            ("x" * 10_001, "more than 10000 characters"),
            (2**63, "integers have at most 64 bits"),
            (op("cast", prop("i"), "txet"), "filter.args[1]: 'txet' is no type, did you mean text"),
            (op("cast", prop("d"), "number"), "filter: a date cannot be cast to number"),
            (op("like", prop("i"), "1%"), "filter.args[0]: must be text, not a number: use"),
            (op("like", prop("t"), prop("t")), "filter.args[1]: must be text with %"),
            (op("in", prop("i"), 1), "filter.args[1]: must be a list"),
            (op("in", prop("i"), [1, "x"]), "filter.args[1][1]: in needs values of one type"),
            (op("round", 1.5, 20), "filter.args[1]: must be a number of digits"),
            (op("=", prop("nested"), 1), "not nested or binary data"),
            (op("year", prop("t")), 'must be a date or a timestamp, not text: use {"op": "cast"'),
            (op("if", 1, 2, 3), "filter.args[0]: must be a boolean, not a number"),
            ({"date": "2024-02-30"}, "filter.date: must be a date such as"),
            ({"timestamp": 5}, "filter.timestamp: must be a time such as"),
            (1, "filter: must be a boolean, not a number"),
        ],
    )  # fmt: skip
    def test_are_named_with_their_place_before_anything_runs(self, expression: Any, words: str) -> None:
        with pytest.raises(InvalidExpression, match=re.escape(words)):
            compile_filter(expression, FRAME.schema)

    def test_of_depth_and_size_are_refused(self) -> None:
        deep: Any = True
        for _ in range(20):
            deep = op("not", deep)
        compile_filter(deep, FRAME.schema)
        with pytest.raises(InvalidExpression, match="nested more than 20 deep"):
            compile_filter(op("not", deep), FRAME.schema)
        with pytest.raises(InvalidExpression, match="more than 10000 parts"):
            compile_filter(op("in", prop("i"), [*range(10_000)]), FRAME.schema)


class TestAggregates:
    @pytest.mark.parametrize(
        ("name", "of", "expected"),
        [
            ("sum", "i", 6), ("sum", "f", -1.0), ("count", "f", 2), ("mean", "i", 2.0), ("min", "i", -2), ("max", "f", 1.5),
            ("median", "i", 1.0), ("std", "i", math.sqrt((1 + 16 + 25) / 2)), ("n_unique", "b", 2), ("first", "t", "a%b"), ("last", "i", 7),
            ("min", "d", dt.date(2023, 1, 1)), ("max", "t", "é\nX"),
        ],
    )  # fmt: skip
    def test_leave_missing_values_out(self, name: str, of: str, expected: Any) -> None:
        found = FRAME.lazy().select(compile_aggregate(op(name, prop(of)), FRAME.schema, "x")).collect().item()
        assert found == (pytest.approx(expected) if isinstance(expected, float) else expected)

    def test_count_rows_without_an_argument(self) -> None:
        assert FRAME.select(compile_aggregate(op("count"), FRAME.schema, "x")).item() == 4

    def test_fail_where_a_sum_exceeds_64_bits(self) -> None:
        aggregate = compile_aggregate(op("sum", prop("big")), FRAME.schema, "x")
        with pytest.raises(pl.exceptions.InvalidOperationError):
            FRAME.select(aggregate)

    @pytest.mark.parametrize(
        ("value", "words"),
        [
            (op("summ", prop("i")), "x.op: 'summ' is no aggregate, did you mean sum"),
            (prop("i"), 'x: must be {"op": one of sum'),
            (op("sum", prop("t")), "x.args[0]: must be a number, not text"),
            (op("mean"), "x.args: mean takes 1 argument, not 0"),
            (op("max", prop("nested")), "not nested or binary data"),
        ],
    )
    def test_that_do_not_fit_are_refused(self, value: Any, words: str) -> None:
        with pytest.raises(InvalidExpression, match=re.escape(words)):
            compile_aggregate(value, FRAME.schema, "x")


# A tiny evaluator, of the expressions that the strategies below make.
OF_VALUES = {
    "=": operator.eq, "<>": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "+": operator.add,
    "-": operator.sub, "*": operator.mul, "%": lambda one, other: one % other if other else None, "not": operator.not_,
}  # fmt: skip
OF_ANYTHING = {
    "isNull": lambda value: value is None,
    "and": lambda *values: False if False in values else None if None in values else True,
    "or": lambda *values: True if True in values else None if None in values else False,
    "coalesce": lambda *values: next((each for each in values if each is not None), None),
    "if": lambda condition, one, other: one if condition else other,
}


def evaluate(expression: Any, row: dict[str, Any]) -> Any:
    if not isinstance(expression, dict):
        return expression
    if "property" in expression:
        return row[expression["property"]]
    name, found = expression["op"], [evaluate(each, row) for each in expression["args"]]
    if name in OF_ANYTHING:
        return OF_ANYTHING[name](*found)
    return None if None in found else OF_VALUES[name](*found)


SMALL = st.integers(-1000, 1000)
ROWS = st.lists(
    st.fixed_dictionaries({"i": st.none() | SMALL, "j": st.none() | SMALL, "b": st.none() | st.booleans()}), max_size=8
)
NUMBER = st.recursive(
    SMALL | st.sampled_from([prop("i"), prop("j")]),
    lambda inner: st.builds(op, st.sampled_from(["+", "-", "*", "%", "coalesce"]), inner, inner),
    max_leaves=4,
)
CONDITION = st.recursive(
    st.booleans() | st.just(prop("b")) | st.builds(op, st.sampled_from(["=", "<>", "<", "<=", ">", ">="]), NUMBER, NUMBER) | st.builds(op, st.just("isNull"), NUMBER),
    lambda inner: st.builds(op, st.sampled_from(["and", "or"]), inner, inner)
    | st.builds(op, st.just("not"), inner)
    | st.builds(op, st.just("if"), inner, inner, inner),
    max_leaves=6,
)  # fmt: skip


class TestAgainstAnEvaluator:
    @given(rows=ROWS, expression=CONDITION)
    def test_every_condition_gives_the_same(self, rows: list[dict[str, Any]], expression: Any) -> None:
        schema = pl.Schema({"i": pl.Int64(), "j": pl.Int64(), "b": pl.Boolean()})
        frame = pl.DataFrame(rows, schema=schema)
        term = compile_expression(expression, schema, "filter")
        found = frame.lazy().with_columns(term.expr.alias("found")).collect()["found"].to_list()
        assert found == [evaluate(expression, row) for row in rows]

    @given(pattern=st.text("a%_\\b.*\n", max_size=6), texts=st.lists(st.text("ab%_\\.*\n", max_size=6), max_size=6))
    def test_every_pattern_fits_the_same(self, pattern: str, texts: list[str]) -> None:
        def fits(pattern: str, text: str) -> bool:
            if not pattern:
                return not text
            if pattern[0] == "%":
                return any(fits(pattern[1:], text[at:]) for at in range(len(text) + 1))
            if pattern[0] == "\\" and len(pattern) > 1:
                return text[:1] == pattern[1] and fits(pattern[2:], text[1:])
            return bool(text) and pattern[0] in ("_", text[0]) and fits(pattern[1:], text[1:])

        schema = pl.Schema({"t": pl.String()})
        condition = compile_filter(op("like", prop("t"), pattern), schema)
        frame = pl.DataFrame({"t": texts}, schema=schema)
        assert frame.select(condition)["t"].to_list() == [fits(pattern, text) for text in texts]
