"""Errors in Chinese: every title and every text has a translation; the rest of a text goes into its gaps."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest
import zxcvbn.feedback

from app import errors
from app.core import languages, validation_errors
from app.core.credentials import weakness
from app.core.languages import error_texts, in_chinese, preferred
from app.core.password_guesses import OWN_WORDS_ADVICE
from app.errors import ServiceError
from tests.support.error_titles import error_titles
from tests.support.services import ROOT
from tests.support.sources import app_files, name_of, text_of
from tests.support.tables import check_rows


def gaps(text: str) -> int:
    return sum(1 for _, name, _, _ in Formatter().parse(text) if name is not None)


def test_every_title_has_one() -> None:
    assert sorted(error_titles() - error_texts().keys()) == []


def test_every_text_of_a_field_has_one() -> None:
    class Any(dict[str, str]):
        def __missing__(self, _: str) -> str:
            return "7"

    texts = {text.format_map(Any()) for text in validation_errors._TEXTS.values()}
    texts |= {*validation_errors.PATTERNS.values(), validation_errors._PLUS}
    assert [text for text in texts if in_chinese(text) == text] == []


# Modules whose errors only a command's user sees.
COMMANDS = {"__main__.py", "roles.py"}
# What these gaps hold is translated by its own test, or is no text.
GAPS = {
    "",
    "7. 7",
    "{why}",
    "it is {why}",
    "unknown field7",
    "is no task that can be created7; if it is yours, `python -m app check` says why",
}
FILLED = {
    "Unknown query parameter: 7. 7": "Unknown query parameter: x, did you mean y. Known: y, z",
    "7Task 7 has this unique_key7": "tasks[7]: Task 7 has this unique_key, and cannot be replaced: it is running",
    (
        kept
        := "7 keeps a hidden value only where every other argument is as it was: send the value itself, or have the owner "
        "of the task change it by a login"
    ): kept.replace("7", "***"),
    (same := "7 keeps a hidden value only for the same task: send the value itself"): same.replace("7", "***"),
    (none := "7 replaces a hidden value, but none is stored here: send the value itself"): none.replace("7", "***"),
    "7 recorded actions 7": "7 recorded actions a minute",
    "7: 7": "these tasks wait for each other: tasks[0] → tasks[0]",
    "no task of the workflow has this ref7": "no task of the workflow has this ref, did you mean y",
    "There is no queue 77": "There is no queue x, did you mean y",
    "There is no limit 77": "There is no limit x, did you mean y",
    "is no limit7": "is no limit, did you mean y",
}


def texts_of_errors() -> Iterator[str]:
    """Each text that the code gives to one of its errors, or to a refused field, with 7 in its gaps."""
    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, ServiceError)}
    for path in (ROOT / "app").rglob("*.py"):
        if path.name in COMMANDS:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named = {
            target.id: node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            given: list[ast.expr] = []
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "PydanticCustomError":
                given = node.args[1:2]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in kinds:
                given = [*node.args[:1], *(each.value for each in node.keywords if each.arg == "detail")]
            elif isinstance(node, ast.Dict):
                pairs = zip(node.keys, node.values, strict=True)
                given = [value for key, value in pairs if isinstance(key, ast.Constant) and key.value == "msg"]
            for each in given:
                text = _text(named.get(each.id, each) if isinstance(each, ast.Name) else each)
                if text is not None:
                    yield text


def _text(node: ast.expr) -> str | None:
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "7" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def test_every_text_of_an_error_has_one() -> None:
    texts = {FILLED.get(text, text) for text in texts_of_errors()} - GAPS
    assert len(texts) > 50
    assert sorted(text for text in texts if in_chinese(text) == text) == []


# What speaks of the API: its own layer, its documents, and the pages.
OF_HTTP = (
    "app/api/",
    "app/mcp/",
    "app/web/",
    "app/schemas/",
    "app/models/task_filter.py",
    "app/core/setting_fields.py",
)


def test_those_of_the_python_api_do_not_speak_of_http() -> None:
    """The HTTP layer adds which call helps (`app/api/http/problems.py`)."""
    told = [*error_titles()]
    for path in app_files():
        if name_of(path).startswith(OF_HTTP):
            continue
        tree = ast.parse(text_of(path))
        lone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
        constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in lone)
        told += [node.value for node in constants if isinstance(node.value, str)]
    assert [
        text for text in told if re.search(r"\b(GET|PUT|POST|PATCH|DELETE) /|\bLink header|dry_run again", text)
    ] == []


def test_so_has_what_is_wrong_with_a_url_and_its_headers() -> None:
    texts = {"it is not a public address, and not allowed by OUTBOUND_ALLOW", "is not the id of a file"}
    for name in ("targets", "client"):
        tree = ast.parse((ROOT / "app" / "outbound" / f"{name}.py").read_text(encoding="utf-8"))
        calls = (
            node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "InvalidRequest"
        )
        texts |= {text for call in calls if (text := _text(call.args[0])) is not None}
    assert len(texts) > 15
    assert sorted(text for text in texts if in_chinese(text) == text) == []


def test_so_has_every_advice_on_a_password() -> None:
    """zxcvbn gives one warning and some suggestions, each one or two sentences."""
    tree = ast.parse(Path(zxcvbn.feedback.__file__).read_text(encoding="utf-8"))
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "_")
    advice = {*map(ast.literal_eval, (call.args[0] for call in calls)), OWN_WORDS_ADVICE, weakness("short", ()).advice}
    assert len(advice) > 20
    assert [text for text in advice if in_chinese(text) == text] == []
    assert in_chinese(OWN_WORDS_ADVICE).startswith("其中包含")


def test_a_text_of_many_sentences_is_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is none of the service's own: each sentence would be compared with a hundred patterns, in the event loop."""
    compared: list[None] = []
    monkeypatch.setattr(languages, "_templates", lambda: compared.append(None) or ())  # type: ignore[func-returns-value]
    assert in_chinese(text := ". " * 490) == text
    assert len(compared) == 1


def test_what_stands_in_the_gaps_is_kept() -> None:
    def check(text: str, translated: str) -> None:
        assert in_chinese(text) == translated

    check_rows(check, [
        ("must be 5 or more", "必须不小于 5"),
        ("must be 'a' or 'b'", "必须是 'a' 或 'b'"),
        ("Unknown query parameter: limitt, did you mean limit. Known: limit", "未知的查询参数：limitt，是否想写 limit。可用的有：limit"),
        ("Cannot retry a task that is running", "不能重试状态为 running 的任务"),
        ("unknown field, did you mean name", "未知字段，是否想写 name"),
        ("The body is a form: send JSON with Content-Type: application/json",
         "请求体是表单。需要的格式：JSON，Content-Type: application/json"),
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
