"""Errors in Chinese: every title and every text has a translation; what fills the gaps of a text is kept."""

import ast
import json
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import zxcvbn.feedback

from app import errors
from app.core import validation_errors
from app.core.credentials import _sentences, weakness
from app.core.languages import CHINESE, in_language, preferred, texts_of
from app.core.password_guesses import OWN_WORDS_ADVICE
from app.errors import ServiceError, Text, detail_of, joined, without
from tests.support.error_titles import error_titles
from tests.support.sources import app_files, name_of, text_of
from tests.support.tables import check_rows

KNOWN = texts_of("app.core", CHINESE)


def in_chinese(text: str) -> str:
    return in_language(text, CHINESE)


def gaps(text: str) -> int:
    return sum(1 for _, name, _, _ in Formatter().parse(text) if name is not None)


def test_every_title_has_one() -> None:
    assert sorted(error_titles() - KNOWN.keys()) == []


def test_every_text_of_a_field_has_one() -> None:
    texts = {*validation_errors._TEXTS.values(), *(text for text, _ in validation_errors._WITH_GAP.values())}
    texts |= {*validation_errors.PATTERNS.values(), validation_errors._PLUS}
    assert sorted(texts - KNOWN.keys()) == []


# Modules whose errors only a command's user sees.
COMMANDS = {"__main__.py", "roles.py"}
# They have nothing to translate, or are for those who write programs.
PLAIN = {"", "{text}", "it is 7", "A form of more than 7 bytes is sent as 7"}
PLAIN |= {"is no request of JSON-RPC with parameters", "the arguments are no object"}
# What makes an error that is shown to a caller; its text is the first argument, or the second.
MAKE_ERRORS = {"InvalidTiming": 1, "InvalidRequest": 0, "HTTPException": 1, "UnknownZone": 0}
MAKE_ERRORS |= {"PydanticCustomError": 1, "validator_error": 1, "_MeansNothing": 0}
MAKE_ERRORS |= {
    name: 0 for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, ServiceError)
}


def texts_of_errors() -> Iterator[str]:
    """Each text that the code gives to one of its errors, or to a refused field; of an f-string, with 7 in its gaps."""
    for path in app_files():
        if path.name in COMMANDS:
            continue
        tree = ast.parse(text_of(path))
        named = {
            target.id: node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            given: list[ast.expr] = []
            if isinstance(node, ast.Call) and (name := _called(node)) in MAKE_ERRORS:
                at = MAKE_ERRORS[name]
                given = [*node.args[at : at + 1], *(each.value for each in node.keywords if each.arg == "detail")]
            elif isinstance(node, ast.Call) and name.removesuffix(".at") in MAKE_ERRORS:
                given = node.args[1:2]
            elif isinstance(node, ast.Dict):
                pairs = zip(node.keys, node.values, strict=True)
                given = [value for key, value in pairs if isinstance(key, ast.Constant) and key.value == "msg"]
            for each in given:
                text = _text(named.get(each.id, each) if isinstance(each, ast.Name) else each)
                if text is not None:
                    yield text


def _called(call: ast.Call) -> str:
    return ast.unparse(call.func).removeprefix("errors.")


def _text(node: ast.expr) -> str | None:
    if isinstance(node, ast.JoinedStr):
        parts = (ast.unparse(part.value) if isinstance(part, ast.FormattedValue) else part for part in node.values)
        filled = [{"MASK": "***"}.get(part, "7") if isinstance(part, str) else str(part.value) for part in parts]  # type: ignore[attr-defined]
        return "".join(filled)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def test_every_text_of_an_error_has_one() -> None:
    """What has gaps is a Text: an f-string, which no translation fits, is not in the file."""
    texts = {*texts_of_errors()} - PLAIN
    assert len(texts) > 50
    assert sorted(texts - KNOWN.keys()) == []


def literals_of_texts() -> Iterator[str]:
    """Each template of the code but that of `doctor`, whose texts have a file of their own."""
    for path in app_files():
        if name_of(path).startswith("app/doctor/"):
            continue
        for node in ast.walk(ast.parse(text_of(path))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"Text", "_refused"} and node.args:
                yield from (
                    each.value for each in node.args[:2] if isinstance(each, ast.Constant) and "{}" in str(each.value)
                )


def test_every_template_has_one_with_the_same_gaps() -> None:
    templates = {text for text in literals_of_texts() if re.search(r"\w", text)}
    assert len(templates) > 60
    assert sorted(templates - KNOWN.keys()) == []
    assert [text for text in KNOWN if "{}" in text and gaps(KNOWN[text]) != text.count("{}")] == []


def test_no_template_is_of_a_text_that_is_gone() -> None:
    constants = {
        node.value
        for path in app_files()
        for node in ast.walk(ast.parse(text_of(path)))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert sorted(text for text in KNOWN.keys() - constants if "{}" in text) == []


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


def test_so_has_what_is_wrong_with_an_address() -> None:
    assert {"it is not a public address, and not allowed by OUTBOUND_ALLOW", "is not the id of a file"} <= KNOWN.keys()


def test_so_has_every_advice_on_a_password() -> None:
    """zxcvbn gives one warning and some suggestions, each one or two sentences."""
    tree = ast.parse(Path(zxcvbn.feedback.__file__).read_text(encoding="utf-8"))
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "_")
    advice = {*map(ast.literal_eval, (call.args[0] for call in calls)), OWN_WORDS_ADVICE}
    assert len(advice) > 20
    assert [
        text for text in advice if re.search("[a-z]{5}", in_chinese(_sentences(text)).replace("abcabcabc", ""))
    ] == []
    two = _sentences(f"{OWN_WORDS_ADVICE} Add another word or two. Uncommon words are better.")
    assert two == f"{OWN_WORDS_ADVICE} Add another word or two. Uncommon words are better."
    assert in_chinese(two) == "其中包含您的名字、邮箱地址或本服务的名称。再加一两个词。不常见的词更好。"
    weak = weakness("short", ())
    assert weak is not None
    assert in_chinese(weak.advice) == "请至少使用 15 个字符：几个互不相关的词最好。"


def test_what_stands_in_the_gaps_is_kept() -> None:
    def check(text: str, english: str, chinese: str) -> None:
        assert text == english
        assert in_chinese(text) == chinese

    meant = Text(", did you mean {}", "limit")
    check_rows(check, [
        (Text("must be {} or more", 5), "must be 5 or more", "必须不小于 5"),
        (Text("must be {}", Text("{} or {}", "'a'", "'b'")), "must be 'a' or 'b'", "必须是 'a' 或 'b'"),
        (Text("Unknown query parameter: {}. Known: {}", joined(", ", [Text("{}{}", "limitt", meant), "x"]), "limit"),
         "Unknown query parameter: limitt, did you mean limit, x. Known: limit",
         "未知的查询参数：limitt，是否想写 limit, x。可用的有：limit"),
        (Text("Cannot {} a task that is {}", "retry", "running"), "Cannot retry a task that is running",
         "不能对状态为 running 的任务执行 retry"),
        (Text("The body {}: send {} with Content-Type: {}", "is a form", "JSON", "application/json"),
         "The body is a form: send JSON with Content-Type: application/json",
         "请求体是表单。需要的格式：JSON，Content-Type: application/json"),
        (Text("{} recorded actions {}", 5, "a day"), "5 recorded actions a day", "每天最多 5 次受审计的操作"),
        (Text("There is no user {}", "{}{0}{x}"), "There is no user {}{0}{x}", "没有用户 {}{0}{x}"),
        (Text("no such {}", "text"), "no such text", "no such text"),
        ("is required", "is required", "必填"),
        ("no such text", "no such text", "no such text"),
    ])  # fmt: skip


def test_a_detail_that_is_made_of_the_errors_has_their_translations() -> None:
    refused = [
        {"loc": ["kwargs", "n"], "msg": Text("must be {} or more", 5), "type": "x"},
        {"loc": ["name"], "msg": "is required", "type": "x"},
    ]
    detail = detail_of("The request is not valid", refused)
    assert (detail, in_chinese(detail)) == (
        "kwargs.n: must be 5 or more; name: is required",
        "kwargs.n: 必须不小于 5; name: 必填",
    )


def test_a_text_is_plain_english_wherever_no_language_is_asked_for() -> None:
    text = Text("There is no user {}", "a")
    assert (json.dumps(text), f"{text}", text.upper()) == (
        '"There is no user a"',
        "There is no user a",
        "THERE IS NO USER A",
    )
    assert in_language(text, "en") is text


def test_an_exception_and_a_pickle_keep_the_text() -> None:
    text = Text("There is no user {}", Text("{} or {}", "a", "b"))
    for kept in (str(ValueError(text)), str(text), pickle.loads(pickle.dumps(text))):
        assert (kept, in_chinese(kept)) == ("There is no user a or b", "没有用户 a 或 b")


def test_a_gap_can_be_left_out() -> None:
    meant = Text(", did you mean {}", "b")
    text = Text("tasks[{}]: {}", 0, Text("There is no limit {}{}", "a", meant))
    assert in_chinese(without(text, meant)) == "tasks[0]：没有名为 a 的限额"
    assert without("plain", meant) == "plain"


def test_the_known_language_of_most_weight_counts() -> None:
    def check(header: str, code: str) -> None:
        assert preferred(header) == code

    check_rows(check, [
        ("zh-CN,en;q=0.8", "zh"), ("en,zh", "en"), ("fr,zh-TW", "zh"), ("", "en"), ("fr", "en"),
        ("en;q=0.5, zh;q=0.9", "zh"), ("zh;q=0, fr", "en"), ("zh;q=0.9,en", "en"), ("zha", "en"), ("zh;q=x", "zh"),
    ])  # fmt: skip
