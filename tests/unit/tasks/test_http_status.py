"""What a foreign server's `Retry-After` may hold: seconds, a date, or anything at all."""

from app.tasks.http_requests import MAX_RETRY_AFTER_SECONDS, retryable_error
from tests.support.properties import given, st

NUMBERS = st.integers(-(10**30), 10**30).map(str)
DATES = st.builds(
    "{}, {} {} {} {}:{}:{} {}".format,
    st.sampled_from(["Mon", "Fri", ""]), NUMBERS | st.just("13"), st.sampled_from(["Nov", "Feb", "no"]),
    NUMBERS | st.just("2026"), *[NUMBERS | st.just("07")] * 3, NUMBERS | st.sampled_from(["GMT", "+9999", "-0000"]),
)  # fmt: skip


@given(value=st.text() | NUMBERS | DATES)
def test_any_retry_after_is_a_time_within_an_hour_or_none(value: str) -> None:
    seconds = retryable_error("http://a.example", 503, {"retry-after": value}).retry_after
    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER_SECONDS


def test_a_date_that_is_over_is_now() -> None:
    over = {"retry-after": "Fri, 13 Nov 2020 07:00:00 GMT"}
    assert retryable_error("http://a.example", 503, over).retry_after == 0
