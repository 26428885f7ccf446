"""The pictures are XML without scripts, whatever the names and numbers are."""

from xml.etree import ElementTree as ET

import numpy as np
import pytest

from app.core.drawing import round_ticks
from app.tasks.learning.artifacts import compact, confusion_matrix, predicted_against_actual

HOSTILE = ["<script>alert(1)</script>", "\"&'", "bell \x07 \ud800", "x" * 500, ""]


def texts(picture: str) -> list[str]:
    return ["".join(element.itertext()) for element in ET.fromstring(picture).iter() if element.tag.endswith("}text")]


class TestConfusionMatrix:
    def test_shows_counts_in_rows_of_true_classes(self) -> None:
        shown = texts(confusion_matrix(["no", "yes"], np.array([[5, 1], [0, 1234]])))
        assert shown == ["predicted class", "true class", "no", "no", "yes", "yes", "5", "1", "0", "1.2k"]

    def test_escapes_the_names_of_classes(self) -> None:
        picture = confusion_matrix(HOSTILE, np.ones((5, 5), dtype=int))
        assert "<script" not in picture
        assert any(text.startswith("<script>alert(1)</script>") for text in texts(picture))
        picture.encode()

    def test_of_classes_without_rows_is_drawn(self) -> None:
        ET.fromstring(confusion_matrix([str(number) for number in range(50)], np.zeros((50, 50), dtype=int)))


class TestPredictedAgainstActual:
    @pytest.mark.parametrize("scale", [0.0, 1e-300, 1e-9, 1.0, 1e9, 1e300])
    @pytest.mark.parametrize("rows", [1, 20, 2000])
    def test_is_drawn_for_numbers_of_any_size(self, scale: float, rows: int) -> None:
        truth = np.linspace(-1, 1, rows) * scale
        picture = predicted_against_actual(truth, truth[::-1] + scale)
        ET.fromstring(picture)
        assert "nan" not in picture
        assert len(picture) < 500_000

    def test_has_a_point_for_each_of_few_rows_and_squares_of_many(self) -> None:
        few, many = np.arange(30.0), np.arange(5000.0)
        assert predicted_against_actual(few, few).count("<circle") == 30
        assert predicted_against_actual(many, many).count("<circle") == 0
        assert predicted_against_actual(many, many).count(" rows</title>") == 58


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (-1.1, 1.1, [-1, -0.5, 0, 0.5, 1]), (98.9, 101.1, [99, 99.5, 100, 100.5, 101])],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert round_ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (999, "999"), (1000, "1.0k"), (12_345, "12k"), (3_400_000, "3.4M")]
)
def test_counts_are_short(count: int, text: str) -> None:
    assert compact(count) == text
