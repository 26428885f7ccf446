"""The tables of docs/http-api.md and its Chinese page, made from the OpenAPI document: `python -m tests.support.http_reference`.

Each stands below a comment that names it: `<!-- calls: tasks -->` (the operations of these tags), `<!-- fields: TaskCreate -->`
(the properties of a schema) or `<!-- codes -->` (the problems of all operations). The prose between them is written by hand.
Without an option it tells which page is out of date (exit code 1); with `--write` it makes the tables anew.
"""

import functools
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from app.api.http.openapi import openapi_document
from app.core.languages import texts_of
from app.main import app

ROOT = Path(__file__).resolve().parents[2]
TRANSLATIONS = Path(__file__).with_suffix(".zh.json")
TABLE = re.compile(r"^<!-- (calls|fields|codes)(?:: ([\w ]+))? -->\n(?:\|.*\n)*", re.MULTILINE)
SENTENCE = re.compile(r"(.+?\.)(?= [A-Z`]|\s|$)", re.DOTALL)

Document = dict[str, Any]
Translate = Callable[[str], str]
Operation = tuple[str, str, Document]


def _operations() -> Iterator[Operation]:
    for path, methods in openapi_document(app)["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _examples(operation: Document) -> Iterator[tuple[str, str, str]]:
    """Yield the status, the code and the title of each problem that an operation may answer."""
    for status, answer in operation["responses"].items():
        for code, example in answer.get("content", {}).get("application/problem+json", {}).get("examples", {}).items():
            yield status, code, example["value"]["title"]


def _first_sentence(text: str) -> str:
    found = SENTENCE.match(" ".join(text.split()))
    assert found, f"not a sentence: {text!r}"
    return found[1].removesuffix(".")


def _who(operation: Document) -> str:
    """Return the scope that an API key needs, or which other caller is let in."""
    if not all(operation.get("security", [{}])):
        return "anyone"
    named = [f"`{scope}`" for each in operation["security"] for scopes in each.values() for scope in scopes]
    login_only = any(code == "login_only" for _, code, _ in _examples(operation))
    return ", ".join(dict.fromkeys(named)) or ("login" if login_only else "any token")


def calls(tags: str, translate: Translate) -> list[tuple[str, ...]]:
    """Return the rows of the operations that have one of the tags, in the order of the tags and of the document."""
    rows = [("call", "what it does", "who")]
    for tag in tags.split():
        found = [each for each in _operations() if tag in each[2]["tags"]]
        assert found, f"no operation has the tag {tag}"
        rows += [
            (f"`{method} {path}`", translate(_first_sentence(operation["description"])), translate(_who(operation)))
            for method, path, operation in found
        ]
    return [tuple(map(translate, rows[0])), *rows[1:]]


def fields(name: str, translate: Translate) -> list[tuple[str, ...]]:
    """Return the rows of a schema's properties, as they are declared."""
    schema = openapi_document(app)["components"]["schemas"][name]
    rows = [(translate("field"), translate("meaning"))]
    for field, described in schema["properties"].items():
        parts = [translate(" ".join(described["description"].split()))]
        if field in schema.get("required", []):
            parts.insert(0, translate("Required."))
        if default := described.get("default"):
            parts.append(translate("Default: {}.").format(f"`{default}`"))
        rows.append((f"`{field}`", translate(" ").join(parts)))
    return rows


def codes(translate: Translate) -> list[tuple[str, ...]]:
    """Return a row for each status that operations answer, with its codes: first those whose title says what to do, a line each."""
    found = {(status, code): title for *_, operation in _operations() for status, code, title in _examples(operation)}
    lines: dict[str, list[str]] = {}
    plain: dict[str, list[str]] = {}
    for (status, code), title in sorted(found.items()):
        if ": " in title:
            lines.setdefault(status, []).append(translate("{}: {}").format(f"`{code}`", translate(title)))
        else:
            plain.setdefault(status, []).append(f"`{code}`")
    statuses = sorted({*lines, *plain})
    rows = [
        (each, "<br>".join([*lines.get(each, []), translate(", ").join(plain.get(each, []))]).removesuffix("<br>"))
        for each in statuses
    ]
    return [(translate("status"), translate("`code`: what to do")), *rows]


@functools.cache
def _translations() -> dict[str, str]:
    loaded: dict[str, str] = json.loads(TRANSLATIONS.read_text(encoding="utf-8"))
    return texts_of("app.core", "zh") | loaded


def in_english(text: str) -> str:
    """Return the text as it is."""
    return text


def in_chinese(text: str) -> str:
    """Return the text in Chinese. Code and status stay. A text without a translation is a KeyError, which names it."""
    return text if re.fullmatch(r"(?:`[^`]+`(?:, )?)+", text) else _translations()[text]


def with_tables(text: str, translate: Translate) -> str:
    """Return a page with each of its tables made anew."""

    def made(found: re.Match[str]) -> str:
        kind, named = found[1], found[2]
        rows = codes(translate) if kind == "codes" else {"calls": calls, "fields": fields}[kind](named, translate)
        head, *body = [f"| {' | '.join(row)} |\n" for row in rows]
        return "".join([found[0].partition("\n")[0], "\n", head, "|---" * len(rows[0]), "|\n", *body])

    return TABLE.sub(made, text)


PAGES = {ROOT / "docs" / "http-api.md": in_english, ROOT / "docs" / "zh" / "http-api.md": in_chinese}


def stale() -> list[Path]:
    """Return the pages whose tables do not say what the OpenAPI document says."""
    texts = {path: path.read_text(encoding="utf-8") for path in PAGES}
    return [path for path, text in texts.items() if text != with_tables(text, PAGES[path])]


def main(arguments: list[str]) -> int:
    """Write the tables, or name the pages that are out of date."""
    for path in stale():
        if arguments == ["--write"]:
            path.write_text(with_tables(path.read_text(encoding="utf-8"), PAGES[path]), encoding="utf-8")
        sys.stdout.write(f"{'written' if arguments else 'out of date'}: {path.relative_to(ROOT)}\n")
    return 1 if stale() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
