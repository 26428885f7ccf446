"""Refuses multipart forms in any charset but UTF-8 and ASCII. Starlette decodes with the charset that a form names.

Python's codecs are more than charsets. `punycode` takes time that grows with the square of the size, in the event loop.
`utf-7` and `unicode_escape` make lone surrogates, which cannot be encoded later.
"""

from collections.abc import Sequence

from python_multipart.multipart import parse_options_header

CHARSETS = frozenset({b"utf-8", b"utf8", b"us-ascii", b"ascii"})


def refuse_charset(headers: Sequence[tuple[bytes, bytes]]) -> str | None:
    """Return why the Content-Type is refused, or None. Uses the parser that Starlette uses."""
    for name, value in headers:
        if name == b"content-type" and b"multipart" in value.lower() and b"charset" in value.lower():
            _, options = parse_options_header(value)
            if options.get(b"charset", b"utf-8").lower() not in CHARSETS:
                return "A multipart form must be in UTF-8"
    return None
