"""The numbers of the pictures."""

import pytest

from app.web.charts import Bar, columns, highest_of, line


def test_columns_stack_their_parts_up_to_the_highest() -> None:
    bars, highest = columns({"good": [1, 0, 2], "bad": [0, 0, 2]}, width=30, height=100)
    assert highest == 4
    assert bars == [Bar("good", 0, 75, 9, 25), Bar("good", 20, 50, 9, 50), Bar("bad", 20, 0, 9, 50)]


@pytest.mark.parametrize("parts", [{}, {"good": []}, {"good": [0, 0]}])
def test_without_numbers_there_are_no_bars(parts: dict[str, list[int]]) -> None:
    assert columns(parts) == ([], 0)


def test_a_line_has_gaps_and_dots() -> None:
    assert line([1, None, 2, 4], 4, width=40, height=100) == "M5.0 75.0h.1M25.0 50.0h.1L35.0 0.0"
    assert line([None], 1) == ""
    assert line([1], 0) == ""


def test_the_highest_of_no_value_is_zero() -> None:
    assert highest_of([None], []) == 0
    assert highest_of([None, 3.0], [5.0]) == 5
