"""A document's answer is compared with what a command printed: what may differ, and what may not."""

import pytest

from tests.support.pages import like, without

SHOWN = (
    '{"id":"01a213bc-cc03-7286-b9e2-1e322208168e", …, "status":"running", …, "attempt":1,"worker":"worker1@vm", …}\n'
)
PRINTED = '{"id":"01a214a5-c835-726e-8696-1b251f9a56cb","a":[1],"status":"running","b":{},"attempt":1,"worker":"worker1@x","c":2}'


class TestLike:
    def test_ids_names_of_machines_and_what_is_left_out_may_differ(self) -> None:
        assert like(SHOWN).search("what another command printed\n" + PRINTED)

    @pytest.mark.parametrize(
        ("printed", "other"), [("running", "failed"), ('"attempt":1', '"attempt":2'), ('"worker":', '"by":'), ("}", "")]
    )
    def test_keys_and_statuses_may_not(self, printed: str, other: str) -> None:
        assert not like(SHOWN).search(PRINTED.replace(printed, other))

    def test_numbers_and_times_may(self) -> None:
        shown = '{"total":9,\n "at":"2026-11-25T17:25:30.086201Z","took":60.001}'
        assert like(shown).search('{"total":12,"at":"2027-01-01T00:00:00Z","took":3}\n')

    def test_a_status_of_http_may_not(self) -> None:
        assert like("HTTP/1.1 201 Created").search("HTTP/1.1 201 Created")
        assert not like("HTTP/1.1 201 Created").search("HTTP/1.1 200 Created")
        assert not like("304\n{…}").search("200\n{}")

    def test_what_comes_after_it_is_not_overlooked(self) -> None:
        assert not like("succeeded\nProblem\n").search("succeeded\nProblem\nTraceback\n")


class TestWithout:
    def test_a_command_goes_with_the_lines_that_continue_it(self) -> None:
        text = "one\ntwo --long \\\n  --longer\nthree\n"
        assert without(text, {"two": "", "four": ""}) == ("one\nthree", {"two"})
