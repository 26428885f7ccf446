"""Indented JSON for a page, in bounds: blanks multiply a deep value, and a page is held in memory as a whole."""

import json
from typing import Any, NamedTuple

MAX_BYTES = 256 * 1024

_ENCODER = json.JSONEncoder(ensure_ascii=False, indent=2)


class Shown(NamedTuple):
    """The text, and whether it ends before its end."""

    text: str
    is_cut: bool


class JSONTexts:
    """All JSON of one page: MAX_BYTES of text at most, of one value half of what is left."""

    def __init__(self) -> None:
        self._whole = MAX_BYTES

    def show(self, value: Any) -> Shown:
        """Return the value as indented JSON, up to half of what is left for the page. No more than that is computed."""
        self._left = self._whole // 2
        shown = self._show(value)
        self._whole -= self._whole // 2 - self._left
        return shown

    def _show(self, value: Any) -> Shown:
        pieces: list[str] = []
        for piece in _ENCODER.iterencode(value):
            size = len(piece) if piece.isascii() else len(piece.encode())
            if size > self._left:
                pieces.append(piece.encode()[: self._left].decode(errors="ignore"))
                self._left = 0
                return Shown("".join(pieces), is_cut=True)
            pieces.append(piece)
            self._left -= size
        return Shown("".join(pieces), is_cut=False)
