"""Entity tags and the two preconditions on them (RFC 9110 §8.8.3 and §13.1). A resource's `version` is its tag."""

import re

from app.errors import PreconditionFailed

_TAG = re.compile(r'(?P<weak>W/)?"(?P<opaque>[\x21\x23-\x7e\x80-\xff]*)"')


def etag(version: int) -> str:
    """The strong tag of this version."""
    return f'"{version}"'


def not_modified(if_none_match: str | None, version: int) -> bool:
    """Whether `If-None-Match` names this version: then a GET answers 304. Weak comparison."""
    if if_none_match is None:
        return False
    return _any(if_none_match) or etag(version) in {f'"{opaque}"' for _, opaque in _tags(if_none_match)}


def check_if_match(if_match: str | None, version: int) -> None:
    """Raise PreconditionFailed unless `If-Match` names this version. Strong comparison: a weak tag never matches.

    A header that is no list of tags matches nothing: refusing a write is the safe reading of a broken condition.
    """
    if if_match is None or _any(if_match):
        return
    if etag(version) not in {f'"{opaque}"' for weak, opaque in _tags(if_match) if not weak}:
        raise PreconditionFailed


def _any(header: str) -> bool:
    return header.strip() == "*"


def _tags(header: str) -> list[tuple[str, str]]:
    return _TAG.findall(header)
