import re
from xml.etree import ElementTree as ET

import pytest

from app.tasks.data.profile_report import MAX_PICTURES, bar_chart, histogram, histograms_svg, report_html
from app.tasks.data.profiles import Profile, profile_with_histograms
from tests.unit.tasks.data.conftest import Open

SVG = "{http://www.w3.org/2000/svg}"
EVIL = '<script>alert("1")</script>'


@pytest.fixture
def found(open_table: Open) -> Profile:
    header = 'id,amount,"<b>&x</b>",day,paid\n'
    rows = "".join(
        f"{at},{at * 1.5},{'' if at % 3 else EVIL.replace(chr(34), chr(39))},2024-01-{at % 28 + 1:02},true\n"
        for at in range(60)
    )
    return profile_with_histograms(open_table(header + rows), bins=6, report=lambda *_: None)


class TestPage:
    def test_needs_nothing_else_and_runs_nothing(self, found: Profile) -> None:
        page = report_html(found, f"{EVIL}.csv")
        assert "<script" not in page
        assert "<b>" not in page
        assert {*re.findall(r"https?://[^\"]+", page)} == {"http://www.w3.org/2000/svg"}
        assert not re.search(r"<(link|img|iframe|object|form|base)\b|\b(src|href|on\w+)=|url\(|@import", page)
        assert "default-src 'none'" in page

    def test_shows_each_column(self, found: Profile) -> None:
        page = report_html(found, "data.csv")
        assert page.count('<section class="card">') == page.count("<svg ") == 5
        for text in ("60 rows, 5 columns, csv", "40 (66.7%)", "&lt;b&gt;&amp;x&lt;/b&gt;", "2024-01-28", "88.5"):
            assert text in page

    def test_is_for_dark_screens_and_paper(self, found: Profile) -> None:
        page = report_html(found, "data.csv")
        assert "prefers-color-scheme:dark" in page
        assert "@media print" in page

    def test_of_many_columns_says_which_it_shows(self, open_table: Open) -> None:
        text = (
            ",".join(f"c{at}" for at in range(MAX_PICTURES + 5))
            + "\n"
            + ",".join("1" for _ in range(MAX_PICTURES + 5))
            + "\n"
        )
        page = report_html(profile_with_histograms(open_table(text), report=lambda *_: None), "wide.csv")
        assert page.count('<section class="card">') == MAX_PICTURES
        assert f"Pictures are of the first {MAX_PICTURES} columns." in page

    def test_of_no_rows_is_a_page(self, open_table: Open) -> None:
        page = report_html(profile_with_histograms(open_table("a,b\n"), report=lambda *_: None), "empty.csv")
        assert "0 rows, 2 columns, csv" in page


class TestPictures:
    def test_of_all_columns_are_one_image(self, found: Profile) -> None:
        root = ET.fromstring(histograms_svg(found))
        assert len(root.findall(f"{SVG}svg")) == 5
        assert [each.text for each in root.findall(f"{SVG}text")] == ["id", "amount", "<b>&x</b>", "day", "paid"]

    def test_have_a_bar_for_each_count(self) -> None:
        root = ET.fromstring(histogram("h", [3, 0, 6], ["0", "1", "2", "3"]))
        heights = [float(each.attrib["height"]) for each in root.iter(f"{SVG}rect")]
        assert heights == pytest.approx([heights[1] / 2, heights[1]])
        assert [each.text for each in root.iter(f"{SVG}title")] == ["h", "0 to 1: 3", "2 to 3: 6"]

    @pytest.mark.parametrize("label", [EVIL, "a\x00b\x0b\ud800\uffff", "x" * 1000, "'\"&"])
    def test_are_well_formed_whatever_the_values(self, label: str) -> None:
        root = ET.fromstring(bar_chart(label, [(label, 1), ("", 0)]))
        assert len([*root.iter(f"{SVG}rect")]) == 2
