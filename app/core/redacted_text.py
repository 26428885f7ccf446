"""Replaces secrets in text by `***`: in error messages, tracebacks and log lines.

Works in two ways, because neither finds all secrets. Values that this process knows to be secret (a running task's
`password=` argument, the secrets of the settings) are found anywhere. Other secrets are found by the word in front of
them or by their shape. Each pattern runs in linear time: whatever begins a match also ends one, or lookahead is
bounded.
"""

import json
import re
import threading
from collections.abc import Callable, Iterable
from urllib.parse import quote

from app.core.redaction import KEY_WORDS, MASK, counts

_BASE64URL = "[A-Za-z0-9_-]"
PRIVATE_KEY_BEGINS = r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----"
PRIVATE_KEY_ENDS = r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----"
_SUBSTITUTIONS: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    # A private key without its end marker hides the rest of the text.
    (re.compile(rf"{PRIVATE_KEY_BEGINS}.*?(?:{PRIVATE_KEY_ENDS}|\Z)", re.DOTALL), MASK),
    # PostgreSQL's messages quote refused rows, values and statements; psycopg2 puts values into statements.
    (re.compile(r"(\bLINE \d{1,6}: )[^\n]+"), rf"\g<1>{MASK}"),
    (re.compile(r"(invalid input (?:syntax|value) for [\w ]{1,60}: )[^\n]+"), rf"\g<1>{MASK}"),
    (
        re.compile(
            r"(\bat or near |field value out of range: |malformed [\w ]{1,30} literal: |JSON data, line \d{1,6}: )"
            r"[^\n]+"
        ),
        rf"\g<1>{MASK}",
    ),
    (re.compile(r"(\bvalue )\"[^\"\n]{0,400}+\"(?= is out of range)"), rf"\g<1>{MASK}"),
    (re.compile(r"(Failing row contains \().*?(?:\)\.(?=\s|\Z)|\Z)", re.DOTALL), rf"\g<1>{MASK})."),
    (re.compile(r"(Key \([^()\n]{0,500}\)=\()[^\n]*"), rf"\g<1>{MASK})"),
    # `://user:password@host`; digits behind the colon are a port, not a password. A token may stand in place of the
    # user.
    (
        re.compile(
            r"(://[^\s/?#@:\"'<>]{0,128}:)(?!\d{1,5}(?:[/?#\s\"']|\Z))[^\s@\"'<>]{1,256}+@"
            r"(?:[^\s@\"'<>?#]{0,128}+@)?"
        ),
        rf"\g<1>{MASK}@",
    ),
    (re.compile(r"://[^\s/?#@:\"'<>]{16,256}+@"), f"://{MASK}@"),
    (re.compile(r"(\bBearer[ \t]{1,4})[A-Za-z0-9._~+/=-]{8,}+", re.IGNORECASE), rf"\g<1>{MASK}"),
    (re.compile(r"(\bBasic[ \t]{1,4})(?=[a-z]{0,20}[A-Z0-9+/=])[A-Za-z0-9+/]{6,}+=*"), rf"\g<1>{MASK}"),
    # JSON Web Tokens: they begin with `{"` in base64url.
    (
        re.compile(rf"(?<!{_BASE64URL})e[yw]{_BASE64URL}{{8,}}+(?:\.{_BASE64URL}{{8,}}+)(?:\.{_BASE64URL}*+){{1,3}}"),
        MASK,
    ),
    (re.compile(rf"tsk_{_BASE64URL}{{16,}}+"), f"tsk_{MASK}"),
)

# `password=…`, `'token': '…'`, `--api-key …`: the word, the rest of the key, and the separator in front of the value.
_KEY = re.compile(
    rf"(?:{KEY_WORDS})(?P<more>[\w.-]{{0,64}}+)(?:\\{{0,8}}[\"'])?\]?"
    r"(?:[ \t]{0,8}(?P<sign>={1,3}>?|!=|:=|:)[ \t]{0,8}|[\"']?,?[ \t]{1,3}(?P<gap>))",
    re.IGNORECASE,
)
_BEFORE = 64
_KEYS_START = re.compile(r"[\w.-]*\Z")
_PLAIN = re.compile(r"(?:-?\d[\d.eE+-]{0,40}|None|True|False|null|true|false)(?=[\s,;&)\]}\"']|\Z)")
_QUOTED = re.compile(
    r"[bBrRuUfF]{0,2}(?:\"[^\"\\\n]*+(?:\\.[^\"\\\n]*+)*+(?P<double>\"?)|'[^'\\\n]*+(?:\\.[^'\\\n]*+)*+(?P<single>'?))"
)
_ESCAPED = re.compile(r"\\{1,8}[\"'][^\"'\n]*")
_WORD = re.compile(r"[^\s,;&\"')\]}]+")
_LINE = re.compile(r"[^\n]+")
# The last line of a traceback: `package.module.InvalidToken: the message`.
_EXCEPTION = re.compile(r"(?:\A|\n)[ |]*(?:[a-z_][\w]*\.)+[A-Z]\w*\Z")

_SHORT, _LONG = 4, 8
# By what stands at the end of such a line the patterns find the secret behind it.
_ANNOUNCES = re.compile(r"(?:-----(?:BEGIN|END) [A-Z0-9 ]+-----|[:{(\[])\Z")


