"""The Chinese pages show what the English ones show, and `tests/integration/test_documents_run.py` runs what those show.

Blocks are the same but for their comments and the labels of diagrams. Each section has the same level, the same code in its
sentences, the same links and tables of the same size.
"""

import os
import re
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.pages import FENCE
from tests.support.services import ROOT
from tests.support.sources import assert_none, name_of, text_of

README, DOCS = ROOT / "README.zh-CN.md", ROOT / "docs"

LINK = re.compile(r'\]\(([^)\s]+)\)|(?:src|srcset)="([^"]+)"')
CODE = re.compile(r"`([^`]+)`")
COMMAND = re.compile(r"(?:\w+=\S+ )*(?:\.|[A-Za-z][\w./-]*) \S")
COMMENT = re.compile(r"(?:^|[ \t]+)# .*$", re.MULTILINE)
COMMENTED = {"", "bash", "ini", "nginx", "python"}
# Of a diagram: in brackets, in quotes, on an arrow, or behind the colon of a transition or a message.
LABEL = re.compile(
    r"\[(?!\*\])[^\]]*\]|\([^)]*\)|\|[^|]*\||\"[^\"]*\"|(?<=-\. ).+?(?= \.->)|: .*$| as .*$", re.MULTILINE
)


def english_of(page: Path) -> Path:
    """The same page in English, of a Chinese one."""
    if page == README:
        return ROOT / "README.md"
    return DOCS / page.name if page.parent == DOCS / "zh" else page


class Section(NamedTuple):
    """`commands` are in their order; `code` is any, in any order, as sentences need it; `tables`: the bars of each row."""

    level: int
    commands: list[str]
    code: list[str]
    links: list[str]
    tables: list[int]


def blocks(text: str) -> list[tuple[str, list[str]]]:
    """The language of each block, and its lines as far as they are not translated."""
    found = []
    for language, body in FENCE.findall(text):
        kept = (
            COMMENT.sub("", body) if language in COMMENTED else LABEL.sub("", body) if language == "mermaid" else body
        )
        found.append((language, [line.rstrip() for line in kept.splitlines() if line.strip()]))
    return found


def linked(page: Path, prose: str) -> list[str]:
    """The files that the prose links to, in the place of a Chinese page the English one, without anchors."""
    targets = [(first or second).partition("#")[0] for first, second in LINK.findall(prose)]
    files = [target if re.match(r"\w+:", target) else (page.parent / target).resolve() for target in targets]
    files = [page if file == page.parent else file for file in files]  # an anchor alone
    return sorted(name_of(english_of(file)) if isinstance(file, Path) else file for file in files)


def sections(page: Path, text: str) -> list[tuple[str, Section]]:
    """By their headings; what stands before the first one has none."""
    parts = re.split(r"^(#+ .+)$", FENCE.sub("", text), flags=re.MULTILINE)
    found = []
    for heading, prose in zip(["", *parts[1::2]], parts[::2], strict=True):
        code = [re.sub(r"\s+", " ", each) for each in CODE.findall(prose)]
        rows = [CODE.sub("", line) for line in prose.splitlines() if line.startswith("|")]
        tables = [row.count("|") for row in rows]
        commands = [each for each in code if COMMAND.match(each)]
        level = len(heading) - len(heading.lstrip("#"))
        found.append((heading, Section(level, commands, sorted({*code}), linked(page, prose), tables)))
    return found


def differences(english: Path, one: str, chinese: Path, other: str) -> list[str]:
    """What the text of the Chinese page does not show as that of the English page does."""
    pairs = zip_longest(blocks(one), blocks(other))
    wrong = [f"block {number}: {its}, in English {this}" for number, (this, its) in enumerate(pairs, 1) if this != its]
    for (heading, this), (title, its) in zip_longest(
        sections(english, one), sections(chinese, other), fillvalue=("", Section(0, [], [], [], []))
    ):
        wrong += [
            f"{title!r}, {heading!r}: {field}: {getattr(its, field)}, in English {getattr(this, field)}"
            for field in Section._fields
            if getattr(this, field) != getattr(its, field)
        ]
    return wrong


CHINESE = [README, *sorted((DOCS / "zh").glob("*.md"))]
PAGES = pytest.mark.parametrize("chinese", [pytest.param(page, id=name_of(page)) for page in CHINESE])


