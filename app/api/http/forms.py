"""Which charset a multipart form may name: RFC 7578 knows none of the form's own, and Starlette obeys what it names.

Python's codecs are more than charsets: `punycode` takes a time that grows with the square of the size, in the event
loop, and `utf-7` and `unicode_escape` make lone surrogates, which nothing behind can encode.
"""

from collections.abc import Sequence

from python_multipart.multipart import parse_options_header

CHARSETS = frozenset({b"utf-8", b"utf8", b"us-ascii", b"ascii"})


def refuse_charset(headers: Sequence[tuple[bytes, bytes]]) -> str | None:
    """Why the request's Content-Type will not do, or None. Read with the parser that Starlette reads it with."""
    for name, value in headers:
        if name == b"content-type" and b"multipart" in value.lower() and b"charset" in value.lower():
            _, options = parse_options_header(value)
            if options.get(b"charset", b"utf-8").lower() not in CHARSETS:
                return "A multipart form is in UTF-8"
    return None
