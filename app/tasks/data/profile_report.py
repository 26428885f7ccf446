"""The profile as a page and as a picture: no script, nothing from the network, for paper and for dark screens.

First come the drawings. All texts are escaped; `PLOT_STYLE` has the colours of the pictures.
"""

import re
from collections.abc import Sequence
from html import escape
from typing import Any

from app.tasks.data.profiles import Histogram, Profile, json_value

WIDTH, HEIGHT = 320, 150
MARGIN = 8
AXIS = 26  # below a histogram, for its labels
BAR, GAP = 16, 6
LABEL_CHARACTERS = 20
LABEL_WIDTH = 128
COUNT_WIDTH = 56

PLOT_STYLE = (
    ".plot{font:11px system-ui,sans-serif}.plot text{fill:#444}.plot .bar{fill:#2f6fb5}.plot .axis{stroke:#999}"
    "@media(prefers-color-scheme:dark){.plot text{fill:#bbb}.plot .bar{fill:#6ea8e6}.plot .axis{stroke:#666}}"
    "@media print{.plot text{fill:#000}.plot .bar{fill:#555}.plot .axis{stroke:#000}}"
)
# XML has no place for these, not even escaped.
NOT_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def xml_text(value: object) -> str:
    """Return the text for XML and HTML, escaped; a character that XML has not becomes U+FFFD."""
    return escape(NOT_XML.sub("\ufffd", str(value)), quote=True)


def histogram(title: str, counts: Sequence[int], edges: Sequence[str]) -> str:
    """Return a histogram of intervals with these counts, between the edges, of which there is one more."""
    most = max([*counts, 1])
    width = (WIDTH - 2 * MARGIN) / max(1, len(counts))
    room = HEIGHT - AXIS - MARGIN
    bars = []
    for at, count in enumerate(counts):
        # A count that is not 0 is visible.
        height = max(1.0, room * count / most) if count else 0.0
        told = xml_text(f"{edges[at]} to {edges[at + 1]}: {count:,}")
        bars.append(
            f'<rect class="bar" x="{MARGIN + at * width:.2f}" y="{MARGIN + room - height:.2f}" '
            f'width="{max(0.5, width - 1):.2f}" height="{height:.2f}"><title>{told}</title></rect>'
        )
    base, below = HEIGHT - AXIS, HEIGHT - MARGIN
    axis = f'<line class="axis" x1="{MARGIN}" y1="{base}" x2="{WIDTH - MARGIN}" y2="{base}"/>'
    low = f'<text x="{MARGIN}" y="{below}">{xml_text(edges[0])}</text>'
    high = f'<text x="{WIDTH - MARGIN}" y="{below}" text-anchor="end">{xml_text(edges[-1])}</text>'
    return _svg(title, HEIGHT, [*bars, axis, low, high])


def bar_chart(title: str, bars: Sequence[tuple[str, int]]) -> str:
    """Return a chart of horizontal bars, each with its label and count."""
    most = max([*(count for _, count in bars), 1])
    room = WIDTH - LABEL_WIDTH - COUNT_WIDTH - 2 * MARGIN
    parts = []
    for at, (label, count) in enumerate(bars):
        top = MARGIN + at * (BAR + GAP)
        length = max(1.0, room * count / most)
        short = label if len(label) <= LABEL_CHARACTERS else f"{label[: LABEL_CHARACTERS - 1]}…"
        start = MARGIN + LABEL_WIDTH
        parts.append(
            f'<text x="{start - 6}" y="{top + 12}" text-anchor="end">{xml_text(short)}</text>'
            f'<rect class="bar" x="{start}" y="{top}" width="{length:.2f}" height="{BAR}">'
            f"<title>{xml_text(f'{label}: {count:,}')}</title></rect>"
            f'<text x="{start + length + 4:.2f}" y="{top + 12}">{count:,}</text>'
        )
    return _svg(title, max(1, len(bars)) * (BAR + GAP) + 2 * MARGIN, parts)


def sheet(pictures: Sequence[str], titles: Sequence[str], columns: int = 3) -> str:
    """Return one picture of all of them, in rows, each below its title."""
    heights = [_height_of(picture) for picture in pictures]
    rows = [range(start, min(start + columns, len(pictures))) for start in range(0, len(pictures), columns)]
    parts, top = [], 0
    for row in rows:
        for place, at in enumerate(row):
            left = place * (WIDTH + MARGIN)
            title = f'<text x="{left + MARGIN}" y="{top + 18}" font-weight="bold">{xml_text(titles[at][:48])}</text>'
            parts += [title, pictures[at].replace("<svg ", f'<svg x="{left}" y="{top + 22}" ', 1)]
        top += max(heights[at] for at in row) + 30
    width, height = columns * (WIDTH + MARGIN), max(top, 30)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}"><style>{PLOT_STYLE}</style>{"".join(parts)}</svg>\n'
    )


def _svg(title: str, height: int, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img"><title>{xml_text(title)}</title>{"".join(parts)}</svg>'
    )


def _height_of(picture: str) -> int:
    return int(picture.partition('viewBox="0 0 ')[2].partition('"')[0].split()[1])


# -- The page, and one picture of all histograms -----------------------------------------------------------------------

MAX_PICTURES = 200
DIGITS = 6
EXPONENT = 1e15  # a number is written with one from here on

