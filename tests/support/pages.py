"""The fenced blocks of a document, and the shell script that a reader makes of them who pastes one after another."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from types import MappingProxyType

from tests.support.services import ROOT
from tests.support.sources import text_of

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$\n?", re.MULTILINE | re.DOTALL)
ANSWERS = ("", "json")
PROGRAMS = ("python", "javascript")
SAVED = re.compile(r"\bsave\b[^.]*?\bas\s+`([\w./-]+)`", re.IGNORECASE)
TOUR = re.compile(r"\]\((?:docs/)?tour\.md#([\w-]+)\)")
MARK = "\x1e"


@dataclass(frozen=True)
class Block:
    """`file`: where the text before it says that a program is saved; `answer`: the block of output right below."""

    language: str
    text: str
    heading: str
    file: str | None = None
    answer: str | None = None

    def runs(self, file: str, left_out: Mapping[str, str] = MappingProxyType({})) -> bool:
        """Names the file, or the folder of one with a whole path."""
        folders = [str(folder) for folder in Path(file).parents] if file.startswith("/") else []
        text, _ = without(self.text, left_out)
        return self.language == "bash" and (file in text or not {*folders}.isdisjoint(text.split()))

    def belongs_to(self, module: str) -> bool:
        """Python that is saved as this module, or whose page names no file."""
        file = f"/{module.replace('.', '/')}.py"
        return self.language == "python" and (self.file is None or self.file.endswith(file))


class Page:
    """A document, by its name: `README.md`, or one of docs/."""

    def __init__(self, name: str) -> None:
        self.name, self.text = name, text_of(path_of(name))
        self.blocks = list(self._blocks())

    def _blocks(self) -> Iterator[Block]:
        found = [*FENCE.finditer(self.text)]
        for match, following in zip_longest(found, found[1:]):
            before = self.text[: match.start()]
            headings = re.findall(r"^#+ (.+)$", FENCE.sub("", before), flags=re.MULTILINE)
            file = [*SAVED.finditer(FENCE.sub("", before))][-1:] if match[1] in PROGRAMS else []
            below = following if following and following.start() == match.end() and following[1] in ANSWERS else None
            yield Block(match[1], match[2], headings[-1], file[0][1] if file else None, below[2] if below else None)

    def prose(self) -> str:
        return FENCE.sub("", self.text)

    def module(self, name: str) -> str:
        """The blocks of this module."""
        return "\n\n".join(block.text for block in self.blocks if block.belongs_to(name))

    def variables(self, command: str) -> dict[str, str]:
        """What the page sets for the command on the command's own line."""
        lines = "\n".join(block.text for block in self.blocks if block.language == "bash")
        (line,) = re.findall(rf"^((?:\w+=\S+ )+){re.escape(command)}$", lines, flags=re.MULTILINE)
        return dict(pair.split("=", 1) for pair in line.split())

    def commands(self, left_out: Mapping[str, str]) -> str:
        """What remains of its bash blocks without these commands."""
        return "".join(without(block.text, left_out)[0] for block in self.blocks if block.language == "bash").strip()

    def needed(self) -> list[str]:
        """The headings of the tour that the page takes for read, in their order there."""
        named = {slug.replace("-", " ") for slug in TOUR.findall(self.prose())}
        return [] if self.name == "tour.md" else sorted(named, key=["log in", "create a task"].index)


def path_of(name: str) -> Path:
    return ROOT / name if name == "README.md" else ROOT / "docs" / name


def without(text: str, left_out: Mapping[str, str]) -> tuple[str, set[str]]:
    """A script less the commands that begin so, each with the lines that continue it; and which of them it had."""
    kept: list[str] = []
    found: set[str] = set()
    dropping = False
    for line in text.splitlines():
        if not dropping and (begins := [start for start in left_out if line.startswith(start)]):
            found.update(begins)
            dropping = True
        if not dropping:
            kept.append(line)
        dropping = dropping and line.endswith("\\")
    return "\n".join(kept), found


VARIES = re.compile(
    r"""
    (?P<more>\s*,?\s*…\s*,?\s*) | (?P<space>\s+)
    | (?P<uuid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}) | (?P<time>\d{4}-\d\d-\d\dT[\d:.]+Z) | (?P<hex>[0-9a-f]{32})
    | (?P<worker>worker1@vm) | (?P<key>tsk_\w+)
    | (?P<fixed>(?<="status":)\d+|(?<="attempt":)\d+|(?<="number":)\d+|(?<=HTTP/1.1\ )\d+|^\d+$) | (?P<number>\d+(?:\.\d+)?)
    """,
    re.VERBOSE | re.MULTILINE,
)
PATTERNS = {
    "more": ".*?", "space": r"\s*", "uuid": r"[0-9a-f-]{36}", "time": r"[\d-]{10}T[\d:.]+Z", "hex": "[0-9a-f]{32}",
    "worker": r"worker1@[\w.-]+", "key": r"tsk_\w+", "number": r"\d+(?:\.\d+)?",
}  # fmt: skip


def like(answer: str) -> re.Pattern[str]:
    """Matches output that ends as the document shows: ids, times and numbers may differ, keys, texts and statuses not."""
    parts, at = [], 0
    for found in VARIES.finditer(answer):
        parts += [re.escape(answer[at : found.start()]), PATTERNS.get(found.lastgroup or "") or re.escape(found[0])]
        at = found.end()
    return re.compile("".join([*parts, re.escape(answer[at:]), r"\s*\Z"]), re.DOTALL)
