"""Decompresses a response piece by piece: compressed bytes never expand to more than one piece at a time."""

import zlib
from collections.abc import Iterable, Iterator

from app.outbound.errors import AnswerRefused, Interrupted

PIECE = 64 * 1024
GZIP = zlib.MAX_WBITS | 16


def decoded(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Return the pieces decompressed as `encoding` (Content-Encoding) says. Raises AnswerRefused, Interrupted.

    Only gzip, applied once, is accepted: `gzip, gzip` may be a nested decompression bomb.
    """
    named = encoding.strip().lower()
    if named in {"", "identity"}:
        return (piece for piece in pieces if piece)
    if named in {"gzip", "x-gzip"}:
        return _gunzipped(pieces)
    raise AnswerRefused("the response has a Content-Encoding that was not requested")


def _gunzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    unzip, begun = zlib.decompressobj(GZIP), False
    for piece in pieces:
        rest = piece
        while rest:
            if unzip.eof:  # the next member of a gzip file with several members
                unzip = zlib.decompressobj(GZIP)
            begun = True
            try:
                content = unzip.decompress(rest, PIECE)
            except zlib.error:
                raise Interrupted("the response is not valid gzip") from None
            rest = unzip.unconsumed_tail or unzip.unused_data
            if content:
                yield content
    while begun and not unzip.eof:
        # zlib may hold back content: a piece may have been full exactly at the end of the input.
        content = unzip.decompress(b"", PIECE)
        if not content:
            raise Interrupted("the response ended in the middle of its gzip data")
        yield content
