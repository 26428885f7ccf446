"""Errors in Chinese: every title and every field text has a translation; the rest of a text goes into its gaps."""

from string import Formatter

import pytest

from app.core import validation_errors
from app.core.languages import error_texts, in_chinese, preferred
from tests.support.tables import check_rows
from tests.unit.web.test_languages import error_titles


def gaps(text: str) -> int:
    return sum(1 for _, name, _, _ in Formatter().parse(text) if name is not None)


def test_every_title_has_one() -> None:
    assert sorted(error_titles() - error_texts().keys()) == []


def test_every_text_of_a_field_has_one() -> None:
    class Any(dict[str, str]):
        def __missing__(self, _: str) -> str:
            return "7"

    texts = {text.format_map(Any()) for text in validation_errors._TEXTS.values()}
    assert [text for text in texts if in_chinese(text) == text] == []


def test_what_stands_in_the_gaps_is_kept() -> None:
    def check(text: str, translated: str) -> None:
        assert in_chinese(text) == translated

    check_rows(check, [
        ("must be 5 or more", "必须不小于 5"),
        ("must be 'a' or 'b'", "必须是 'a' or 'b'"),
        ("Cannot retry a task that is running", "不能重试状态为 running 的任务"),
        ("unknown field, did you mean name", "未知字段，是否想写 name"),
        ("The body is a form: send JSON with Content-Type: application/json",
         "请求体是表单：请以 Content-Type: application/json 发送JSON"),
        ("no such text", "no such text"),
    ])  # fmt: skip


@pytest.mark.parametrize("text", [text for text in error_texts() if "{}" in text])
def test_a_translation_has_the_gaps_of_its_text(text: str) -> None:
    assert gaps(error_texts()[text]) == text.count("{}")
    assert in_chinese(text.replace("{}", "x")) == error_texts()[text].format(*["x"] * text.count("{}"))


def test_the_known_language_of_most_weight_counts() -> None:
    def check(header: str, code: str) -> None:
        assert preferred(header) == code

    check_rows(check, [
        ("zh-CN,en;q=0.8", "zh"), ("en,zh", "en"), ("fr,zh-TW", "zh"), ("", "en"), ("fr", "en"),
        ("en;q=0.5, zh;q=0.9", "zh"), ("zh;q=0, fr", "en"), ("zh;q=0.9,en", "en"), ("zha", "en"), ("zh;q=x", "zh"),
    ])  # fmt: skip


def test_a_long_text_is_not_compared_with_gaps() -> None:
    """The time would grow with the square of its length."""
    assert in_chinese("must be 5 or more") != in_chinese("must be " + "5" * 1000 + " or more")
