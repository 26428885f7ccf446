"""Parts of the pictures: self-contained SVG, readable on light and on dark ground, every text escaped."""

import math
import re
from collections.abc import Sequence
from html import escape

# Of a picture that stands alone and of one inside a page.
STYLE = (
    "svg{--ink:#1f2328;--dim:#59636e;--paper:#fff;--mark:#0969da;--line:#d1d9e0;font:12px system-ui,sans-serif}"
    "@media(prefers-color-scheme:dark){svg{--ink:#e6edf3;--dim:#9198a1;--paper:#0d1117;--mark:#4493f8;--line:#3d444d}}"
    "svg text{fill:var(--ink)}svg .dim{fill:var(--dim)}svg .mark{fill:var(--mark)}svg .line{stroke:var(--line)}"
    "svg .paper{fill:var(--paper)}svg .on{fill:var(--paper)}"
)
# XML 1.0 has no other control characters, and no halves of surrogate pairs.
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def clean(value: str) -> str:
    """Return the text for XML and HTML: escaped, without characters that XML forbids."""
    return escape(NOT_XML.sub("\ufffd", value))


def short(value: str, most: int = 18) -> str:
    return value if len(value) <= most else value[: most - 1] + "…"


def text(x: float, y: float, value: str, *, anchor: str = "middle", name: str = "", extra: str = "") -> str:
    """Return a text element; a pointer on it shows the whole text where it is shortened."""
    shown = short(value)
    title = f"<title>{clean(value)}</title>" if shown != value else ""
    kind = f' class="{name}"' if name else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{kind}{extra}>{title}{clean(shown)}</text>'


def picture(width: float, height: float, label: str, parts: Sequence[str]) -> str:
    """Return the whole SVG; `label` is what a screen reader says."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img" aria-label="{clean(label)}"><style>{STYLE}</style>'
        f'<rect class="paper" width="100%" height="100%"/>{"".join(parts)}</svg>\n'
    )


def compact(count: int) -> str:
    """Return a count in at most four characters: 999, 1.2k, 12k, 3M."""
    for unit, size in (("M", 1_000_000), ("k", 1000)):
        if count >= size:
            return f"{count / size:.1f}{unit}" if count < 10 * size else f"{count // size}{unit}"
    return str(count)


def number(value: float) -> str:
    return f"{value:.10g}" if abs(value) < 1e9 else f"{value:.3g}"  # noqa: PLR2004 - what fits beside an axis


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round numbers between `low` and `high`, a step of 1, 2 or 5 times a power of ten apart."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
