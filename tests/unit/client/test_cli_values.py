"""`k=v`, as the schemas read it that pydantic writes for parameters of tasks."""

from datetime import date
from enum import StrEnum
from typing import Any, Literal
from uuid import uuid4

import pytest
from pydantic import BaseModel, create_model

from app.tasks.files import InputFile
from task_service_client.cli.exits import Refused
from task_service_client.cli.values import Upload, arguments


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Order(BaseModel):
    number: int


def schema_of(annotation: Any) -> dict[str, Any]:
    return create_model("Parameters", k=(annotation, ...)).model_json_schema() | {"additionalProperties": False}


READ = [
    (str, "k=5", "5"), (str, "k=", ""), (str, "k=a=b", "a=b"), (str, "k=null", "null"), (str, "k=@x", "@x"), (str, 'k:="a"', "a"),
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


def test_lists_grow_and_nothing_else_comes_twice() -> None:
    assert arguments(["k=1", "k=2"], schema_of(list[int])) == {"k": [1, 2]}
    with pytest.raises(Refused, match="twice"):
        arguments(["k=1", "k=2"], schema_of(int))


def test_open_parameters_take_any_name() -> None:
    schema = schema_of(int) | {"additionalProperties": True}
    assert arguments(["k=1", "more=2", "text=x"], schema) == {"k": 1, "more": 2, "text": "x"}
