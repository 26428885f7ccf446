"""Refuses a Content-Type that takes long to parse, and multipart forms in any charset but UTF-8 and ASCII.

The parser of Content-Type, which Starlette and uploads use too, takes time that grows with the square of the length.

Starlette decodes with the charset that a form names, and Python's codecs are more than charsets. `punycode` takes time
that grows with the square of the size, in the event loop. `utf-7` and `unicode_escape` make lone surrogates, which
cannot be encoded later.
"""

from python_multipart.multipart import parse_options_header

CHARSETS = frozenset({b"utf-8", b"utf8", b"us-ascii", b"ascii"})
# A boundary has 70 characters at most, and the longest registered type 127 (RFC 2046 §5.1.1, RFC 6838 §4.2).
MOST_BYTES = 512


def refuse_content_type(content_type: bytes) -> str | None:
    """Return why the Content-Type is refused, or None. Uses the parser that Starlette uses."""
    if len(content_type) > MOST_BYTES:
        return f"The Content-Type is longer than {MOST_BYTES} bytes"
    if b"multipart" in content_type.lower() and b"charset" in content_type.lower():
        _, options = parse_options_header(content_type)
        if options.get(b"charset", b"utf-8").lower() not in CHARSETS:
            return "A multipart form must be in UTF-8"
    return None
