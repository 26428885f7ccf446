"""`k=v`, as the schemas read it that pydantic writes for parameters of tasks."""

import re
from datetime import date
from enum import StrEnum
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import pytest
from pydantic import BaseModel, create_model

from app.tasks.files import InputFile
from task_service_client.cli.exits import Refused
from task_service_client.cli.values import Upload, arguments
from tests.support.tables import check_rows


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Order(BaseModel):
    number: int


def schema_of(annotation: Any) -> dict[str, Any]:
    return create_model("Parameters", k=(annotation, ...)).model_json_schema() | {"additionalProperties": False}


READ = [
    (str, "k=5", "5"), (str, "k=", ""), (str, "k=a=b", "a=b"), (str, "k=null", "null"), (str, 'k:="@x"', "@x"), (str, "k=a@b", "a@b"), (str, 'k:="a"', "a"),
    (int, "k=5", 5), (int, "k=-5", -5), (float, "k=5", 5), (float, "k=0.5", 0.5), (float, "k=1e3", 1000.0), (int, "k:=5", 5),
    (bool, "k=true", True), (bool, "k=No", False), (bool, "k=1", True), (date, "k=2026-11-30", "2026-11-30"),
    (int | None, "k=null", None), (int | None, "k=7", 7), (str | None, "k=null", "null"), (str | None, "k:=null", None),
    (int | str, "k=7", 7), (int | str, "k=x", "x"), (Colour, "k=red", "red"), (Literal["a", 2], "k=2", 2), (Literal["a"], "k=a", "a"),
    (list[int], "k=[1,2]", [1, 2]), (list[int], "k=1", [1]), (list[str], "k=a b", ["a b"]), (list[str] | str, "k=a", "a"),
    (list[str] | str, 'k=["a"]', ["a"]), (Order, 'k={"number": 1}', {"number": 1}), (Order | None, "k=null", None),
    (dict[str, int], 'k={"a": 1}', {"a": 1}), (Any, "k=5", 5), (Any, "k=x", "x"), (Any, "k=null", None), (list[Order], 'k={"number": 1}', [{"number": 1}]),
    (InputFile, "k=01a2", "01a2"), (InputFile, "k=@data.csv", "data.csv"), (InputFile | None, "k=@a", "a"), (list[InputFile], "k=@a", ["a"]),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "item", "value"), READ)
def test_is_read_by_the_schema(annotation: Any, item: str, value: Any) -> None:
    found = arguments([item], schema_of(annotation))["k"]
    assert found == value
    assert type(found) is type(value) or isinstance(found, Upload)


@pytest.mark.parametrize(
    ("annotation", "item", "words"),
    [
        (int, "k=x", "an integer"), (int, "k=1.5", "an integer"), (float, "k=nan", "a number"), (bool, "k=perhaps", "true or false"),
        (int | None, "k=x", "an integer or null"), (Colour, "k=green", "red, blue"), (Order, "k=x", "a JSON object"),
        (list[int], "k=x", "an integer"), (list[int], "k=[1", "a JSON array"), (int, "k:=x", "JSON"), (str, "k", "key=value"),
        (Any, "k:=NaN", "JSON"), (Any, "k:=" + "[" * 5000, "JSON"), (list[Any], "k=" + "[" * 5000, "a JSON array"), (Any, "k:=-Infinity", "JSON"), (list[float], "k=[NaN]", "a JSON array"), (Any, "k:=[1e999]", "JSON"),
        (int, "k=1_000", "an integer"), (float, "k=1_000", "a number"), (float, "k=1_0.5", "a number"), (float, "k=1e999", "a number"),
        (int, "k=٣", "an integer"), (int, "k= 5", "an integer"), (float, "k=inf", "a number"),
        (str, "=x", "key=value"), (str, ":=x", "key=value"), (str, "j=x", "There are: k"),
    ],
)  # fmt: skip
def test_that_does_not_fit_is_refused(annotation: Any, item: str, words: str) -> None:
    with pytest.raises(Refused, match=words) as refused:
        arguments([item], schema_of(annotation))
    assert refused.value.code == 2


