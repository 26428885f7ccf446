"""Small pieces of HTML. Whatever comes from a test is escaped here."""

import html
from collections.abc import Collection, Iterable, Sequence

from tests.report.model import Case, Flaky

MINUTE = 60
MAX_TEXT = 40_000


def esc(text: object) -> str:
    return html.escape(str(text))


def seconds(value: float) -> str:
    if value >= MINUTE:
        return f"{int(value // MINUTE)} min {value % MINUTE:.0f} s"
    return f"{value:.1f} s" if value >= 1 else f"{value * 1000:.0f} ms"


def section(title: str, body: str) -> str:
    return f"<section><h2>{esc(title)}</h2>{body}</section>"


def tag(state: str) -> str:
    return f'<span class="tag {state}">{state}</span>'


def bar(parts: Iterable[tuple[str, float]]) -> str:
    """One horizontal bar; each part is (class, share of the whole)."""
    inner = "".join(f'<i class="{kind}" style="width:{100 * share:.2f}%"></i>' for kind, share in parts if share)
    return f'<div class="bar">{inner}</div>'


def with_note(text: str, note: str) -> str:
    """The text, with a line below it where there is a note."""
    return esc(text) + (f"<br><span class=soft>{esc(note)}</span>" if note else "")


def row(cells: Iterable[str], numbers: Collection[int] = ()) -> str:
    inner = "".join(f"<td{' class=n' if at in numbers else ''}>{cell}</td>" for at, cell in enumerate(cells))
    return f"<tr>{inner}</tr>"


def table(
    heads: Sequence[str], rows: Iterable[Iterable[str]], numbers: Collection[int] = (), wide: Collection[int] = ()
) -> str:
    """Rows of cells; `numbers` and `wide` are columns."""

    def head(at: int, text: str) -> str:
        kind = " class=n" if at in numbers else " class=w" if at in wide else ""
        return f"<th{kind}>{esc(text)}</th>"

    top = "".join(head(at, text) for at, text in enumerate(heads))
    body = "".join(row(cells, numbers) for cells in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def failures(cases: Sequence[Case]) -> str:
    """Each with its whole text, folded but for the first."""
    if not cases:
        return ""
    blocks = [_failure(case, opened=at == 0) for at, case in enumerate(cases)]
    return section(f"Failures ({len(cases)})", "".join(blocks))


def flaky_section(tests: Sequence[Flaky]) -> str:
    """Each with what it said when it failed, and when it passed alone."""
    if not tests:
        return ""
    blocks = [
        f"<details><summary><b>{esc(test.nodeid)}</b> <span class='soft'>{esc(test.suite)}</span></summary>"
        f"<pre>{esc(test.first[-MAX_TEXT:])}</pre><h3>run again, alone</h3><pre>{esc(test.second[-MAX_TEXT:])}</pre></details>"
        for test in tests
    ]
    return section(f"Flaky: failed once, and passed alone ({len(tests)})", "".join(blocks))


def _failure(case: Case, *, opened: bool) -> str:
    name = f"<b>{esc(case.name)}</b> <span class='soft'>{esc(case.suite)} · {esc(case.group)} · {seconds(case.seconds)}</span>"
    text = case.text if len(case.text) <= MAX_TEXT else f"{case.text[:MAX_TEXT]}\n… cut"
    return f"<details{' open' if opened else ''}><summary>{name}</summary><pre>{esc(text)}</pre></details>"
