import csv
import datetime as dt
import gzip
import io
import json
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest

from app.tasks.data import file_content, jsonl_table
from app.tasks.data.file_content import HAS_ZSTD
from app.tasks.data.tables import Data, UnusableData, detect, opened
from tests.support.properties import given, st
from tests.unit.tasks.data.conftest import Open
from tests.unit.tasks.data.parquet_bytes import footer, nested, repeated


def columns(data: Data) -> dict[str, list[Any]]:
    frame = data.frame.collect()
    assert frame.height == data.rows
    return frame.to_dict(as_series=False)


def parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


class TestFormat:
    @pytest.mark.parametrize(
        ("content", "name", "expected"),
        [
            (b"a,b\n1,2\n", "data.parquet", "csv"),
            (b"a,b\n1,2\n", "data.jsonl", "csv"),
            (b'{"a": 1}\n', "data.csv", "jsonl"),
            (b'\xef\xbb\xbf\n {"a": 1}\n', "data", "jsonl"),
            (b"PAR1" + b"x" * 50, "data.csv", "parquet"),
            (gzip.compress(b'{"a": 1}\n', mtime=0), "data.csv", "jsonl"),
            (b'{"a": "' + b"x" * 100_000 + b'"}', "data.csv", "jsonl"),
        ],
        ids=["named parquet", "named jsonl", "objects", "a mark", "magic bytes", "compressed", "a long line"],
    )
    def test_is_found_by_content_whatever_the_name_says(
        self, tmp_path: Path, content: bytes, name: str, expected: str
    ) -> None:
        (tmp_path / "file").write_bytes(content)
        assert detect(tmp_path / "file", name) == expected

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "is empty"),
            (b" \r\n ", "only white space"),
            (b"\x00\x01\x02", "neither text nor Parquet"),
            (b"PK\x03\x04....", "a spreadsheet: export the table as CSV"),
            (b"%PDF-1.7", "a PDF document"),
            (b"PARE....", "encrypted"),
            (b'{\n"a": 1}', "write each whole object on one line"),
        ],
    )
    def test_of_what_is_no_table_is_refused_in_words(self, open_table: Open, content: bytes, words: str) -> None:
        with pytest.raises(UnusableData, match=words):
            open_table(content)

    def test_of_a_json_array_is_refused_in_words(self, open_table: Open) -> None:
        with pytest.raises(UnusableData, match="one JSON array: write each object on a line"):
            open_table('[{"a": 1}]', "data.json")

    def test_that_contradicts_the_content_is_refused(self, open_table: Open) -> None:
        with pytest.raises(UnusableData, match="the content is csv, not parquet: give format csv or auto"):
            open_table("a\n1\n", format="parquet")
        with pytest.raises(UnusableData, match="not 'cvs', did you mean csv"):
            open_table("a\n1\n", format="cvs")


class TestCompression:
    def test_gzip_is_read_whatever_the_name_says(self, open_table: Open) -> None:
        data = open_table(gzip.compress(b"a,b\n1,2\n", mtime=0))
        assert (data.format, data.bytes, columns(data)) == ("csv", 8, {"a": [1], "b": [2]})

    def test_a_bomb_is_refused_before_it_is_unpacked(self, open_table: Open, tmp_path: Path) -> None:
        bomb = gzip.compress(b"a\n" * 10_000_000, mtime=0)
        with pytest.raises(UnusableData, match="larger than 1000000 bytes once it is decompressed"):
            open_table(bomb, max_bytes=1_000_000)

    @pytest.mark.skipif(HAS_ZSTD, reason="this Python reads zstd")
    def test_zstd_is_refused_where_python_cannot_read_it(self, open_table: Open) -> None:
        with pytest.raises(
            UnusableData, match="compressed by zstd, which this server cannot read: compress it with gzip"
        ):
            open_table(b"\x28\xb5\x2f\xfd....")

    @pytest.mark.skipif(not HAS_ZSTD, reason="this Python does not read zstd")
    def test_zstd_is_read(self, open_table: Open) -> None:
        zstd = import_module("compression.zstd")
        assert columns(open_table(zstd.compress(b"a,b\n1,2\n"))) == {"a": [1], "b": [2]}
        with pytest.raises(UnusableData, match="larger than 1000000 bytes"):
            open_table(zstd.compress(bytes(10_000_000)), max_bytes=1_000_000)

    def test_what_is_cut_or_compressed_twice_is_refused(self, open_table: Open) -> None:
        whole = gzip.compress(b"a,b\n1,2\n", mtime=0)
        with pytest.raises(UnusableData, match="damaged"):
            open_table(whole[:-9])
        with pytest.raises(UnusableData, match="compressed twice"):
            open_table(gzip.compress(whole, mtime=0))

    def test_a_parquet_file_of_few_bytes_and_many_rows_is_refused(self, open_table: Open) -> None:
        content = parquet(pl.select(pl.repeat(1, 10_000_000, dtype=pl.Int64).alias("a")))
        assert len(content) < 1_000_000
        with pytest.raises(UnusableData, match="80000000 bytes of data, more than 1000000"):
            open_table(content, max_bytes=1_000_000)


class TestEncoding:
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_is_found(self, open_table: Open, encoding: str, end: str) -> None:
        text = end.join(["größe,€", "1,ä", "2,ß", ""])
        assert columns(open_table(text.encode(encoding))) == {"größe": [1, 2], "€": ["ä", "ß"]}

    def test_every_byte_is_a_character(self, open_table: Open) -> None:
        assert columns(open_table(b"a\n\x81\xff\n")) == {"a": ["\x81ÿ"]}

    def test_of_what_lies_by_its_mark_is_refused(self, open_table: Open) -> None:
        with pytest.raises(UnusableData, match="not the utf-16 that its first bytes say"):
            open_table(b"\xff\xfea\x00,")

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
    @pytest.mark.parametrize("end", ["\n", "\r"])
    def test_does_not_hide_a_long_line(
        self, open_table: Open, encoding: str, end: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(file_content, "MAX_LINE_BYTES", 3_000_000)
        short, long = "ä" * 1_400_000, "ä" * 2_900_000
        assert open_table(f"a{end}{short}{end}{short}{end}".encode(encoding)).rows == 2
        with pytest.raises(UnusableData, match="has a line of more than 3000000 bytes"):
            open_table(f"a{end}{short}{end}{long}{end}1{end}".encode(encoding))

    def test_json_lines_have_it_too(self, open_table: Open) -> None:
        for encoding in ("utf-8-sig", "utf-16"):
            assert columns(open_table('{"ä": "ö"}\n'.encode(encoding))) == {"ä": ["ö"]}


class TestLines:
    @pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
    def test_have_the_separator_that_fits_them_all(self, open_table: Open, separator: str) -> None:
        text = "\n".join(separator.join(fields) for fields in (["a", "b", "c"], ["1", '"x,;|"', "2"], ["", "", "3"]))
        assert columns(open_table(text)) == {"a": [1, None], "b": ["x,;|", None], "c": [2, 3]}

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("a,b,c\n1,2,3\n4,5\n", "line 3 has 2 fields, the header has 3"),
            ("a,b,c\n1,2,3\n4,5,6,7\n", "line 3 has 4 fields, the header has 3"),
            ("a,b\n1,2\n" * 1 + "1,2\n" * 50_000 + "3\n", "line 50003 has 1 fields"),
            ('a,b\n"x\ny",1\n2\n', "line 4 has 1 fields"),
            ("name\nSmith, John\n", "line 2 has 2 fields, the header has 1"),
            ('a,b\n"5,x\n6,y\n', "line 3 cannot be read .* check its quotation marks"),
            ('a,b\n"5"x,x\n', "line 2 cannot be read"),
        ],
    )
    def test_that_are_ragged_are_refused_with_their_number(self, open_table: Open, text: str, words: str) -> None:
        with pytest.raises(UnusableData, match=words):
            open_table(text).frame.collect()

    @pytest.mark.parametrize(
        ("text", "rows"),
        [
            ('a,b\r\n1,"x"\r\n"","y ""q"" z"\r\n,\r\n', [("1", "x"), ("", 'y "q" z'), ("", "")]),
            ('a,b\n"x\ny",", "\n', [("x\ny", ", ")]),
            ('a,b\n5" pipe,x\n6" pipe,y\n', [('5" pipe', "x"), ('6" pipe', "y")]),
            ('a,b\n5",x\n6",y\n', [('5"', "x"), ('6"', "y")]),
            ('a,b\n"""",x\n"",y\n', [('"', "x"), ("", "y")]),
            ("a,b\nx,y\n\nz,w\n\n", [("x", "y"), ("z", "w")]),
            ("\n\na,b\nx,y", [("x", "y")]),
        ],
    )
    def test_are_read_as_python_reads_them(self, open_table: Open, text: str, rows: list[tuple[str, ...]]) -> None:
        data = open_table(text)
        found = data.frame.cast(pl.String).fill_null("").collect().rows()
        assert found == rows
        assert rows == [tuple(record) for record in csv.reader(io.StringIO(text, newline="")) if record][1:]
        assert data.rows == len(rows)

    def test_that_are_blank_are_missing_values_where_there_is_one_column(self, open_table: Open) -> None:
        assert columns(open_table("\na\n1\n\n3\n")) == {"a": [1, None, 3]}

    def test_may_be_the_header_alone(self, open_table: Open) -> None:
        assert columns(open_table("a,b")) == {"a": [], "b": []}
        assert open_table("a,b\r\n").rows == 0

    def test_of_ten_thousand_columns_are_read(self, open_table: Open) -> None:
        names = [f"c{number}" for number in range(10_000)]
        data = open_table("\n".join([",".join(names), ",".join(map(str, range(10_000))), "," * 9999]) + "\n")
        frame = data.frame.collect()
        assert frame.columns == names
        assert frame.row(0) == tuple(range(10_000))
        assert {*frame.row(1)} == {None}

    def test_of_too_many_columns_are_refused(self, open_table: Open) -> None:
        with pytest.raises(UnusableData, match="10001 columns: send between 1 and 10000"):
            open_table("," * 10_000 + "\n")

    def test_name_columns_apart(self, open_table: Open) -> None:
        assert [*columns(open_table("a, a ,a_2,\n1,2,3,4\n"))] == ["a", "a_3", "a_2", "column_4"]


