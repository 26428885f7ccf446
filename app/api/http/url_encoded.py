"""URL-encoded forms, parsed in short steps: https://url.spec.whatwg.org/#urlencoded-parsing

Starlette's parser decodes the escapes of a field in one call. Of a megabyte that call holds the interpreter's lock for
some ten milliseconds, so that the event loop stands still although the call is in another thread.
"""

from urllib.parse import unquote_to_bytes

from starlette.datastructures import FormData

URL_ENCODED = "application/x-www-form-urlencoded"
_STEP_BYTES = 16 * 1024


def parse_form(body: bytes, max_fields: int) -> FormData:
    """Return the fields, of UTF-8; what is none is U+FFFD. Raises ValueError for more than `max_fields` fields."""
    if body.count(b"&") >= max_fields:  # told before a list of them is made
        raise ValueError(f"Too many fields. Maximum number of fields is {max_fields}.")
    pairs = [field.partition(b"=") for field in body.split(b"&") if field]
    return FormData([(_decoded(name), _decoded(value)) for name, _, value in pairs])


def _decoded(text: bytes) -> str:
    text = text.replace(b"+", b" ")
    pieces, begin = [], 0
    while begin < len(text):
        end = begin + _STEP_BYTES
        escape = text.rfind(b"%", end - 2, end)  # its digits are behind the end
        if escape >= 0 and end < len(text):
            end = escape
        pieces.append(unquote_to_bytes(text[begin:end]))
        begin = end
    return b"".join(pieces).decode("utf-8", "replace")
