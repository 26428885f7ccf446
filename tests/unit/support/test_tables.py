"""A table names all of its rows that fail, and fails where it has none."""

import pytest

from tests.support.tables import cases, check_rows


def refuses(text: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        int(text)


def test_every_row_that_fails_is_named_with_its_reason() -> None:
    with pytest.raises(AssertionError) as failed:
        check_rows(refuses, ["1", "x", "2"])
    assert str(failed.value).splitlines()[:1] == ["2 of 3 rows"]
    assert [line.partition(":")[0] for line in str(failed.value).splitlines() if "DID NOT RAISE" in line] == [
        "'1'",
        "'2'",
    ]


def test_a_row_is_one_argument_or_several() -> None:
    seen: list[tuple[object, ...]] = []
    check_rows(lambda *row: seen.append(row), ["a", ("b", 1), ["c"]])
    assert seen == [("a",), ("b", 1), (["c"],)]


def test_a_row_may_say_itself_that_it_does_not_hold() -> None:
    check_rows(str.isdigit, ["1", "2"])
    with pytest.raises(AssertionError, match="1 of 2 rows\n'x': AssertionError: it does not hold"):
        check_rows(str.isdigit, ["1", "x"])
    with pytest.raises(AssertionError, match="'x': AssertionError: it does not hold"):
        check_rows(lambda text: text.count("y"), ["x"])


def test_a_table_without_rows_fails() -> None:
    with pytest.raises(AssertionError, match="the table is empty"):
        check_rows(refuses, [])


def go_through() -> None:
    with cases() as case:
        for name, number in (("one", 1), ("two", 2), ("three", 3)):
            with case(name, number):
                assert number == 2, "is not two"
        with case("none"), pytest.raises(KeyError):
            pass


def test_a_test_may_go_through_its_table_itself() -> None:
    with pytest.raises(AssertionError) as failed:
        go_through()
    lines = [line for line in str(failed.value).splitlines() if line.startswith(("one", "two", "three", "none"))]
    assert lines[:2] == ["one, 1: AssertionError: is not two", "three, 3: AssertionError: is not two"]
    assert lines[2].startswith("none: Failed: DID NOT RAISE")
    with pytest.raises(AssertionError, match="the table is empty"), cases():
        pass


def test_what_breaks_outside_of_a_row_hides_no_row() -> None:
    def break_after(*numbers: int) -> None:
        with cases() as case:
            for number in numbers:
                with case(number):
                    assert number == 1
            raise KeyError("setup")

    with pytest.raises(AssertionError, match=r"(?s)2: AssertionError.*outside of a row: KeyError: 'setup'"):
        break_after(1, 2)
    with pytest.raises(KeyError):
        break_after(1)
