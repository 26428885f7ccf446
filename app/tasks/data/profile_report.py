"""The profile as a page and as a picture: no script, nothing from the network, for paper and for dark screens.

First come the pictures. All texts are escaped; `PLOT_STYLE` has the colours of the pictures.
"""

from collections.abc import Sequence
from typing import Any

from app.core.drawing import Bar, columns, escaped, label, rects, svg
from app.tasks.data.profiles import Histogram, Profile, json_value

WIDTH, HEIGHT = 320, 150
MARGIN = 8
AXIS = 26  # below a histogram, for its labels
BAR, GAP = 16, 6
LABEL_CHARACTERS = 20
LABEL_WIDTH = 128
COUNT_WIDTH = 56
PLOT = ' class="plot"'

PLOT_STYLE = (
    ".plot{font:11px system-ui,sans-serif}.plot text{fill:#444}.plot .bar{fill:#2f6fb5}.plot .axis{stroke:#999}"
    "@media(prefers-color-scheme:dark){.plot text{fill:#bbb}.plot .bar{fill:#6ea8e6}.plot .axis{stroke:#666}}"
    "@media print{.plot text{fill:#000}.plot .bar{fill:#555}.plot .axis{stroke:#000}}"
)


def histogram(title: str, counts: Sequence[int], edges: Sequence[str]) -> str:
    """Return a histogram of intervals with these counts, between the edges, of which there is one more."""
    right, base, below = WIDTH - MARGIN, HEIGHT - AXIS, HEIGHT - MARGIN
    titles = [f"{edges[at]} to {edges[at + 1]}: {count:,}" for at, count in enumerate(counts)]
    bars = columns({"bar": counts}, right - MARGIN, base - MARGIN, least=1, titles=titles)
    return svg(
        WIDTH,
        HEIGHT,
        title,
        f'<g transform="translate({MARGIN} {MARGIN})">{rects(bars)}</g>'
        f'<line class="axis" x1="{MARGIN}" y1="{base}" x2="{right}" y2="{base}"/>'
        f"{label(MARGIN, below, edges[0])}{label(right, below, edges[-1], anchor='end')}",
        PLOT,
    )


def bar_chart(title: str, bars: Sequence[tuple[str, int]]) -> str:
    """Return a chart of horizontal bars, each with its label and count."""
    most = max([*(count for _, count in bars), 1])
    start, full = MARGIN + LABEL_WIDTH, WIDTH - LABEL_WIDTH - COUNT_WIDTH - 2 * MARGIN
    drawn = [
        Bar("bar", start, MARGIN + at * (BAR + GAP), max(1.0, full * count / most), BAR, f"{text}: {count:,}")
        for at, (text, count) in enumerate(bars)
    ]
    labels = (
        label(start - 6, bar.y + 12, text, anchor="end", most=LABEL_CHARACTERS)
        + label(start + bar.width + 4, bar.y + 12, f"{count:,}")
        for bar, (text, count) in zip(drawn, bars, strict=True)
    )
    return svg(WIDTH, max(1, len(bars)) * (BAR + GAP) + 2 * MARGIN, title, f"{rects(drawn)}{''.join(labels)}", PLOT)


def sheet(pictures: Sequence[str], titles: Sequence[str], across: int = 3) -> str:
    """Return one picture of all of them, in rows, each below its title."""
    heights = [_height_of(picture) for picture in pictures]
    rows = [range(start, min(start + across, len(pictures))) for start in range(0, len(pictures), across)]
    parts, top = [], 0
    for row in rows:
        for place, at in enumerate(row):
            left = place * (WIDTH + MARGIN)
            title = label(left + MARGIN, top + 18, titles[at][:48], extra=' font-weight="bold"')
            parts += [title, pictures[at].replace("<svg ", f'<svg x="{left}" y="{top + 22}" ', 1)]
        top += max(heights[at] for at in row) + 30
    content = f"<style>{PLOT_STYLE}</style>{''.join(parts)}"
    return svg(across * (WIDTH + MARGIN), max(top, 30), "", content, PLOT)


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
        f'<meta name="viewport" content="width=device-width"><title>{escaped(name)}: profile</title>'
        f"<style>{PAGE_STYLE}{PLOT_STYLE}</style></head><body>"
        f'<h1>{escaped(name)}</h1><p class="soft">{escaped(summary)}</p>{_overview(columns, result["rows"])}'
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
        f"<tr><td>{escaped(each['name'])}</td><td>{each['type']}</td>"
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
        f'<section class="card"><header><h2>{escaped(column["name"])}</h2><span class="soft">{column["type"]}</span>'
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
    return "" if value is None else escaped(_plain(value))


def _share(count: int, rows: int) -> str:
    return f"{count:,} ({count / rows:.1%})" if count else "0"


def _distinct(column: dict[str, Any]) -> str:
    return f"{'≈ ' * bool(column.get('approximate'))}{_shown(column['distinct'])}"


def _number(is_number: bool) -> str:
    return ' class="number"' * is_number
