"""What is refused as too easy to guess, and what that costs."""

import subprocess
import sys
from typing import Any

import pytest
from zxcvbn import matching
from zxcvbn.matching import dictionary_match

from app.core.credentials import MIN_LENGTH, MIN_SCORE, own_words, weakness
from app.core.password_guesses import MOST_LOOKUPS, SHORTEST, examined, judge
from tests.support.tables import check_rows

NAMES = ("Anna-Maria.Smith", "a.smith.42@mail.example.com")
L33T = "4@8({[<3691!|70$5+%2"  # each of them may stand for a letter or two


class TestRefused:
    def test_what_is_short(self) -> None:
        def check(password: str) -> None:
            weak = weakness(password, NAMES)
            assert weak is not None
            assert weak.kind == "password_too_short"
            assert "at least 15 characters" in weak.advice

        check_rows(check, ["87654321", "x" * 14, "Tr0ub4dor&3", "密码密码密码密码", ""])

    def test_what_is_easy_to_guess_with_advice(self) -> None:
        def check(password: str, advice: str) -> None:
            weak = weakness(password, NAMES)
            assert weak is not None
            assert weak.kind == "password_guessable"
            assert advice in weak.advice
            assert password.lower() not in weak.advice.lower()

        check_rows(check, [
            ("passwordpassword", "repeated words"),
            ("PassWordPassWord", "repeated words"),
            ("ｐａｓｓｗｏｒｄｐａｓｓｗｏｒｄ", "repeated words"),
            ("x" * 1024, "Repeats"),
            ("\U0001f600" * 1024, "Repeats"),
            (" " * 15, "Repeats"),
            ("123456789012345678", "Uncommon words are better"),
            ("abcdefghijklmnopqrst", "sequences"),
            ("qwertyuiopasdfghjkl", "similar to a commonly used password"),
            ("Anna-Maria.Smith1", "your name"),
            ("a.smith.42@mail.example.com", "your name"),
            ("task-service123", "the name of this service"),
        ])  # fmt: skip


class TestTaken:
    def test_what_is_hard_to_guess_whatever_its_characters(self) -> None:
        def check(password: str) -> None:
            assert weakness(password, NAMES) is None

        check_rows(check, [
            "correct horse battery staple", "correcthorsebatterystaple", "pass\x00word, and more",
            "我喜欢在早上喝一杯热咖啡然后去上班", "Smith rides a purple horse", "EYhFt-y7sFYYl4m1",
            "passphrase of many words " * 40,
        ])  # fmt: skip

    def test_anothers_names_are_words_like_others(self) -> None:
        assert weakness("Featherstonehaugh42", ("Featherstonehaugh", "x@example.com")) is not None
        assert weakness("Featherstonehaugh42", NAMES) is None


def test_own_words_are_names_addresses_and_what_they_consist_of() -> None:
    assert own_words(NAMES) >= {"Anna-Maria.Smith", "Anna", "Maria", "Smith", "a.smith.42", "smith", "mail", "example"}
    assert all(len(word) > 2 for word in own_words(NAMES))


class TestCost:
    @pytest.mark.parametrize("password", [L33T * 50, (L33T[:12] + "password") * 20, L33T + "ab" * 500, "1!|7l" * 200])
    def test_is_bounded_whatever_the_password_holds(self, monkeypatch: pytest.MonkeyPatch, password: str) -> None:
        """Counted is what takes the time: the pairs of places between which a word is looked up."""
        looked_up = []

        def counting(text: str, _ranked_dictionaries: Any) -> Any:
            looked_up.append(len(text) ** 2)
            return dictionary_match(text, _ranked_dictionaries)

        monkeypatch.setattr(matching, "dictionary_match", counting)
        judge(password, [])
        assert sum(looked_up) <= 1.5 * MOST_LOOKUPS
        looked_up.clear()
        judge("4@8({[<3691!|7", [])  # 14 of its characters
        assert sum(looked_up) > MOST_LOOKUPS / 8  # counted is what was meant

    def test_what_is_examined_is_long_enough_to_judge(self) -> None:
        assert len(examined("correct horse battery staple " * 10)) == 64
        assert SHORTEST == MIN_LENGTH
        assert len(examined(L33T * 5)) >= SHORTEST
        assert judge(examined(L33T * 5), [])["score"] >= MIN_SCORE
        assert MOST_LOOKUPS > 64**2  # a password without such characters is never cut

    def test_no_password_is_taken_unchecked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "executable", "/bin/false")
        with pytest.raises(subprocess.CalledProcessError):
            weakness("correct horse battery staple", NAMES)