@PAGES
def test_a_chinese_page_shows_what_the_english_one_shows(chinese: Path) -> None:
    english = english_of(chinese)
    assert_none(
        f"{name_of(chinese)}: {each}" for each in differences(english, text_of(english), chinese, text_of(chinese))
    )


@PAGES
def test_each_page_begins_with_a_link_to_the_other(chinese: Path) -> None:
    english = english_of(chinese)
    assert text_of(english).splitlines()[2] == f"[中文]({os.path.relpath(chinese, english.parent)})"
    assert text_of(chinese).splitlines()[2] == f"[English]({os.path.relpath(english, chinese.parent)})"


@PAGES
def test_a_chinese_page_links_to_chinese_pages_where_there_are_any(chinese: Path) -> None:
    prose = FENCE.sub("", text_of(chinese)).partition(f"]({os.path.relpath(english_of(chinese), chinese.parent)})\n")[2]
    files = [(first or second).partition("#")[0] for first, second in LINK.findall(prose)]
    in_chinese = {english_of(page): page for page in CHINESE}
    english = [file for file in files if (chinese.parent / file).resolve() in in_chinese]
    assert_none(f"{name_of(chinese)}: {file} is there in Chinese" for file in english)


HAN = "[\u4e00-\u9fff]"
# A letter or digit beside a Chinese character, and punctuation of ASCII beside one.
UNSPACED = re.compile(rf"{HAN}[A-Za-z0-9`]|[A-Za-z0-9`]{HAN}|{HAN}[`*\")]*[,;:?!.(]|[,;:?!)][`*\"]*{HAN}")


@PAGES
def test_chinese_text_has_its_own_punctuation_and_spaces_around_latin_words(chinese: Path) -> None:
    prose = FENCE.sub(lambda found: "\n" * found[0].count("\n"), text_of(chinese))
    lines = [re.sub(r"\]\([^)]*\)", "]", line) for line in prose.splitlines()]
    assert_none(
        f"{name_of(chinese)}:{number}: {found[0]!r} in {line}"
        for number, line in enumerate(lines, start=1)
        for found in UNSPACED.finditer(line)
    )


class TestDifferences:
    """That the comparison sees them."""

    ONE = """# A
Run `make all`, then `make it`, with `x` ([b](docs/README.md), [c](#c)).

```bash
curl -X GET "$URL/tasks/"  # the list
# all
```
## C
| a | b |
|---|---|
| 1 | `x|y` |

```mermaid
flowchart LR
    a([one]) -->|two| b[(three<br/>four)]
    a -. five .-> b
```
"""
    OTHER = """# 甲
先 `make all`，再 `make it`，加上 `x`（[乙](docs/zh/README.md)、[丙](#丙)）。

```bash
curl -X GET "$URL/tasks/"  # 列表
# 全部
```
## 丙
| 甲 | 乙 |
|---|---|
| 1 | `x|y` |

```mermaid
flowchart LR
    a([一]) -->|二| b[(三<br/>四)]
    a -. 五 .-> b
```
"""

    def compared(self, other: str) -> list[str]:
        return differences(english_of(README), self.ONE, README, other)

    def test_a_translation_has_none(self) -> None:
        assert self.compared(self.OTHER) == []

    @pytest.mark.parametrize(
        ("text", "instead"),
        [
            ("curl -X GET", "curl -X POST"), ('tasks/"  #', 'tasks"  #'), ("```bash", "```"), ("# 全部\n", "ls\n"),
            ("make it", "make them"), ("`x`", "x"), ("docs/zh/README.md", "docs/tour.md"), ("[丙](#丙)", "丙"), ("## 丙", "### 丙"),
            ("## 丙\n", ""), ("| 1 | `x|y` |\n", ""), ("| 1 |", "| 1 | 2 |"), ("a -.", "b -."), ("b[(", "c[("),
            ("`make all`，再 `make it`", "`make it`，再 `make all`"),
        ],
    )  # fmt: skip
    def test_a_change_is_one(self, text: str, instead: str) -> None:
        assert self.OTHER.count(text) == 1
        assert self.compared(self.OTHER.replace(text, instead))
