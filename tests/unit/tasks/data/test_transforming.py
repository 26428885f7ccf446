import csv
import datetime as dt
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from app.tasks.data import engine, parquet_table, transformation
from app.tasks.data.errors import InvalidExpression, TooMuchMemory, UnusableData
from app.tasks.data.tables import Data
from app.tasks.data.transformation import MORSEL_CELLS, transform
from tests.unit.tasks.data.conftest import Open

Transform = Callable[..., dict[str, Any]]
ORDERS = "id,customer,amount,day\n1,ann,10.5,2024-01-31\n2,bob,,2024-02-01\n3,ann,2.25,\n4,,7,2024-02-03\n"


def prop(name: str) -> dict[str, str]:
    return {"property": name}


def op(name: str, *args: Any) -> dict[str, Any]:
    return {"op": name, "args": [*args]}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "result"


def run(data: Data, out: Path, **arguments: Any) -> dict[str, Any]:
    return transform(data, out, **{"max_bytes": 10**9, "report": lambda *_: None, **arguments})


def lines(out: Path) -> list[str]:
    return out.read_text().splitlines()


class TestSteps:
    def test_filter_and_select_names(self, open_table: Open, out: Path) -> None:
        result = run(open_table(ORDERS), out, filter=op(">", prop("amount"), 5), select=["amount", "id"])
        assert result == {"rows_read": 4, "rows_written": 2, "columns": ["amount", "id"]}
        assert lines(out) == ["amount,id", "10.5,1", "7.0,4"]

    def test_select_expressions(self, open_table: Open, out: Path) -> None:
        select = {
            "id": prop("customer"),
            "customer": prop("id"),
            "twice": op("*", prop("amount"), 2),
            "one": 1,
            "late": op(">", prop("day"), {"date": "2024-01-31"}),
        }
        run(open_table(ORDERS), out, select=select)
        assert lines(out) == [
            "id,customer,twice,one,late",
            "ann,1,21.0,1,false",
            "bob,2,,1,true",
            "ann,3,4.5,1,",
            ",4,14.0,1,true",
        ]

    def test_constants_alone_have_all_rows(self, open_table: Open, out: Path) -> None:
        assert run(open_table(ORDERS), out, select={"x": 1})["rows_written"] == 4

    def test_group_and_sort(self, open_table: Open, out: Path) -> None:
        aggregate = {"n": op("count"), "sum": op("sum", prop("amount")), "last": op("max", prop("day"))}
        result = run(open_table(ORDERS), out, group_by=["customer"], aggregate=aggregate, sort=["-n", "customer"])
        assert lines(out) == [
            "customer,n,sum,last",
            "ann,2,12.75,2024-01-31",
            "bob,1,0.0,2024-02-01",
            ",1,7.0,2024-02-03",
        ]
        assert result["rows_written"] == 3

    def test_aggregate_all_rows(self, open_table: Open, out: Path) -> None:
        run(open_table(ORDERS), out, aggregate={"mean": op("mean", prop("amount"))})
        assert lines(out) == ["mean", str((10.5 + 2.25 + 7) / 3)]

    def test_sort_puts_missing_values_last_and_keeps_the_order_of_equal_ones(self, open_table: Open, out: Path) -> None:
        run(open_table(ORDERS), out, sort=["-customer"], select=["customer", "id"])
        assert lines(out)[1:] == ["bob,2", "ann,1", "ann,3", ",4"]

    @pytest.mark.parametrize(
        ("how", "expected"),
        [
            ("inner", ["1,ann,x,A", "3,ann,z,A"]),
            ("left", ["1,ann,x,A", "2,bob,y,", "3,ann,z,A", "4,,,"]),
            ("full", ["1,ann,x,A", "2,bob,y,", "3,ann,z,A", "4,,,", ",cid,,C"]),
            ("right", ["1,ann,x,A", "3,ann,z,A", ",cid,,C"]),
        ],
    )
    def test_join(self, open_table: Open, out: Path, how: str, expected: list[str]) -> None:
        left = open_table("id,customer,name\n1,ann,x\n2,bob,y\n3,ann,z\n4,,\n")
        right = open_table("customer,name\nann,A\ncid,C\n")
        result = run(
            left, out, join=right, join_on=["customer"], join_how=how, select=["id", "customer", "name", "name_right"]
        )
        assert sorted(lines(out)[1:]) == sorted(expected)
        assert result["rows_read"] == 4

    @pytest.mark.parametrize(("how", "expected"), [("semi", ["1", "3"]), ("anti", ["2", "4"])])
    def test_join_as_a_filter(self, open_table: Open, out: Path, how: str, expected: list[str]) -> None:
        run(
            open_table(ORDERS),
            out,
            join=open_table('{"customer": "ann"}\n'),
            join_on=["customer"],
            join_how=how,
            select=["id"],
        )
        assert lines(out)[1:] == expected

    def test_join_integers_with_numbers(self, open_table: Open, out: Path) -> None:
        run(open_table("k,a\n1,x\n2,y\n"), out, join=open_table("k,b\n1.0,p\n2.5,q\n"), join_on=["k"])
        assert lines(out) == ["k,a,b", "1.0,x,p"]

    def test_come_in_their_order(self, open_table: Open, out: Path) -> None:
        """Join, filter, group, sort: each sees the columns of the one before."""
        right = open_table("customer,rate\nann,2\nbob,3\n")
        run(
            open_table(ORDERS), out, join=right, join_on=["customer"], filter=op("=", prop("rate"), 2), group_by=["rate"],
            aggregate={"total": op("sum", op("*", prop("amount"), prop("rate")))}, sort=["total"],
        )  # fmt: skip
        assert lines(out) == ["rate,total", "2,25.5"]

    def test_of_a_file_without_rows(self, open_table: Open, out: Path) -> None:
        result = run(open_table("a,b\n"), out, filter=op("isNull", prop("a")), sort=["a"])
        assert (result["rows_read"], result["rows_written"], lines(out)) == (0, 0, ["a,b"])