PAGE_STYLE = """
:root{color-scheme:light dark;--text:#1c1c1e;--soft:#666;--line:#ddd;--back:#fff;--card:#f7f7f8;--bar:#c0392b}
@media(prefers-color-scheme:dark){
:root{--text:#eee;--soft:#aaa;--line:#444;--back:#161618;--card:#212124;--bar:#e57368}
}
*{box-sizing:border-box}
body{margin:0 auto;padding:1.5rem;max-width:76rem;background:var(--back);color:var(--text)}
body{font:15px/1.45 system-ui,sans-serif}
h1{font-size:1.5rem;margin:0;overflow-wrap:anywhere}
h2{font-size:1rem;margin:0;overflow-wrap:anywhere}
p{margin:.3rem 0 1.2rem}
.soft{color:var(--soft)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .6rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
th{color:var(--soft);font-weight:600;font-size:.85rem}
td{max-width:16rem;overflow-wrap:break-word}
.number{text-align:right;white-space:nowrap}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(21rem,100%),1fr));gap:1rem;margin-top:1.5rem}
.card{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.9rem;break-inside:avoid}
.card header{display:flex;justify-content:space-between;gap:.5rem}
.card svg{width:100%;max-width:30rem;height:auto;display:block;margin:.5rem auto}
.gauge,.gauge div{height:4px;border-radius:2px}
.gauge{background:var(--line);margin-top:.5rem}
.gauge div{background:var(--bar)}
dl{display:grid;grid-template-columns:auto 1fr;gap:.1rem .8rem;margin:0;font-size:.85rem}
dt{color:var(--soft)}
dd{margin:0;text-align:right;overflow-wrap:anywhere}
@media print{
:root{--text:#000;--soft:#333;--line:#bbb;--back:#fff;--card:#fff;--bar:#000}
body{padding:0;font-size:11px}
.cards{grid-template-columns:1fr 1fr}
}
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def report_html(profile: Profile, name: str) -> str:
    """Return the profile of the file called `name` as a page of its own."""
    result = profile.result
    columns = result["columns"]
    shown = columns[:MAX_PICTURES]
    summary = f"{result['rows']:,} rows, {len(columns):,} columns, {result['format']}"
    left_out = f"<p>Pictures are of the first {MAX_PICTURES} columns.</p>" if len(columns) > MAX_PICTURES else ""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<meta name="viewport" content="width=device-width"><title>{xml_text(name)}: profile</title>'
        f"<style>{PAGE_STYLE}{PLOT_STYLE}</style></head><body>"
        f'<h1>{xml_text(name)}</h1><p class="soft">{xml_text(summary)}</p>{_overview(columns, result["rows"])}'
        f'{left_out}<div class="cards">{"".join(_card(each, profile) for each in shown)}</div></body></html>\n'
    )


def histograms_svg(profile: Profile) -> str:
    """Return the pictures of the columns as one SVG: histograms, and charts of the most frequent values."""
    shown = profile.result["columns"][:MAX_PICTURES]
    pictures = [(each["name"], _picture(each, profile)) for each in shown]
    drawn = [(name, picture) for name, picture in pictures if picture]
    return sheet([picture for _, picture in drawn], [name for name, _ in drawn])


def _overview(columns: list[dict[str, Any]], rows: int) -> str:
    heads = ["Column", "Type", "Missing", "Distinct", "Min", "Max", "Mean"]
    numbers = {"Missing", "Distinct", "Mean"}
    head = "".join(f"<th{_number(each in numbers)}>{each}</th>" for each in heads)
    body = "".join(
        f"<tr><td>{xml_text(each['name'])}</td><td>{each['type']}</td>"
        f'<td class="number">{_share(each["missing"], rows)}</td><td class="number">{_distinct(each)}</td>'
        f"<td>{_shown(each['min'])}</td><td>{_shown(each['max'])}</td>"
        f'<td class="number">{_shown(each["mean"])}</td></tr>'
        for each in columns
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _card(column: dict[str, Any], profile: Profile) -> str:
    rows = profile.result["rows"]
    facts = {"missing": _share(column["missing"], rows), "distinct": _distinct(column)}
    facts |= {name: _shown(column[name]) for name in ("min", "max", "mean") if column[name] is not None}
    facts |= {f"{float(at):.0%}": _shown(value) for at, value in (column["quantiles"] or {}).items()}
    listed = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts.items())
    missing = 100 * column["missing"] / rows if rows else 0
    gauge = f'<div class="gauge" title="missing"><div style="width:{missing:.1f}%"></div></div>' if missing else ""
    return (
        f'<section class="card"><header><h2>{xml_text(column["name"])}</h2><span class="soft">{column["type"]}</span>'
        f"</header>{_picture(column, profile)}<dl>{listed}</dl>{gauge}</section>"
    )


def _picture(column: dict[str, Any], profile: Profile) -> str:
    found = profile.histograms.get(column["name"])
    if found is not None:
        return histogram(f"Histogram of {column['name']}", found.counts, _edges(found))
    if column["top"]:
        bars = [(_plain(each["value"]), each["count"]) for each in column["top"]]
        return bar_chart(f"Most frequent values of {column['name']}", bars)
    return ""


def _edges(found: Histogram) -> list[str]:
    bins = len(found.counts)
    low, width = found.low, found.high - found.low
    return [_plain(json_value(low + width * at / bins if at < bins else found.high)) for at in range(bins + 1)]


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return str(value)
    if 10 ** (DIGITS - 1) <= abs(value) < EXPONENT:
        return f"{value:,.1f}".removesuffix(".0")
    return f"{value:.{DIGITS}g}"


def _shown(value: Any) -> str:
    return "" if value is None else xml_text(_plain(value))


def _share(count: int, rows: int) -> str:
    return f"{count:,} ({count / rows:.1%})" if count else "0"


def _distinct(column: dict[str, Any]) -> str:
    return f"{'≈ ' * bool(column.get('approximate'))}{_shown(column['distinct'])}"


def _number(is_number: bool) -> str:
    return ' class="number"' * is_number
