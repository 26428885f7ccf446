"""Entity tags and preconditions (RFC 9110 §8.8.3 and §13.1). The tag of a resource is its `version`."""

import re

from app.errors import PreconditionFailed

_TAG = re.compile(r'(?P<weak>W/)?"(?P<opaque>[\x21\x23-\x7e\x80-\xff]*)"')


def etag(version: int | str) -> str:
    """Return the strong entity tag of a version."""
    return f'"{version}"'


def not_modified(if_none_match: str | None, version: int | str) -> bool:
    """Return whether `If-None-Match` names this version, by weak comparison. A GET then answers 304."""
    if if_none_match is None:
        return False
    return _any(if_none_match) or etag(version) in {f'"{opaque}"' for _, opaque in _tags(if_none_match)}


def check_if_match(if_match: str | None, version: int) -> None:
    """Raise PreconditionFailed unless `If-Match` names this version, by strong comparison.

    A malformed header matches nothing: refusing the write is the safe reading of a broken condition.
    """
    if if_match is None or _any(if_match):
        return
    if etag(version) not in {f'"{opaque}"' for weak, opaque in _tags(if_match) if not weak}:
        raise PreconditionFailed


def _any(header: str) -> bool:
    return header.strip() == "*"


def _tags(header: str) -> list[tuple[str, str]]:
    return _TAG.findall(header)
