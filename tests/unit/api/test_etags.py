"""Entity tags and preconditions."""

import pytest

from app.api.http.etags import check_if_match, etag, not_modified
from app.errors import PreconditionFailed


@pytest.mark.parametrize("header", ['"7"', 'W/"7"', "*", ' "1" , W/"7" ', '"a,b", "7"', '"7","8"'])
def test_if_none_match_compares_weakly(header: str) -> None:
    assert not_modified(header, 7)


@pytest.mark.parametrize("header", [None, "", '"8"', "7", '"77"', 'W/"8", "1"', '"', '"*"', "w/7"])
def test_if_none_match_that_names_another_version(header: str | None) -> None:
    assert not not_modified(header, 7)


@pytest.mark.parametrize("header", [None, "*", '"7"', '"1", "7"', ' "7" '])
def test_if_match_lets_this_version_pass(header: str | None) -> None:
    assert etag(7) == '"7"'
    check_if_match(header, 7)


@pytest.mark.parametrize("header", ['W/"7"', '"8"', "", "7", "nonsense", '"1", W/"7"', '"', "é"])
def test_if_match_compares_strongly_and_refuses_what_it_cannot_read(header: str) -> None:
    with pytest.raises(PreconditionFailed):
        check_if_match(header, 7)
