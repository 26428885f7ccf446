"""What is known of a content while its bytes pass: its length, its digest; and what a name of a file may be."""

import hashlib
import re
from collections.abc import Iterable, Iterator

from app.ddl.columns import ShortText
from app.errors import Text

MOST_CHARACTERS = ShortText.characters
BINARY = "application/octet-stream"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# RFC 9110 §8.3.1, with parameters.
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]{1,60}/[\w!#$&^.+-]{1,60}(?:[ \t]*;[\x20-\x7e]{0,60})?", re.ASCII)


class TooLarge(Exception):
    """More bytes than allowed have passed."""


class Measure:
    """Counts bytes and hashes them, up to `most` of them."""

    def __init__(self, most: int) -> None:
        self._most, self._hash, self.size = most, hashlib.sha256(), 0

    def add(self, piece: bytes) -> bytes:
        """Return the piece. Raises TooLarge."""
        self.size += len(piece)
        if self.size > self._most:
            raise TooLarge
        self._hash.update(piece)
        return piece

    def of(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the pieces as they pass. Raises TooLarge."""
        for piece in pieces:
            yield self.add(piece)

    @property
    def digest(self) -> bytes:
        return self._hash.digest()

    @property
    def sha256(self) -> str:
        """The digest in hexadecimal digits."""
        return self._hash.hexdigest()


def name_fault(name: str) -> str | None:
    """Return what is wrong with the name of a file or an artifact; None for nothing."""
    if not 1 <= len(name) <= MOST_CHARACTERS:
        return Text("a name has 1 to {} characters", MOST_CHARACTERS)
    if name in {".", ".."} or "/" in name or _CONTROL.search(name):
        return "a name has no / and no control characters, and is not . or .."
    return None


def media_type(sent: str | None) -> str:
    """Return what was sent as the Content-Type, or that of any bytes where it is none."""
    return sent if sent is not None and _MEDIA_TYPE.fullmatch(sent) else BINARY
