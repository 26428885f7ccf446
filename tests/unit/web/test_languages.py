"""The texts of the pages in both languages."""

import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from jinja2 import Environment

from app.core.languages import texts_of
from app.models.error_group import ErrorState
from app.models.task import AttemptOutcome, TaskPriority, TaskStatus
from app.models.worker import WorkerState
from app.web.application import NAVIGATION
from app.web.responses import age_text, duration_text, language_of_code, negotiated_language
from tests.support.error_titles import error_titles
from tests.support.tables import check_rows


def texts_of_templates() -> Iterator[str]:
    environment: Any = Environment(extensions=["jinja2.ext.i18n"], autoescape=True)
    for template in (files("app.web") / "templates").iterdir():
        for _, _, text in environment.extract_translations(template.read_text(encoding="utf-8")):
            # Of one and of many, the translations have that of many.
            if text is not None:
                yield text if isinstance(text, str) else next(each for each in reversed(text) if each)


def texts_of_pages() -> Iterator[str]:
    yield from texts_of_templates()
    for entry in NAVIGATION:
        yield from (text for text in (entry.text, entry.text_to_admins) if text is not None)


def test_every_text_of_the_pages_is_translated() -> None:
    missing = sorted(set(texts_of_pages()) - language_of_code("zh").texts.keys())
    assert missing == []


STATES = (TaskStatus, TaskPriority, AttemptOutcome, WorkerState, ErrorState)


def test_every_state_is_translated() -> None:
    known = language_of_code("zh").texts
    assert [word for words in STATES for word in words if word.value not in known] == []


def test_every_error_is_translated() -> None:
    assert sorted(error_titles() - language_of_code("zh").texts.keys()) == []


def test_no_translation_is_of_a_text_that_is_gone() -> None:
    spoken = {*texts_of_pages(), "ms", "s", "min", "h", "d"}
    for words in STATES:
        spoken |= {word.value for word in words}
    spoken |= error_titles()
    assert sorted(language_of_code("zh").texts.keys() - texts_of("app.core", "zh").keys() - spoken) == []


def test_one_is_not_many() -> None:
    texts = ("{number} task", "{number} tasks")
    assert [language_of_code("en").ngettext(*texts, number) for number in (0, 1, 2)] == [texts[1], texts[0], texts[1]]
    assert language_of_code("zh").ngettext(*texts, 1) == language_of_code("zh").gettext(texts[1]) != texts[1]


def test_the_choice_wins_over_the_browsers_languages() -> None:
    codes = {
        (None, "zh-CN,zh;q=0.9,en;q=0.8"): "zh", (None, "fr-FR,en;q=0.5"): "en", (None, "fr"): "en", (None, ""): "en",
        ("zh", "en"): "zh", ("xx", "zh"): "zh",
    }  # fmt: skip
    check_rows(lambda asked, code: negotiated_language(*asked).code == code, codes.items())


def test_a_duration_is_its_two_largest_units() -> None:
    shown = {
        None: "", 0: "0 ms", -3: "0 ms", 0.0123: "12 ms", 1: "1.0 s", 9.96: "10.0 s", 10: "10 s", 192: "3 min 12 s",
        3600: "1 h", 3605: "1 h", 90061: "1 d 1 h",
    }  # fmt: skip
    check_rows(lambda seconds, text: duration_text(seconds, str) == text, shown.items())


def test_an_age_is_its_largest_unit() -> None:
    shown = {
        0: "now", -0.9: "now", 1: "1 s ago", 59.9: "59 s ago", 60: "1 min ago", 7199: "1 h ago", 172800: "2 d ago",
        -60: "in 1 min", -604800: "in 7 d",
    }  # fmt: skip
    check_rows(lambda seconds, text: age_text(seconds, str) == text, shown.items())
    assert age_text(180, language_of_code("zh").gettext) == "3 分钟前"


# What is translated by its value is a word of the code, and no text that can hold what somebody sent.
WORDS = {
    "attempt.outcome",
    "entry.text_to_admins if user.is_admin and entry.text_to_admins else entry.text",
    "group.state",
    "name",
    "status",
    "task.priority",
    "worker.state",
}


def test_no_text_of_an_error_is_taken_for_markup() -> None:
    """`_()` returns Markup, which is not escaped: such texts go through the filter `said`."""
    found = set[str]()
    for template in (files("app.web") / "templates").iterdir():
        found |= set(re.findall(r"\b(?:_|gettext)\((?![\"')])([^()]+)\)", template.read_text(encoding="utf-8")))
    assert found - WORDS == set()
