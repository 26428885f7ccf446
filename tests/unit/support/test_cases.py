import re

import pytest

from tests.support.cases import cases


def table() -> None:
    with cases() as case:
        for name, number in (("one", 1), ("two", 2), ("three", 3)):
            with case(name, number):
                assert number == 2, "is not two"
        with case("text"):
            int("x")
        with case("none"), pytest.raises(KeyError):
            pass


def test_every_row_that_fails_is_named_and_no_other() -> None:
    with pytest.raises(AssertionError) as raised:
        table()
    lines = str(raised.value).splitlines()
    assert lines[0] == "4 of 5:"
    named = [line.partition(": ")[0] for line in lines if re.search(": [A-Z][a-zA-Z]+: ", line)]
    assert named == ["one, 1", "three, 3", "text", "none"]
    assert "is not two" in lines[1]


def test_a_table_without_rows_fails() -> None:
    with pytest.raises(AssertionError, match="the table is empty"), cases():
        pass