@pytest.fixture
def cells(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Is filled with the number of cells of the first batches of 1,000 columns or more; these end their query."""
    seen: list[int] = []

    def check(batch: pl.DataFrame) -> None:
        if batch.width >= 1000:
            seen.append(batch.height * batch.width)
            raise TooMuchMemory("seen")

    monkeypatch.setattr(engine, "check_batch", check)
    return seen


class TestMemory:
    def test_a_join_of_many_equal_keys_ends_before_it_is_sorted(
        self, open_table: Open, out: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        left, right = (open_table(f"k,{name}\n" + "1,2\n" * 1000) for name in "ab")
        few = {"join": right, "join_on": ["k"], "max_bytes": 100_000}
        with pytest.raises(UnusableData, match="the join gives more than 4166 rows, which the next step needs in mem"):
            run(left, out, **few, sort=["a"])
        assert run(left, out, **few)["rows_written"] == 1_000_000  # in a stream
        assert run(left, out, **few, filter=op("<", prop("a"), 2), sort=["a"])["rows_written"] == 0

    @pytest.mark.parametrize("output", ["csv", "parquet", "jsonl"])
    def test_few_rows_of_a_wide_selection_are_there_at_a_time(
        self, open_table: Open, out: Path, cells: list[int], output: str
    ) -> None:
        table = open_table("v\n" + "1\n" * 1_000_000)
        select = {f"a{at}": op("+", prop("v"), at) for at in range(1000)}
        with pytest.raises(TooMuchMemory, match="seen"):
            run(table, out, select=select, output=output)
        assert 0 < max(cells) <= MORSEL_CELLS

    def test_few_rows_of_a_wide_join_are_there_at_a_time(self, open_table: Open, out: Path, cells: list[int]) -> None:
        table = "k," + ",".join(f"c{at}" for at in range(899)) + "\n" + ("1" + ",1" * 899 + "\n") * 1000
        with pytest.raises(TooMuchMemory, match="seen"):
            run(open_table(table), out, join=open_table(table), join_on=["k"])
        assert 0 < max(cells) <= MORSEL_CELLS

    def test_a_wide_selection_has_all_rows_in_their_order(
        self, open_table: Open, out: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(transformation, "MORSEL_CELLS", 10_000)
        select = {f"a{at}": op("+", prop("v"), at) for at in range(100)}
        table = open_table("v\n" + "".join(f"{at}\n" for at in range(1000)))
        result = run(table, out, select=select, filter=op(">=", prop("v"), 10))
        assert (result["rows_read"], result["rows_written"]) == (1000, 990)
        assert [line.split(",")[0] for line in lines(out)[1:]] == [str(at) for at in range(10, 1000)]

    def test_a_fault_of_a_wide_selection_is_told(self, open_table: Open, out: Path) -> None:
        select = {f"a{at}": op("cast", prop("v"), "integer") for at in range(100)}
        with pytest.raises(UnusableData, match=r'a cast failed, because these values have no counterpart: "x"'):
            run(open_table("v\n1\nx\n"), out, select=select)

    def test_groups_count_by_their_aggregates(self, open_table: Open, out: Path) -> None:
        table = open_table("k,v\n" + "".join(f"{at % 10},{at}\n" for at in range(10_000)))
        few = {"aggregate": {f"a{at}": op("sum", prop("v")) for at in range(90)}, "max_bytes": 10_000_000}
        with pytest.raises(UnusableData, match="there are more than 3462, each with 90 aggregates: group by columns"):
            run(table, out, group_by=["v"], **few)
        assert not table.is_converted  # it is not tried again
        assert run(table, out, group_by=["k"], **few)["rows_written"] == 10

    def test_groups_of_a_join_count_by_their_aggregates(self, open_table: Open, out: Path) -> None:
        left, right = (open_table(f"k,{name}\n" + "".join(f"1,{at}\n" for at in range(100))) for name in "ab")
        few = {"aggregate": {f"a{at}": op("sum", prop("a")) for at in range(90)}, "max_bytes": 1_000_000}
        with pytest.raises(UnusableData, match="there are more than 345, each with 90 aggregates"):
            run(left, out, join=right, join_on=["k"], group_by=["a", "b"], **few)
        assert run(left, out, join=right, join_on=["k"], group_by=["a"], **few)["rows_written"] == 100

    def test_values_that_many_aggregates_keep_are_counted(self, open_table: Open, out: Path) -> None:
        table = open_table("k,v\n" + "".join(f"{at % 10},{at}\n" for at in range(10_000)))
        many = {f"a{at}": op("n_unique", prop("v")) for at in range(90)}
        with pytest.raises(UnusableData, match="90 of n_unique keep the values of more than 2314 rows in memory"):
            run(table, out, group_by=["k"], aggregate=many, max_bytes=10_000_000)
        run(table, out, group_by=["k"], aggregate={"a": many["a1"]}, max_bytes=10_000_000)

    def test_what_is_sorted_counts_behind_its_selection(self, open_table: Open, out: Path) -> None:
        table = open_table("v\n" + "1\n" * 10_000)
        few = {"select": {f"a{at}": op("+", prop("v"), at) for at in range(90)}, "max_bytes": 5_000_000}
        with pytest.raises(UnusableData, match="sort: all rows are needed in memory, and these columns have more than"):
            run(table, out, sort=["a1"], **few)
        assert run(table, out, **few)["rows_written"] == 10_000

    def test_what_is_sorted_counts_by_its_cells(self, open_table: Open, out: Path) -> None:
        table = open_table("a,b,c\n" + ",,\n" * 1000)
        assert table.bytes < 10_000
        with pytest.raises(UnusableData, match="sort: all rows are needed in memory, and the data has 48000 bytes"):
            run(table, out, sort=["a"], max_bytes=40_000)
        assert run(table, out, sort=["a"], select=["a"], max_bytes=40_000)["rows_written"] == 1000

    def test_columns_that_a_selection_makes_are_cells(self, open_table: Open, out: Path) -> None:
        made = {f"c{number}": prop("a") for number in range(1001)}
        assert run(open_table("a\n1\n"), out, select=made)["rows_written"] == 1
        with pytest.raises(UnusableData, match="the output has 1001 columns and 25000 rows"):
            run(open_table("a\n" + "1\n" * 25_000), out, select=made)

    def test_texts_of_an_expression_are_joined_a_thousand_times_at_most(self, open_table: Open, out: Path) -> None:
        half = op("concat", *[prop("a")] * 500)
        with pytest.raises(InvalidExpression, match="the expression joins more than 1000 texts"):
            run(open_table("a\nx\n"), out, select={"b": op("concat", half, half)})
        run(open_table("a\nx\n"), out, select={"b": half})
        assert lines(out) == ["b", "x" * 500]

    @pytest.mark.parametrize("output", ["csv", "jsonl", "parquet"])
    def test_wide_rows_are_written_a_few_at_a_time_and_in_their_order(
        self, open_table: Open, out: Path, output: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        content = "a,b\n" + "".join(f"{number},=x\n" for number in range(1000))
        run(open_table(content), out, output=output)
        expected = pl.read_parquet(out) if output == "parquet" else out.read_bytes()
        monkeypatch.setattr(engine, "BATCH_CELLS", 200)
        sizes: list[int] = []
        batches = pl.LazyFrame.collect_batches

        def spied(frame: pl.LazyFrame, *, chunk_size: int, **rest: Any) -> Any:
            sizes.append(chunk_size)
            return batches(frame, chunk_size=chunk_size, **rest)

        monkeypatch.setattr(pl.LazyFrame, "collect_batches", spied)
        run(open_table(content), out, output=output)
        if output == "parquet":
            groups = parquet_table._Reader(parquet_table._footer_bytes(out)).struct()[parquet_table.ROW_GROUPS]
            assert (pl.read_parquet(out).equals(expected), len(groups)) == (True, 10)
        else:
            assert (out.read_bytes(), sizes) == (expected, [100])


class TestTypes:
    def test_of_later_rows_count(self, open_table: Open, out: Path) -> None:
        """The query is run again where the first values were of another type: also one that did not fit the first one."""
        text = "a,b\n" + "1,x\n" * 10_500 + "007,y\n"
        run(open_table(text), out, filter=op("=", prop("b"), "y"))
        assert lines(out) == ["a,b", "007,y"]
        run(open_table(text), out, filter=op("=", op("lower", prop("a")), "007"))
        assert lines(out) == ["a,b", "007,y"]
        with pytest.raises(InvalidExpression, match=r"filter.args"):
            run(open_table(text), out, filter=op("=", prop("a"), 7))

    def test_of_short_lines_are_refused(self, open_table: Open, out: Path) -> None:
        with pytest.raises(UnusableData, match="line 5003 has 1 fields, the header has 2"):
            run(open_table("a,b\n" + "1,\n" * 5001 + "2\n"), out, filter=op("=", prop("a"), 1))
        assert not out.exists()

    def test_of_every_line_are_read_with_quotes(self, open_table: Open, out: Path) -> None:
        result = run(open_table('a,b\n"x\ny",1\n5" pipe,2\n'), out, output="jsonl")
        assert [json.loads(line) for line in lines(out)] == [{"a": "x\ny", "b": 1}, {"a": '5" pipe', "b": 2}]
        assert result["rows_read"] == 2


class TestFirstLinesOfJson:
    """The types of the first lines are taken, and all lines looked at only where that might be wrong."""

    @pytest.mark.parametrize(
        ("first", "last"),
        [(1, 2), (1.5, 2), (1.5, None), ("x", "y"), ("x", 2), ("x", {"y": 1}), (True, False)],
        ids=str,
    )
    def test_are_enough_where_later_values_fit(self, open_table: Open, out: Path, first: object, last: object) -> None:
        assert not self._is_converted(open_table, out, first, last)

    @pytest.mark.parametrize(
        ("first", "last"),
        [
            (1, 1.5),
            (1, "x"),
            (1, 2**63),
            (1.5, "x"),
            (1.5, 2**63),
            (1.5, -(2**64)),
            (True, 1),
            (None, 1),
            (2**63, 1),
            ([1], [2]),
            ({"x": 1}, {"y": 1}),
        ],
        ids=str,
    )
    def test_are_not_enough(self, open_table: Open, out: Path, first: object, last: object) -> None:
        assert self._is_converted(open_table, out, first, last)

    def test_may_lack_a_column(self, open_table: Open, out: Path) -> None:
        text = '{"a": 1, "b": 2}\n' * 70_000
        run(open_table(text + '{"c": 3}\n'), out, select=["c"], filter=op("=", prop("c"), 3), output="jsonl")
        assert lines(out) == ['{"c":3}']
        run(open_table(text), out, aggregate={"n": op("count")}, output="jsonl")
        assert lines(out) == ['{"n":70000}']

    @pytest.mark.parametrize("damaged", ["[1]", "{", '{"b": }'])
    def test_do_not_hide_a_damaged_one_of_which_no_column_is_read(
        self, open_table: Open, out: Path, damaged: str
    ) -> None:
        with pytest.raises(UnusableData, match="line 70001"):
            run(open_table('{"a": 1, "b": 2}\n' * 70_000 + damaged + "\n"), out, select=["a"])
        assert not out.exists()

    @staticmethod
    def _is_converted(open_table: Open, out: Path, first: object, last: object) -> bool:
        """Transform such a file, compare with what a look at all lines gives, and say whether there was one."""
        rows = [json.dumps({"a": first, "b": "pad"})] * 70_000 + [json.dumps({"a": last, "b": "end"})]
        looked_at, data = open_table("\n".join(rows)), open_table("\n".join(rows))
        looked_at.convert()
        written = []
        for each in (looked_at, data):
            result = run(each, out, select=["a", "b"], filter=op("=", prop("b"), "end"), output="jsonl")
            assert (result["rows_read"], result["rows_written"]) == (70_001, 1)
            written.append(lines(out))
        assert written[0] == written[1]
        return data.is_converted


@pytest.mark.parametrize(("operator", "wanted"), [("and", ["a", "2"]), ("or", ["a", "1", "2", "3"])])
def test_a_condition_may_have_thousands_of_parts(
    open_table: Open, out: Path, operator: str, wanted: list[str]
) -> None:  # fmt: skip
    """Nested in each other, they would take minutes."""
    parts = [op("=" if operator == "and" else "<>", prop("a"), 2)] * 3000 + [op("=", prop("a"), 2)]
    run(open_table("a\n1\n2\n3\n"), out, filter=op(operator, *parts))
    assert lines(out) == wanted


class TestOutput:
    def test_of_csv_has_no_formulas(self, open_table: Open, out: Path) -> None:
        cells = [
            "=1+1",
            "+cmd",
            "-2+3",
            "@x",
            "\tx",
            "\rx",
            "-5",
            "+49",
            "-1,5",
            "1e-5",
            "a=b",
            "",
            "'=x",
            "-",
            '=HYPERLINK("http://x","y")',
        ]
        content = "".join(json.dumps({"=name": cell, "n": -1}) + "\n" for cell in cells)
        run(open_table(content), out)
        rows = [*csv.reader(io.StringIO(out.read_bytes().decode(), newline=""))]
        escaped = [
            f"'{cell}" if cell[:1] in {*"=+-@\t\r"} and cell not in ("-5", "+49", "-1,5") else cell for cell in cells
        ]
        assert rows == [["'=name", "n"], *([cell, "-1"] for cell in escaped)]

    def test_of_csv_is_read_back_as_the_same_table(self, open_table: Open, out: Path) -> None:
        text = 'a,b,c,d,e\n1,"x,""y""",2024-01-31,2024-01-31T12:00:00.5,true\n,"z\nw",,2024-01-31T12:00:00,\n'
        first = open_table(text)
        run(first, out)
        assert open_table(out.read_bytes()).frame.collect().equals(first.frame.collect())

    def test_has_times_of_iso_8601(self, open_table: Open, out: Path) -> None:
        text = "a,b\n2024-01-31T12:00:00.5+01:00,2024-01-31 12:00\n"
        run(open_table(text), out)
        assert lines(out)[1] == "2024-01-31T11:00:00.500Z,2024-01-31T12:00:00"
        run(open_table(text), out, output="jsonl")
        assert json.loads(out.read_text()) == {"a": "2024-01-31T11:00:00.500Z", "b": "2024-01-31T12:00:00"}

    def test_of_parquet_has_the_types(self, open_table: Open, out: Path) -> None:
        run(open_table(ORDERS), out, output="parquet")
        assert pl.read_parquet(out).schema == {
            "id": pl.Int64,
            "customer": pl.String,
            "amount": pl.Float64,
            "day": pl.Date,
        }

    def test_of_json_lines_has_no_nan(self, open_table: Open, out: Path) -> None:
        run(open_table("a\n1.5\nnan\ninf\n"), out, output="jsonl")
        assert [json.loads(line) for line in lines(out)] == [{"a": 1.5}, {"a": None}, {"a": None}]

    def test_of_csv_refuses_nested_data_in_words(self, open_table: Open, out: Path) -> None:
        data = open_table('{"a": {"b": 1}, "c": 2}\n')
        with pytest.raises(
            UnusableData, match="column a has data that csv cannot hold: leave it out, or take output jsonl"
        ):
            run(data, out)
        run(data, out, select=["c"])
        assert lines(out) == ["c", "2"]


class TestFaults:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"select": ["amuont"]}, "select: there is no column 'amuont', did you mean amount: there are id"),
            ({"select": ["id", "id"]}, "select: id is there twice"),
            ({"select": []}, "select: name between 1 and 10000 columns"),
            ({"select": {" ": 1}}, "select: a new column needs a name"),
            ({"select": {"*": 1}}, "select: '\\*' reads as a pattern of names"),
            ({"select": {"x": op("+", prop("customer"), 1)}}, "select.x.args.1.: arithmetic needs values of one type"),
            ({"filter": prop("amount")}, "filter: must be a boolean, not a number"),
            ({"group_by": ["nobody"]}, "group_by: there is no column 'nobody'"),
            ({"aggregate": {"id": op("sum", prop("customer"))}}, "aggregate.id.args.0.: must be a number, not text"),
            ({"aggregate": {"n": op("sum", 1)}}, "aggregate.n.args.0.: must use a column"),
            ({"group_by": ["id"], "aggregate": {"id": op("count")}}, "aggregate: id is a name in group_by too"),
            ({"group_by": ["id"], "select": ["id"]}, "select: is not possible with group_by"),
            ({"sort": ["-amuont"]}, "sort: there is no column 'amuont', did you mean amount"),
            ({"sort": ["amount"], "select": ["id"]}, "sort: there is no column 'amount'"),
            ({"join_on": ["id"]}, "join_on: needs join_with"),
            ({"sort": [1]}, "sort: must be a list of names"),
            ({"select": "id"}, "select: must be a list of names"),
            ({"group_by": ["id"], "aggregate": ["sum"]}, "aggregate: must be an object"),
            ({"output": "xlsx"}, "output must be csv, parquet, jsonl, not 'xlsx'"),
            ({"filter": op(">", op("cast", prop("customer"), "integer"), 1)}, 'a cast failed, because these values have no counterpart: "ann"'),
            ({"select": {"x": op("cast", prop("customer"), "boolean")}}, "a cast failed: a value is no boolean"),
            ({"select": {"x": op("*", op("+", prop("id"), 2**62), 4)}}, "a result beyond 64 bits: cast its arguments to number first"),
        ],
    )  # fmt: skip
    def test_are_told_in_words_and_leave_nothing(
        self, open_table: Open, out: Path, arguments: dict[str, Any], words: str
    ) -> None:
        with pytest.raises((InvalidExpression, UnusableData), match=words):
            run(open_table(ORDERS), out, **arguments)
        assert not out.exists()

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({}, "join_on: name the columns"),
            ({"join_on": ["amount"]}, "join_on, in join_with: there is no column 'amount'"),
            ({"join_on": ["id"]}, "join_on: id in join_with: a join needs values of one type, not a number and text"),
            ({"join_on": ["id"], "join_how": "outer"}, "join_how must be inner, left"),
        ],
    )
    def test_of_joins_are_told_in_words(
        self, open_table: Open, out: Path, arguments: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(InvalidExpression, match=words):
            run(open_table(ORDERS), out, join=open_table("id,x\na,1\n"), **arguments)

    @pytest.mark.parametrize("arguments", [{"sort": ["id"]}, {"group_by": ["id"]}, {"aggregate": {"n": op("count")}}])
    def test_of_size_are_refused_before_anything_runs(
        self, open_table: Open, out: Path, arguments: dict[str, Any]
    ) -> None:
        with pytest.raises(
            UnusableData, match="all rows are needed in memory, and the data has 91 bytes, more than 80"
        ):
            run(open_table(ORDERS), out, max_bytes=80, report=pytest.fail, **arguments)
        run(open_table(ORDERS), out, max_bytes=80, filter=op("=", prop("id"), 1))

    def test_of_the_size_of_the_output_end_the_query(self, open_table: Open, out: Path) -> None:
        many = open_table("k,a\n" + "1,xxxxxxxxxx\n" * 3000)
        with pytest.raises(UnusableData, match="the output is larger than 1000 bytes"):
            run(many, out, join=many, join_on=["k"], max_output_bytes=1000)
        assert not out.exists()

    def test_of_a_damaged_file_are_told_in_words(self, open_table: Open, out: Path) -> None:
        content = io.BytesIO()
        pl.DataFrame({"a": [*range(100_000)]}).write_parquet(content)
        damaged = bytearray(content.getvalue())
        damaged[100:50_000] = bytes(49_900)
        with pytest.raises(UnusableData, match="damaged"):
            run(open_table(bytes(damaged)), out)
        assert not out.exists()


class TestProgress:
    def test_tells_rows_and_ends_at_100(self, open_table: Open, out: Path) -> None:
        seen: list[tuple[int, dict[str, Any]]] = []
        run(open_table(ORDERS), out, report=lambda *each: seen.append(each))
        assert seen[-1] == (100, {"stage": "written", "rows": 4, "of": 4})
        assert [percent for percent, _ in seen] == sorted(percent for percent, _ in seen)

    @pytest.mark.parametrize("name", ["data.csv", "data.jsonl"])
    def test_is_where_a_task_is_cancelled(self, open_table: Open, out: Path, name: str) -> None:
        row = '{"a": 1, "b": "x"}\n' if name == "data.jsonl" else "1,x\n"
        data = open_table(("" if name == "data.jsonl" else "a,b\n") + row * 100_000)

        def cancel(*_: Any) -> None:
            raise KeyError("cancelled")

        with pytest.raises(KeyError, match="cancelled"):
            run(data, out, report=cancel)
        assert not out.exists()


class TestAgainstPython:
    def test_a_random_table_gives_what_a_loop_gives(self, open_table: Open, out: Path) -> None:
        rng = random.Random(7)
        rows = [
            {
                "k": rng.choice(["a", 'b"', "c,d", "", "é"]),
                "n": rng.choice([None, rng.randint(-50, 50)]),
                "d": rng.choice([None, dt.date(2024, 1, 1) + dt.timedelta(rng.randint(0, 400))]),
            }
            for _ in range(3000)
        ]
        text = io.StringIO()
        writer = csv.DictWriter(text, ["k", "n", "d"])
        writer.writeheader()
        writer.writerows(rows)
        aggregate = {"n": op("count", prop("n")), "sum": op("sum", prop("n")), "first": op("min", prop("d"))}
        condition = op("or", op(">", prop("n"), 0), op("like", prop("k"), "%,%"))
        run(
            open_table(text.getvalue().encode("cp1252")),
            out,
            filter=condition,
            group_by=["k"],
            aggregate=aggregate,
            sort=["k"],
            output="jsonl",
        )
        groups: dict[str | None, list[dict[str, Any]]] = {}
        for row in rows:
            if (row["n"] or 0) > 0 or "," in row["k"]:
                groups.setdefault(row["k"] or None, []).append(row)
        expected = [
            {
                "k": key,
                "n": sum(row["n"] is not None for row in group),
                "sum": sum(row["n"] or 0 for row in group),
                "first": min((str(row["d"]) for row in group if row["d"]), default=None),
            }
            for key, group in sorted(groups.items(), key=lambda each: (each[0] is None, each[0] or ""))
        ]
        assert [json.loads(line) for line in lines(out)] == expected
