"""Redacts secrets in JSON by their key. `redacted_text` uses the same list of words.

A value is hidden because of its key (`password`, `apiKey`, `x-auth-token`, 密码), never because of its content. Every
other value round-trips unchanged.
"""

import functools
import inspect
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.core.json_text import Forms

MASK = "***"

# Parts of a key, in lower case. `tokenizer` and `secretary` are no secrets.
KEY_WORDS = (
    r"passw(?:or)?d|pass(?:phrase|code)|pwd|secret(?!ar)|token(?!i[sz])|authori[sz]ation|credential|cookie"
    r"|(?:api|private|access|signing)[^a-z0-9]?key|密码|密碼|口令|令牌|密钥|密鑰|凭证|凭据"
)
_SECRET = re.compile(KEY_WORDS)
# Keys that count or measure: `max_tokens`, `token_count`, `tokens`, `passwordLength`. Their numbers are shown.
_COUNTS = re.compile(
    r"(?:^|[^a-z])(?:max|min|count|counts|num|number|n|limit|total|size|length|len|per|rate|budget|usage|used|remaining"
    r"|expiry|expires|expiration|ttl|age|timeout|lifetime|seconds|minutes|hours|days|ms|index|version|ids?)(?![a-z])"
    r"|(?:token|secret|cookie|credential|password|key)s(?![a-z])"
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# Lists of headers and variables have the form `{"name": "password", "value": "…"}`.
_NAMES, _VALUE = ("name", "key"), "value"

# Deeper than any stored value. Deeper nesting (Python objects, cycles) is hidden.
_MAX_DEPTH = 250
# Up to this many keys are checked one by one, because most are cached. More keys are checked with one search.
_FEW = 40
# So many keys are checked with one search.
_PART = 1000
_CONTAINERS = (dict, list, tuple)


def is_secret(key: object) -> bool:
    """Return whether values below this key are hidden."""
    return _is_secret(str(key))


@functools.lru_cache(maxsize=4096)
def _is_secret(key: str) -> bool:
    return _SECRET.search(_plain(key)) is not None


def hides(key: object, value: Any) -> bool:
    """Return whether this value is hidden: null, true and false never are, a number not below a counting key."""
    if value is None or isinstance(value, bool) or not is_secret(key):
        return False
    return not (isinstance(value, int | float) and counts(str(key)))


def counts(key: str) -> bool:
    """Return whether the key names a number of secrets instead of a secret."""
    return _COUNTS.search(_CAMEL.sub("_", key).lower()) is not None


def redact(value: Any) -> Any:
    """Return `value` with `***` for each value below a secret key.

    Returns the input object itself if nothing is hidden.

    The input is never changed. Almost all values hold no secret, so the keys of all objects of a level are checked at
    once.
    """
    return _redacted(value, _MAX_DEPTH) if _is_suspect(value) else value


def secrets_in(value: Any) -> Iterator[str]:
    """Yield the texts and numbers that `redact` would hide."""
    if not _is_suspect(value):
        return
    for hidden in _hidden(value, _MAX_DEPTH):
        yield from _leaves(hidden, _MAX_DEPTH)


def holds_mask(value: Any) -> bool:
    """Return whether a `***` stands in place of a secret: the client sends back a redacted value."""
    return _is_suspect(value) and any(hidden == MASK for hidden in _hidden(value, _MAX_DEPTH))


def restore_secrets(stored: Any, sent: Any) -> Any:
    """Return `sent` with each `***` replaced by the secret that `stored` has in the same place.

    A `***` without a stored secret stays, and `holds_mask` finds it. A `***` stays too where the secret would be shown:
    `value` beside another `name`.
    """
    masked = set[int]()
    return _restored(stored, sent, masked, Forms()) if _mark(sent, masked, _MAX_DEPTH) else sent


def _mark(value: Any, masked: set[int], depth: int) -> bool:
    """Add the ids of all containers in which `***` stands in place of a secret, and return whether this is one."""
    if not isinstance(value, _CONTAINERS) or depth == 0:
        return False
    if isinstance(value, dict):
        # Not a generator: all parts are to be marked.
        found = [
            _hides_in(value, key)
            if inner == MASK
            else isinstance(inner, _CONTAINERS) and not _hides_in(value, key) and _mark(inner, masked, depth - 1)
            for key, inner in value.items()
        ]
    else:
        found = [_mark(inner, masked, depth - 1) for inner in value]
    if any(found):
        masked.add(id(value))
        return True
    return False


def _restored(stored: Any, sent: Any, masked: set[int], forms: Forms) -> Any:
    if id(sent) not in masked:
        return sent
    if isinstance(sent, dict) and isinstance(stored, dict):
        return {
            key: stored[key]
            if value == MASK and key in stored and _hides_in(stored, key) and _hides_at(sent, key, stored[key])
            else _restored(stored.get(key), value, masked, forms)
            for key, value in sent.items()
        }
    if isinstance(sent, list) and isinstance(stored, list):
        return _restored_items(stored, sent, masked, forms)
    return sent


def _restored_items(stored: list[Any], sent: list[Any], masked: set[int], forms: Forms) -> list[Any]:
    """Return the items, each restored from the stored one that was shown as it: at the same index or the only match.

    Matching by index alone could give a secret to another item.
    """
    shown = [forms.of(item, _shown) for item in stored]
    times = Counter(shown)
    index = {form: at for at, form in enumerate(shown)}
    items = []
    for at, new in enumerate(sent):
        form = forms.of(new) if id(new) in masked else None
        if form is None:
            items.append(new)
        elif at < len(shown) and shown[at] == form:
            items.append(_restored(stored[at], new, masked, forms))
        else:
            items.append(_restored(stored[index[form]], new, masked, forms) if times[form] == 1 else new)
    return items


def _shown(mapping: Mapping[Any, Any], key: Any) -> Any:
    return MASK if _hides_in(mapping, key) else mapping[key]


def _restored_as(name: str, stored: Any, sent: Any) -> Any:
    """Return the argument `sent` of a parameter, with the secrets of the one that is stored."""
    return restore_secrets({name: stored}, {name: sent})[name]


@dataclass(frozen=True)
class Parameters:
    """The names of positional parameters: `f("hunter2")` holds a secret if the parameter is named `password`."""

    names: tuple[str, ...] = ()
    rest: str = ""

    @classmethod
    def of(cls, signature: inspect.Signature) -> "Parameters":
        by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = signature.parameters.values()
        rest = [each.name for each in parameters if each.kind is inspect.Parameter.VAR_POSITIONAL]
        return cls(tuple(each.name for each in parameters if each.kind in by_position), "".join(rest))

    @functools.cached_property
    def _any_secret(self) -> bool:
        return any(map(is_secret, (*self.names, self.rest)))

    def redact(self, args: Sequence[Any]) -> list[Any]:
        """Return the arguments with `***` for secrets."""
        if not self._any_secret:
            shown: list[Any] = redact(list(args))
            return shown
        return [MASK if hides(self._name(at), value) else redact(value) for at, value in enumerate(args)]

    def restore(self, stored: Sequence[Any], sent: Sequence[Any]) -> list[Any]:
        """Return the arguments of `sent` with each `***` replaced by the secret that `stored` has in the same place.

        A named parameter has one position. What `*args` collects can move: a secret in it is found by what is shown
        beside it, or by its index while the number of these arguments is the same.
        """
        named = len(self.names)
        # An argument that was not stored is as one without a secret.
        before = [*stored[:named], *[None] * named][:named]
        of_names = [_restored_as(*each) for each in zip(self.names, before, sent, strict=False)]
        old, new = list(stored[named:]), list(sent[named:])
        if is_secret(self.rest) and len(old) == len(new):
            return of_names + [_restored_as(self.rest, *each) for each in zip(old, new, strict=True)]
        rest: list[Any] = restore_secrets(old, new)
        return of_names + rest

    def masked(self, args: Sequence[Any]) -> list[int]:
        """Return the positions at which `***` stands in place of a secret."""
        return [at for at, value in enumerate(args) if holds_mask({self._name(at): value})]

    def secrets_in(self, args: Sequence[Any]) -> Iterator[str]:
        """Yield the texts and numbers that `redact` would hide."""
        for at, value in enumerate(args):
            yield from _leaves(value, _MAX_DEPTH) if hides(self._name(at), value) else secrets_in(value)

    def _name(self, position: int) -> str:
        return self.names[position] if position < len(self.names) else self.rest


def _plain(text: str) -> str:
    """Return the text in lower case and with full-width letters normalised."""
    return (text if text.isascii() else unicodedata.normalize("NFKC", text)).lower()


def _is_suspect(value: Any) -> bool:
    """Return whether any key may name a secret. Works level by level, so that depth and cycles are bounded."""
    if not isinstance(value, _CONTAINERS) or not value:
        return False
    level: list[Any] = [value]
    for _ in range(_MAX_DEPTH):
        level = [each for each in level if isinstance(each, _CONTAINERS)]
        if not level:
            return False
        objects = [each for each in level if isinstance(each, dict)]
        if objects and _names_secret(objects):
            return True
        level = [inner for outer in level for inner in (outer.values() if isinstance(outer, dict) else outer)]
    return True


def _names_secret(objects: Sequence[Mapping[Any, Any]]) -> bool:
    """Return whether any key of these objects may name a secret. Each distinct key is checked once."""
    names: set[Any] = set().union(*objects)
    if _VALUE in names:
        beside = [each.get(name) for each in objects if _VALUE in each for name in _NAMES]
        names.update(name for name in beside if isinstance(name, str))
    if len(names) <= _FEW:
        return any(map(is_secret, names))
    texts = list(map(str, names))
    # In parts: a search does not let other threads run.
    parts = (texts[at : at + _PART] for at in range(0, len(texts), _PART))
    return any(_SECRET.search(_plain("\n".join(part))) for part in parts)


def _redacted(value: Any, depth: int) -> Any:
    if not isinstance(value, _CONTAINERS):
        return value
    if depth == 0:
        return MASK
    if isinstance(value, dict):
        return {key: MASK if _hides_in(value, key) else _redacted(inner, depth - 1) for key, inner in value.items()}
    shown = [_redacted(inner, depth - 1) for inner in value]
    return shown if isinstance(value, list) else tuple(shown)


def _hidden(value: Any, depth: int) -> Iterator[Any]:
    """Yield the outermost hidden values."""
    if depth == 0:
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            if _hides_in(value, key):
                yield inner
            else:
                yield from _hidden(inner, depth - 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _hidden(inner, depth - 1)


def _hides_in(mapping: Mapping[Any, Any], key: Any) -> bool:
    return _hides_at(mapping, key, mapping[key])


def _hides_at(mapping: Mapping[Any, Any], key: Any, value: Any) -> bool:
    """Return whether the mapping would hide this value at this key."""
    if hides(key, value):
        return True
    return key == _VALUE and any(isinstance(mapping.get(name), str) and hides(mapping[name], value) for name in _NAMES)


def _leaves(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, _CONTAINERS):
        if depth > 0:
            for inner in value.values() if isinstance(value, dict) else value:
                yield from _leaves(inner, depth - 1)
    elif value is not None and not isinstance(value, bool):
        yield str(value)
