"""Entity tags and preconditions."""

import pytest

from app.api.http.responses import check_if_match, etag, not_modified
from app.errors import PreconditionFailed
from tests.support.tables import check_rows


def test_if_none_match_compares_weakly() -> None:
    named = ['"7"', 'W/"7"', "*", ' "1" , W/"7" ', '"a,b", "7"', '"7","8"']
    others = [None, "", '"8"', "7", '"77"', 'W/"8", "1"', '"', '"*"', "w/7"]
    check_rows(lambda header: not_modified(header, 7), named)
    check_rows(lambda header: not not_modified(header, 7), others)


def test_if_match_lets_this_version_pass() -> None:
    assert etag(7) == '"7"'
    for header in (None, "*", '"7"', '"1", "7"', ' "7" '):
        check_if_match(header, 7)


def test_if_match_compares_strongly_and_refuses_what_it_cannot_read() -> None:
    def check(header: str) -> None:
        with pytest.raises(PreconditionFailed):
            check_if_match(header, 7)

    check_rows(check, ['W/"7"', '"8"', "", "7", "nonsense", '"1", W/"7"', '"', "é"])