class KnownSecrets:
    """Values that must not appear in any text of this process, by owner.

    The threads of a pool child share one object.
    """

    def __init__(self) -> None:
        # Celery logs inside signal handlers (`logging.write_event`), which may interrupt the thread that holds the
        # lock.
        self._lock = threading.RLock()
        self._by_owner: dict[str, tuple[str, ...]] = {}

    def hide(self, owner: str, values: Iterable[str]) -> None:
        """Hide these values from now on, instead of those that `owner` hid before."""
        parts = {part for value in values for part in (value, value.strip(), *_lines(value))}
        forms = sorted({form for part in parts for form in _forms(part)}, key=len, reverse=True)
        with self._lock:
            self._by_owner = {**self._by_owner, owner: tuple(forms)}

    def forget(self, owner: str) -> None:
        """Stop hiding the values of `owner`."""
        with self._lock:
            self._by_owner = {name: forms for name, forms in self._by_owner.items() if name != owner}

    def __bool__(self) -> bool:
        return any(self._by_owner.values())

    def are_in(self, text: str) -> bool:
        """Return whether `text` contains a hidden value."""
        return self.redact(text) != text

    def redact(self, text: str) -> str:
        """Return `text` with `***` in place of each hidden value."""
        for forms in self._by_owner.values():
            for form in forms:
                if form in text:
                    text = _mask_value(text, form)
        return text


known_secrets = KnownSecrets()

# In lower case. No pattern above matches ASCII text without one of these markers, and most log lines have none.
_MARKERS = (
    "-----begin ", "line ", "invalid input ", "at or near", "out of range", "malformed ",
    "failing row ", "key (", "://", "bearer", "basic", "tsk_",
    "passw", "phrase", "passcode", "pwd", "secret", "token", "authori", "credential", "cookie", "key",
)  # fmt: skip
_JWT = re.compile("e[yw]")


def redact_text(text: str) -> str:
    """Return `text` with `***` in place of each secret that is recognised."""
    text = known_secrets.redact(text)
    if text.isascii() and not _may_hold_secret(text):
        return text
    for pattern, shown in _SUBSTITUTIONS:
        text = pattern.sub(shown, text)
    return _mask_named_values(text)


def _may_hold_secret(text: str) -> bool:
    lowered = text.lower()
    return any([sign in lowered for sign in _MARKERS]) or _JWT.search(text) is not None  # noqa: C419 (faster with a list)


def _lines(value: str) -> list[str]:
    """Return the lines of a value that are secrets of their own: where text is printed, each line stands alone.

    Not the short ones, such as `{` or `true`, and none that announces a secret.
    """
    lines = [line.strip() for line in value.splitlines()]
    return [line for line in lines if len(line) >= _LONG and not _ANNOUNCES.search(line)]


def _forms(value: str) -> set[str]:
    """Return the forms in which a text may contain a value: plain, quoted by Python or JSON, percent-encoded."""
    if len(value) < _SHORT:
        return set()
    return {value, repr(value)[1:-1], json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1],
            quote(value.encode("utf-8", "replace"), safe="")}  # fmt: skip


def _mask_value(text: str, secret: str) -> str:
    """Replace a secret. A short one counts only as a whole word: the password `test` must not hide `latest`."""
    if len(secret) >= _LONG:
        return text.replace(secret, MASK)
    return re.sub(rf"(?<![^\W_]){re.escape(secret)}(?![^\W_])", MASK, text)


def _mask_named_values(text: str) -> str:
    shown: list[str] = []
    done, at = 0, 0
    while found := _KEY.search(text, at):
        at = found.end()
        span = _value(text, found)
        if span is not None:
            shown += [text[done : span[0]], MASK]
            done = at = span[1]
    return "".join([*shown, text[done:]])


def _value(text: str, found: re.Match[str]) -> tuple[int, int] | None:
    """Return where the value of a key starts and ends in `text`, or None if there is nothing to hide."""
    at = found.end()
    before = text[max(0, found.start() - _BEFORE) : found.start()]
    start = _KEYS_START.search(before)
    key = (start.group() if start else "") + text[found.start() : found.end("more")]
    if found["gap"] is not None and not key.startswith("--"):
        return None
    if text.startswith(MASK, at):
        return None
    plain = _PLAIN.match(text, at)
    if plain and (plain.group()[0] in "NTFntf" or counts(key)):
        return None
    for pattern in (_QUOTED, _ESCAPED):
        if match := pattern.match(text, at):
            return _inside_quotes(match)
    if plain:
        return plain.span()
    return _bare_span(text, found, key)


def _inside_quotes(match: re.Match[str]) -> tuple[int, int]:
    """Return the span without the quotes, so that the rest of the text stays readable."""
    start = match.start() + len(match.group()) - len(match.group().lstrip("bBrRuUfF\\"))
    closed = "double" in match.re.groupindex and bool(match["double"] or match["single"])
    return start + 1, match.end() - closed


def _bare_span(text: str, found: re.Match[str], key: str) -> tuple[int, int] | None:
    """Return the span to the next blank.

    The span goes to the end of the line where the value may hold blanks: headers, lists, prose.
    """
    to_the_end = (
        found["sign"] == ":"
        or text[found.end() : found.end() + 1] in {"{", "[", "(", "<"}
        or re.search("authori|cookie", key, re.IGNORECASE) is not None
    )
    if found["sign"] == ":" and _EXCEPTION.search(text[max(0, found.start() - 256) : found.end("more")]):
        return None
    match = (_LINE if to_the_end else _WORD).match(text, found.end())
    return match.span() if match else None
