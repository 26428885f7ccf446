"""The content of an answer, piece by piece: a few compressed bytes never become more than one piece at a time."""

import zlib
from collections.abc import Iterable, Iterator

from app.outbound.errors import AnswerRefused, Interrupted

PIECE = 64 * 1024
GZIP = zlib.MAX_WBITS | 16


def decoded(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """`encoding` is the answer's Content-Encoding. Only gzip, once, was offered (`gzip, gzip` is a bomb in a bomb)."""
    named = encoding.strip().lower()
    if named in {"", "identity"}:
        return (piece for piece in pieces if piece)
    if named in {"gzip", "x-gzip"}:
        return _gunzipped(pieces)
    raise AnswerRefused("the answer has a Content-Encoding that was not asked for")


def _gunzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    unzip, begun = zlib.decompressobj(GZIP), False
    for piece in pieces:
        rest = piece
        while rest:
            if unzip.eof:  # another member: gzip files may be put one after another
                unzip = zlib.decompressobj(GZIP)
            begun = True
            try:
                content = unzip.decompress(rest, PIECE)
            except zlib.error:
                raise Interrupted("the answer is not the gzip that it says it is") from None
            rest = unzip.unconsumed_tail or unzip.unused_data
            if content:
                yield content
    while begun and not unzip.eof:
        # What zlib itself still holds back: a full piece may have filled up exactly at the end of the input.
        content = unzip.decompress(b"", PIECE)
        if not content:
            raise Interrupted("the answer broke off in the middle of its gzip")
        yield content
