"""Password hashes."""

from time import process_time

from app.core import security
from tests.support.tables import check_rows


class TestPasswords:
    def test_are_salted_and_hashed_with_argon2id_at_the_decided_cost(self) -> None:
        first, again = (security.hash_password("correct horse") for _ in range(2))
        assert first.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
        assert first != again

    def test_fit_themselves_and_nothing_else(self) -> None:
        def check(password: str) -> None:
            stored = security.hash_password(password)
            assert security.verify_password(password, stored) == (True, None)
            assert security.verify_password(password + "x", stored)[0] is False
            assert security.verify_password(password[:-1], stored)[0] is False

        check_rows(check, ["correct horse", "密码密码密码密码", "nul\x00nul\x00", "x" * 1024, "\U0001f600" * 1024])

    def test_of_weaker_parameters_fit_and_are_renewed(self) -> None:
        weak = security._passwords().using(argon2__memory_cost=1024, argon2__time_cost=1).hash("correct horse")
        fits, renewed = security.verify_password("correct horse", weak)
        assert fits
        assert renewed is not None
        assert "m=19456,t=2,p=1" in renewed

    def test_of_an_unknown_user_cost_as_much_and_never_fit(self) -> None:
        stored = security.hash_password("correct horse")
        security.verify_password("warm", None)

        def seconds(hashed: str | None) -> float:
            begun = process_time()  # what it costs, whatever else the machine does
            assert security.verify_password("wrong horse", hashed) == (False, None)
            return process_time() - begun

        known, unknown = (sorted(seconds(hashed) for _ in range(7))[1] for hashed in (stored, None))
        assert 0.5 < known / unknown < 2