class TestMemory:
    """What a small file may have a task hold in memory: peaks of 40 MB of commas were 1.3 GiB."""

    def test_cells_of_a_wide_csv_file_are_counted_before_it_is_read(self, open_table: Open) -> None:
        wide = ",".join(map(str, range(1001))) + "\n"
        assert open_table(wide + "," * 1000 + "\n").rows == 1
        too_many = gzip.compress((wide + ("," * 1000 + "\n") * 25_000).encode())
        with pytest.raises(UnusableData, match="1001 columns and 25000 rows: a table of more than 1000 columns has at"):
            open_table(too_many, "data.csv.gz")

    def test_a_line_of_a_million_commas_is_no_list_of_them(self, open_table: Open) -> None:
        endless = "," * 1_000_000
        with pytest.raises(UnusableData, match="line 1 has more than 500000 fields: send at most 10000 columns"):
            open_table(f"{endless}\n1\n")
        with pytest.raises(UnusableData, match="line 2 has more than 500000 fields"):
            _ = open_table(f"a,b\n{endless}\n1,2\n").frame

    @pytest.mark.parametrize("line", ['{"k%d":1}\n', '{"a":{"k%d":1}}\n'], ids=["names", "names within a value"])
    def test_names_of_json_lines_are_counted_piece_by_piece(
        self, open_table: Open, line: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Polars takes time by the square of the names that it sees at once."""
        seen: list[int] = []
        read = jsonl_table._types_of
        monkeypatch.setattr(jsonl_table, "_types_of", lambda lines: seen.append(len(lines)) or read(lines))
        content = "".join(line % number for number in range(16_000))
        with pytest.raises(UnusableData, match="columns and 16000 rows: a table of more than 1000 columns has at most"):
            _ = open_table(content, "data.jsonl").frame
        assert (len(seen), max(seen) < len(content) / 2) == (1, True)

    def test_more_names_than_columns_are_refused(self, open_table: Open, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(jsonl_table, "MAX_COLUMNS", 100)
        content = "".join(f'{{"k{number}":1}}\n' for number in range(101))
        with pytest.raises(UnusableData, match="more than 100 names in its objects: send fewer columns"):
            _ = open_table(content, "data.jsonl").frame

    def test_lines_that_leave_out_most_names_are_cells_too(self, open_table: Open) -> None:
        names = json.dumps(dict.fromkeys((f"k{number}" for number in range(200)), 1))
        assert open_table(names + "\n{}" * 1000, "data.jsonl").rows == 1001
        with pytest.raises(UnusableData, match="lines in a MiB, which leave out most of them"):
            _ = open_table(names + "\n{}" * 200_000, "data.jsonl").frame

    def test_names_within_values_may_differ_from_piece_to_piece(
        self, open_table: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(jsonl_table, "TYPED_PIECE", 1)
        rows = [{"a": {"x": 1, "l": []}}, {"a": {"x": 2.5, "l": [1]}}, {"a": {"y": {"z": "t"}}}, {}]
        frame = open_table("\n".join(map(json.dumps, rows)), "data.jsonl").frame.collect()
        assert frame["a"].to_list() == [
            {"x": 1.0, "l": [], "y": None}, {"x": 2.5, "l": [1], "y": None}, {"x": None, "l": None, "y": {"z": "t"}},
            None,
        ]  # fmt: skip

    def test_parts_of_a_footer_are_counted_while_it_is_read(self, open_table: Open) -> None:
        with pytest.raises(UnusableData, match="a footer of more than 2000000 parts: write fewer columns"):
            open_table(b"PAR1" + footer([], 0, [b"\0"] * 2_000_001))


class TestTypesOfCsv:
    def test_are_those_that_all_values_are_written_in(self, open_table: Open) -> None:
        text = (
            "i,f,b,d,t,z\n"
            "1,1.5,true,2024-01-01,2024-01-01T10:00:00,2024-01-01T10:00:00Z\n"
            "-9223372036854775808,-2e3,FALSE,0001-12-31,2024-01-01T10:00:00.123456,2024-01-01T10:00:00+02:00\n"
            ",,,,,\n"
        )
        assert columns(open_table(text)) == {
            "i": [1, -(2**63), None],
            "f": [1.5, -2000.0, None],
            "b": [True, False, None],
            "d": [dt.date(2024, 1, 1), dt.date(1, 12, 31), None],
            "t": [
                dt.datetime.fromisoformat("2024-01-01T10:00"),
                dt.datetime.fromisoformat("2024-01-01T10:00:00.123456"),
                None,
            ],
            "z": [dt.datetime(2024, 1, 1, 10, tzinfo=dt.UTC), dt.datetime(2024, 1, 1, 8, tzinfo=dt.UTC), None],
        }

    @pytest.mark.parametrize(
        "value",
        ["007", "+49", " 1", "1 ", "9223372036854775808", "123456789012345678901", "-0", "0x10", "1_000", "1,5", "2024-02-30",
         "2024-1-1", "01/02/2024", "2024-01-01T10:00:00.1234567", "2024-01-01T25:00:00", "yes", "=1+1", "1.5.2", "NULL"],
    )  # fmt: skip
    def test_lose_nothing_of_a_value_that_comes_late(self, open_table: Open, value: str) -> None:
        firsts = ["1", "1.5", "2024-01-01", "2024-01-01T10:00:00", "true"]
        text = "a;b;c;d;e\n" + f"{';'.join(firsts)}\n" * 10_001 + ";".join([value] * 5) + "\n"
        frame = open_table(text).frame
        (last,) = frame.tail(1).collect().rows()
        if value == "-0":  # is a number, though no integer
            assert last == (0.0, 0.0, value, value, value)
        else:
            assert last == (value,) * 5
            assert frame.head(1).collect().row(0) == tuple(firsts)

    def test_become_numbers_where_a_later_value_has_a_fraction(self, open_table: Open) -> None:
        data = open_table("a,b\n" + "1,\n" * 10_500 + "2.5,7\n")
        assert data.frame.tail(1).collect().rows() == [(2.5, 7)]
        assert data.frame.head(1).collect().rows() == [(1.0, None)]

    def test_are_checked_in_a_single_scan_too(self, open_table: Open) -> None:
        good, late = open_table("a\n1\n2\n"), open_table("a\n" + "1\n" * 10_500 + "x\n")
        assert good.watched().collect().rows() == [(1,), (2,)]
        assert (good.is_confirmed(), good.is_converted) == (True, False)
        with pytest.raises(pl.exceptions.PolarsError):
            late.watched().collect()

    @pytest.mark.parametrize(
        ("text", "right"),
        [
            ("a,b\n1,2\n3,\n", True),
            ("a,b\n1,2\n3\n", False),
            ('a,b\n"1\n",2\n', True),
            ("a\n\n1\n", True),
            ("\na\n1", False),
        ],
    )
    def test_are_confirmed_after_a_single_scan_if_no_line_is_short(
        self, open_table: Open, text: str, right: bool
    ) -> None:
        data = open_table(text)
        data.watched().collect()
        assert data.is_confirmed() == right


CELL = st.text("a0129.-+e,;\"'\n\r \t=é€", max_size=6) | st.sampled_from(
    ["", "2024-01-31", "true", "False", "nan", "-0", str(2**63)]
)


class TestAnyTable:
    @given(
        rows=st.lists(st.tuples(CELL, CELL, CELL), max_size=12),
        separator=st.sampled_from(",;\t|"),
        # Where lines end in a feed alone, Python writes a return in a field without quotes.
        form=st.sampled_from([("\n", csv.QUOTE_ALL), ("\r\n", csv.QUOTE_ALL), ("\r\n", csv.QUOTE_MINIMAL)]),
    )
    def test_that_python_writes_is_read_without_losing_anything(
        self, rows: list[tuple[str, ...]], separator: str, form: tuple[str, Any]
    ) -> None:
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=separator, lineterminator=form[0], quoting=form[1]).writerows(
            [("x", "y", "z"), *rows]
        )
        with TemporaryDirectory() as folder:
            path = Path(folder, "data")
            path.write_bytes(text.getvalue().encode())
            with opened(path, "data.csv", max_bytes=10**6) as data:
                found = data.frame.collect().rows()
                assert data.rows == len(rows)
        for cells, values in zip(rows, found, strict=True):
            assert all(is_same(value, cell) for value, cell in zip(values, cells, strict=True)), (cells, values)


def is_same(value: Any, cell: str) -> bool:
    """Whether the value is what the cell says, with all its digits."""
    if isinstance(value, bool):
        return str(value).lower() == cell.lower()
    if isinstance(value, float):
        return str(value) == str(float(cell))
    return ("" if value is None else str(value)) == cell


class TestTypesOfJsonLines:
    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([1, 2], [1, 2]),
            ([1, 2.5], [1.0, 2.5]),
            ([1, "x"], ["1", "x"]),
            ([True, 1], ["true", "1"]),
            ([10**30, 1], [str(10**30), "1"]),
            ([2**63, 1], [str(2**63), "1"]),
            ([None, None], [None, None]),
            (["007", None], ["007", None]),
            ([{"b": 1}, {"c": [2]}], [{"b": 1, "c": None}, {"b": None, "c": [2]}]),
            ([{"b": 1}, [2]], ['{"b":1}', "[2]"]),
            ([{"b": 1}, "x"], ['{"b":1}', "x"]),
            ([{"b": [1]}, {"b": {"c": 2}}], ['{"b":[1]}', '{"b":{"c":2}}']),
        ],
    )
    def test_hold_every_value(self, open_table: Open, values: list[Any], expected: list[Any]) -> None:
        found = columns(open_table("".join(json.dumps({"a": value, "z": 1}) + "\n" for value in values)))["a"]
        compact = [value.replace(" ", "") if isinstance(value, str) else value for value in found]
        assert compact == expected

    def test_have_a_name_that_comes_late(self, open_table: Open) -> None:
        data = open_table('{"a": 1}\n' * 5000 + '{"b": "x"}\n')
        assert data.frame.tail(1).collect().rows() == [(None, "x")]
        assert data.rows == 5001

    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ("{", "line 3 is not JSON"),
            ('{"a": NaN}', "line 3 is not JSON"),
            ("[1]", "line 3 is no object"),
            ("7", "line 3 is no object"),
        ],
    )
    def test_of_what_is_no_object_is_refused_with_its_line(self, open_table: Open, line: str, words: str) -> None:
        data = open_table('{"a": 1}\n\n' + line + '\n{"a": 2}\n')
        with pytest.raises(UnusableData, match=words):
            data.frame.collect()


class TestDepthOfJsonLines:
    @pytest.mark.parametrize(
        ("opening", "closing", "times"),
        [("[", "]", 64), ('{"a":', "}", 64), ('[{"a":', "}]", 32), ('[[1], "]]]", ', "]", 64)],
    )
    def test_beyond_its_bound_is_refused_with_the_line(
        self, open_table: Open, opening: str, closing: str, times: int
    ) -> None:
        deep = f'{{"a": {opening * times}1{closing * times}}}'
        assert json.loads(deep)
        with pytest.raises(UnusableData, match="line 3 is nested more than 64 levels deep"):
            open_table('{"b": 1}\n{"b": "[[["}\n' + deep + "\n")

    def test_beyond_what_python_parses_is_refused_alike(self, open_table: Open) -> None:
        with pytest.raises(UnusableData, match="line 1 is nested more than 64 levels deep"):
            open_table('{"a": ' + "[" * 10_000 + "]" * 10_000 + "}\n")

    def test_is_not_their_number(self, open_table: Open) -> None:
        row = json.dumps({"a": [[each] for each in range(100)], "b": "[" * 100 + '\\"' + "{" * 100})
        assert open_table(f"{row}\n" * 3).rows == 3


class TestParquet:
    def test_is_read_with_its_types(self, open_table: Open) -> None:
        frame = pl.DataFrame({"a": [1, None], "b": ["x", "y"], "c": [dt.date(2024, 1, 1), None]})
        data = open_table(parquet(frame))
        assert data.frame.collect().equals(frame)
        assert (data.format, data.rows) == ("parquet", 2)

    def test_has_what_other_formats_cannot_hold_as_text(self, open_table: Open) -> None:
        frame = pl.DataFrame(
            {"a": [10**30], "b": [None], "c": ["x"]}, schema={"a": pl.Int128, "b": pl.Null, "c": pl.Enum(["x"])}
        )
        assert columns(open_table(parquet(frame))) == {"a": [str(10**30)], "b": [None], "c": ["x"]}

    @pytest.mark.parametrize(
        ("rows", "claimed", "of_group"), [(2_000_000_000, 1, None), (1000, 0, None), (10, -1, -1), (10, 11, 10)]
    )
    def test_that_lies_about_its_rows_is_refused(
        self, open_table: Open, rows: int, claimed: int, of_group: int | None
    ) -> None:
        assert open_table(repeated(10, claimed=10)).frame.collect()["a"].to_list() == [1] * 10
        with pytest.raises(UnusableData, match="damaged"):
            open_table(repeated(rows, claimed=claimed, of_group=of_group))

    def test_of_more_rows_than_there_may_be_is_refused(self, open_table: Open) -> None:
        with pytest.raises(UnusableData, match="holds 16000000000 bytes of data"):
            open_table(repeated(2_000_000_000, claimed=2_000_000_000))

    def test_that_is_nested_too_deep_is_refused(self, open_table: Open) -> None:
        assert open_table(nested(60)).rows == 0
        with pytest.raises(UnusableData, match="damaged"):
            open_table(nested(64))

    def test_that_is_damaged_is_refused(self, open_table: Open) -> None:
        content = parquet(pl.DataFrame({"a": [1, 2]}))
        for damaged in (content[:-1], content[:-20] + content[-8:], b"PAR1" + b"x" * 50 + b"\x20\0\0\0PAR1", b"PAR1"):
            with pytest.raises(UnusableData, match="damaged"):
                open_table(damaged)


def test_temporary_files_are_beside_the_file(tmp_path: Path) -> None:
    """There the next process deletes what a killed one has left."""
    file = tmp_path / "a.gz"
    file.write_bytes(gzip.compress(b"a\n1\n"))
    with opened(file, "a.csv", max_bytes=1000) as data:
        assert data.rows == 1
        assert [path.name for path in tmp_path.glob("table-*/unpacked")] == ["unpacked"]
    assert [*tmp_path.iterdir()] == [file]
