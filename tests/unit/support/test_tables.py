"""A table names all of its rows that fail, and fails where it has none."""

import pytest

from tests.support.tables import cases, check_rows


def refuses(text: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        int(text)


def told(error: BaseException) -> list[str]:
    """Of each row that failed: its reason, and its name."""
    assert isinstance(error, BaseExceptionGroup)
    return [f"{str(each).splitlines()[0]}, {', '.join(each.__notes__)}" for each in error.exceptions]


def test_every_row_that_fails_is_named_with_its_reason() -> None:
    with pytest.raises(BaseExceptionGroup, match="2 of 3 rows") as failed:
        check_rows(refuses, ["1", "x", "2"])
    assert told(failed.value) == [f"DID NOT RAISE ValueError, in the row '{number}'" for number in (1, 2)]


def test_a_row_is_one_argument_or_several() -> None:
    seen: list[tuple[object, ...]] = []
    check_rows(lambda *row: seen.append(row), ["a", ("b", 1), ["c"]])
    assert seen == [("a",), ("b", 1), (["c"],)]


def test_a_row_may_say_itself_that_it_does_not_hold() -> None:
    check_rows(str.isdigit, ["1", "2"])
    for check, row in ((str.isdigit, "x"), (lambda text: text.count("y"), "z")):
        with pytest.raises(BaseExceptionGroup, match="1 of 2 rows") as failed:
            check_rows(lambda text, check=check: text == "1" or check(text), ["1", row])
        assert told(failed.value) == [f"it does not hold, in the row '{row}'"]


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
    with pytest.raises(BaseExceptionGroup, match="3 of 4 rows") as failed:
        go_through()
    assert told(failed.value) == [
        "is not two, in the row one, 1", "is not two, in the row three, 3", "DID NOT RAISE KeyError, in the row none",
    ]  # fmt: skip
    with pytest.raises(AssertionError, match="the table is empty"), cases():
        pass


def test_what_breaks_outside_of_a_row_hides_no_row() -> None:
    def break_after(*numbers: int) -> None:
        with cases() as case:
            for number in numbers:
                with case(number):
                    assert number == 1
            raise KeyError("setup")

    with pytest.raises(BaseExceptionGroup) as failed:
        break_after(1, 2)
    assert told(failed.value) == ["assert 2 == 1, in the row 2", "'setup', outside of a row"]
    with pytest.raises(KeyError):
        break_after(1)
