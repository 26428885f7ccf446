"""Figures for documents: a file with places for them gets them there, any other is written whole.

A place is a line `<!-- figures: NAME -->`, and a line `<!-- end of figures -->` after it; what stands between is replaced.
"""

import re
from collections.abc import Mapping
from pathlib import Path

PLACE = r"(<!-- figures: {name} -->\n).*?(<!-- end of figures -->)"


def write(path: Path, blocks: Mapping[str, str]) -> None:
    """Places for which there is nothing now keep what they hold."""
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    path.write_text(filled(before, blocks) or "\n\n".join(blocks.values()) + "\n", encoding="utf-8")


def filled(text: str, blocks: Mapping[str, str]) -> str | None:
    """The text with its places filled; None of a text without any."""
    if "<!-- figures: " not in text:
        return None
    for name, block in blocks.items():
        place = re.compile(PLACE.format(name=re.escape(name)), re.DOTALL)
        text = place.sub(lambda found, block=block: f"{found[1]}\n{block}\n\n{found[2]}", text)  # type: ignore[misc]
    return text
