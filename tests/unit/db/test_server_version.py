"""A PostgreSQL that is too old is refused by the migration that needs a newer one, in one line."""

import importlib.util
from types import ModuleType, SimpleNamespace

import pytest
from alembic.util import CommandError

from tests.report.model import ROOT


@pytest.fixture
def migration() -> ModuleType:
    spec = importlib.util.spec_from_file_location("m0001", ROOT / "app/migrations/versions/0001_the_first_schema.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def server(version: tuple[int, ...] | None, *, as_sql: bool = False) -> SimpleNamespace:
    bind = SimpleNamespace(dialect=SimpleNamespace(server_version_info=version))
    return SimpleNamespace(get_context=lambda: SimpleNamespace(as_sql=as_sql), get_bind=lambda: bind)


@pytest.mark.parametrize("version", [(16, 9), (15,), None])
def test_an_old_one_is_refused(
    migration: ModuleType, monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...] | None
) -> None:
    monkeypatch.setattr(migration, "op", server(version))
    with pytest.raises(CommandError, match="PostgreSQL 17 or newer is needed"):
        migration._check_server()


@pytest.mark.parametrize(
    "newer_or_offline", [server((17, 0)), server((18, 6)), server(None, as_sql=True)], ids=["17", "18", "only printed"]
)
def test_a_newer_one_passes_and_offline_no_server_is_asked(
    migration: ModuleType, monkeypatch: pytest.MonkeyPatch, newer_or_offline: SimpleNamespace
) -> None:
    monkeypatch.setattr(migration, "op", newer_or_offline)
    migration._check_server()