def test_files_are_told_from_texts() -> None:
    assert isinstance(arguments(["k=@a"], schema_of(InputFile))["k"], Upload)
    assert isinstance(arguments(["k=@a", "k=@b"], schema_of(list[InputFile]))["k"][1], Upload)
    assert not isinstance(arguments([f"k={uuid4()}"], schema_of(InputFile))["k"], Upload)


# What a file holds, in the place of a value.
HELD: list[tuple[Any, str, Any]] = [
    (str, "two\nlines\n", "two\nlines\n"), (str, "5\n", "5\n"), (str | None, "null\n", "null\n"), (str, "", ""),
    (int, "5\n", 5), (float, " 0.5\n", 0.5), (bool, "true\n", True), (int | None, "null\n", None), (int | str, "7\n", 7),
    (int | str, "x\n", "x\n"), (Colour, "red\n", "red"), (date, "2026-11-30\n", "2026-11-30"),
    (list[int], "\n[1,\n2]\n", [1, 2]), (list[str], "a b\n", ["a b\n"]), (list[int], "1\n", [1]),
    (Order, '\n{"number": 1}\n', {"number": 1}), (Order | None, '{"number": 1}\n', {"number": 1}),
    (Any, '{"a": [null]}\n', {"a": [None]}), (Any, "no JSON\n", "no JSON\n"),
]  # fmt: skip


class TestOfAFile:
    def test_is_read_by_the_schema(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "value"

        def check(annotation: Any, held: str, value: Any) -> None:
            path.write_text(held, encoding="utf-8")
            monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(held.encode())))
            for item in (f"k=@{path}", "k=@-"):
                found = arguments([item], schema_of(annotation))["k"]
                assert (found, type(found)) == (value, type(value))

        check_rows(check, HELD)

    def test_is_json_behind_a_colon(self, tmp_path: Path) -> None:
        path = tmp_path / "value.json"
        path.write_text('"@x"\n', encoding="utf-8")
        assert arguments([f"k:=@{path}"], schema_of(str)) == {"k": "@x"}

    def test_that_cannot_be_read_is_refused(self, tmp_path: Path) -> None:
        no_text, no_number = tmp_path / "bytes", tmp_path / "words"
        no_text.write_bytes(b"\xff\n")
        no_number.write_text("many\n", encoding="utf-8")

        def check(annotation: Any, items: list[str], said: str) -> None:
            with pytest.raises(Refused, match=re.escape(said)) as refused:
                arguments(items, schema_of(annotation))
            assert refused.value.code == 2

        check_rows(check, [
            (str, [f"k=@{tmp_path / 'missing'}"], f"@{tmp_path / 'missing'}: No such file or directory"),
            (str, [f"k=@{tmp_path}"], "Is a directory"),
            (str, [f"k=@{no_text}"], f"@{no_text}: it is no text in UTF-8"),
            (int, [f"k=@{no_number}"], "k is an integer"),
            (Order, [f"k=@{no_number}"], "k is a JSON object"),
            (str, [f"k:=@{no_number}"], "JSON after :="),
            (list[str], ["k=@-", "k=@-"], "stdin is read once"),
        ])  # fmt: skip


def test_lists_grow_and_nothing_else_comes_twice() -> None:
    assert arguments(["k=1", "k=2"], schema_of(list[int])) == {"k": [1, 2]}
    with pytest.raises(Refused, match="twice"):
        arguments(["k=1", "k=2"], schema_of(int))


def test_open_parameters_take_any_name() -> None:
    schema = schema_of(int) | {"additionalProperties": True}
    assert arguments(["k=1", "more=2", "text=x"], schema) == {"k": 1, "more": 2, "text": "x"}
