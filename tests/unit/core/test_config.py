"""Settings: what production refuses, what is never printed, and that `.env.example` tells all."""

import re
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy import make_url
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2

from app.core.config import Settings
from app.main import VERSION

ROOT = Path(__file__).resolve().parents[3]
GOOD_KEY = "2f1c7e0b9a8d4c6e5f3a1b2c3d4e5f60718293a4"


def example_lines() -> list[tuple[str, str]]:
    return re.findall(r"^#?([A-Z][A-Z0-9_]+)=(.*)$", (ROOT / ".env.example").read_text(), flags=re.MULTILINE)


class TestExampleFile:
    def test_lists_exactly_the_settings_that_exist(self) -> None:
        assert sorted(name for name, _ in example_lines()) == sorted(name.upper() for name in Settings.model_fields)

    def test_shows_the_defaults(self) -> None:
        defaults = Settings()
        shown = {name.lower(): value for name, value in example_lines()}
        given = {name: shown[name] for name, value in defaults if value is not None}
        for name, value in Settings.model_validate(
            {name: [] if value == "[]" else value for name, value in given.items()}
        ):
            assert value == getattr(defaults, name), name

    def test_holds_no_usable_secret(self) -> None:
        assert all(not value for name, value in example_lines() if re.search("SECRET|PASSWORD(?!LESS)", name))


class TestProduction:
    @pytest.mark.parametrize("key", ["", "tiny-key", "your-secret-key", "a" * 64, "changeme"])
    def test_refuses_a_weak_key_and_does_not_print_it(self, key: str) -> None:
        with pytest.raises(ValidationError, match="SECRET_KEY") as refused:
            Settings(app_env="production", secret_key=key or None)
        assert not key or key not in str(refused.value)
        assert "input" not in str(refused.value)

    def test_closes_docs_and_metrics_unless_told_otherwise(self) -> None:
        assert not Settings(app_env="production", secret_key=GOOD_KEY).docs_open
        assert Settings(app_env="production", secret_key=GOOD_KEY, docs_enabled=True).docs_open
        assert Settings().docs_open
        assert not Settings(docs_enabled=False).docs_open


class TestABrokerInProduction:
    @pytest.mark.parametrize(
        "url",
        [
            "redis://somewhere-secret:6379/0", "redis://user@somewhere-secret/0", "redis://:@somewhere-secret/0",
            "rediss://somewhere-secret/0", "redis://:pw@here/0;redis://somewhere-secret/0", "sentinel://somewhere-secret/0",
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("name", ["celery_broker_url", "celery_result_backend"])
    def test_needs_a_password_and_is_not_printed(self, name: str, url: str) -> None:
        with pytest.raises(ValidationError, match=f"{name.upper()} without a password") as refused:
            Settings(app_env="production", secret_key=GOOD_KEY, **{name: url})
        assert "somewhere-secret" not in str(refused.value)
        Settings(app_env="production", secret_key=GOOD_KEY, allow_passwordless_broker=True, **{name: url})
        Settings(**{name: url})

    @pytest.mark.parametrize(
        "url",
        ["redis://:pw@h/0", "rediss://u:pw@h/0", "redis+socket:///run/valkey.sock", "amqp://u:pw@h//", "memory://"],
    )
    def test_with_one_it_starts(self, url: str) -> None:
        Settings(app_env="production", secret_key=GOOD_KEY, celery_broker_url=url)


class TestTls:
    @pytest.mark.parametrize("name", ["celery_broker_url", "celery_result_backend"])
    @pytest.mark.parametrize(
        ("given", "used"),
        [
            ("rediss://:p@h/0", "rediss://:p@h/0?ssl_cert_reqs=required"),
            ("rediss://:p@h/0?ssl_ca_certs=/a", "rediss://:p@h/0?ssl_ca_certs=/a&ssl_cert_reqs=required"),
            ("rediss://:p@h/0?ssl_cert_reqs=none", "rediss://:p@h/0?ssl_cert_reqs=none"),
            ("redis://:p@h/0;rediss://:p@i/0", "redis://:p@h/0;rediss://:p@i/0?ssl_cert_reqs=required"),
            ("redis://:p@h/0", "redis://:p@h/0"),
        ],
    )
    def test_a_certificate_is_checked_unless_the_url_says_otherwise(self, name: str, given: str, used: str) -> None:
        assert getattr(Settings(**{name: given}), name).get_secret_value() == used


class TestSigningKey:
    def test_is_never_short(self) -> None:
        assert Settings(secret_key=GOOD_KEY).signing_key == GOOD_KEY
        assert len(Settings(secret_key="short").signing_key) == 64
        assert len(Settings().signing_key) == 64

    def test_of_a_short_secret_is_the_same_in_every_process(self) -> None:
        assert Settings(secret_key="short").signing_key == Settings(secret_key="short").signing_key


class TestDatabaseUrl:
    @pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2"])
    def test_means_psycopg2(self, scheme: str) -> None:
        url = Settings(database_url=f"{scheme}://u:p@h/d").database_url
        assert url is not None
        assert url.get_secret_value() == "postgresql+psycopg2://u:p@h/d"

    def test_keeps_what_libpq_is_told(self) -> None:
        options = "sslmode=verify-full&sslrootcert=/etc/ssl/ca.pem&application_name=x"
        url = Settings(database_url=f"postgresql://u:p%40w@h:5433/d?{options}").database_url
        assert url is not None
        assert url.get_secret_value() == f"postgresql+psycopg2://u:p%40w@h:5433/d?{options}"
        arguments = PGDialect_psycopg2().create_connect_args(make_url(url.get_secret_value()))[1]
        assert arguments["sslmode"] == "verify-full"
        assert arguments["sslrootcert"] == "/etc/ssl/ca.pem"
        assert arguments["password"] == "p@w"

    def test_of_another_database_is_refused_without_its_password(self) -> None:
        with pytest.raises(ValidationError, match="no other database") as refused:
            Settings(database_url="mysql://user:hidden@host/db")
        assert "hidden" not in str(refused.value)


def test_the_version_is_the_projects() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION
