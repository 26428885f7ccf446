"""Pictures as SVG: a histogram and a bar chart. All texts are escaped; `STYLE` has the colours."""

import re
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 320, 150
MARGIN = 8
AXIS = 26  # below a histogram, for its labels
BAR, GAP = 16, 6
LABEL_CHARACTERS = 20
LABEL_WIDTH = 128
COUNT_WIDTH = 56

STYLE = (
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
    return _picture(title, HEIGHT, [*bars, axis, low, high])


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
    return _picture(title, max(1, len(bars)) * (BAR + GAP) + 2 * MARGIN, parts)


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
        f'height="{height}"><style>{STYLE}</style>{"".join(parts)}</svg>\n'
    )


def _picture(title: str, height: int, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img"><title>{xml_text(title)}</title>{"".join(parts)}</svg>'
    )


def _height_of(picture: str) -> int:
    return int(picture.partition('viewBox="0 0 ')[2].partition('"')[0].split()[1])
