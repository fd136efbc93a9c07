"""Settings: one message that names all that is wrong, and no secret where it could be read."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from nano_telemetry import Telemetry

from nano_api.app import make_app
from nano_api.settings import Settings, SettingsError, load, table

from . import machine

README = Path(__file__).parents[1] / "README.md"
SECRET = "a-secret-of-the-tests"
GOOD = {
    "NANO_DATABASE_HOSTS": "db1,db2:5433",
    "NANO_DATABASE_PASSWORD": SECRET,
    "NANO_S3_ENDPOINT": "https://store:9000",
    "NANO_S3_BUCKET": "nano-files",
    "NANO_S3_ACCESS_KEY": SECRET,
    "NANO_S3_SECRET_KEY": SECRET,
}


def wrong(**more: str) -> str:
    with pytest.raises(SettingsError) as error:
        load({**GOOD, **more})
    return str(error.value)


def test_the_figures_of_the_requirements_are_the_defaults() -> None:
    settings = load(GOOD)
    assert settings.database_hosts == (("db1", 5432), ("db2", 5433))
    assert (settings.database_pool_size, settings.database_pool_recycle_seconds) == (20, 3600)
    lives = (settings.session_seconds, settings.search_cache_seconds, settings.profile_cache_seconds)
    assert lives == (3600, 1800, 3600)
    assert settings.public_max_age_seconds == 300


def test_every_wrong_variable_is_named_at_once() -> None:
    text = wrong(
        NANO_DATABASE_HOSTS="db1:port",
        NANO_LISTEN_PORT="0",
        NANO_S3_ENDPOINT="store",
        NANO_S3_BUCKET="",
        NANO_DATABASE_POOL_SISE="3",
        NANO_TLS_CERTIFICATE="/nowhere",
        NANO_REDIS_PASSWORD_FILE="/nowhere",
    )
    names = {line.split(":")[0].strip() for line in text.splitlines()[1:]}
    assert names >= {
        "NANO_DATABASE_HOSTS", "NANO_LISTEN_PORT", "NANO_S3_ENDPOINT", "NANO_S3_BUCKET", "NANO_DATABASE_POOL_SISE",
        "NANO_TLS_CERTIFICATE", "NANO_TLS_KEY", "NANO_REDIS_PASSWORD_FILE",
    }  # fmt: skip


def test_variables_of_others_are_left_alone() -> None:
    assert load({**GOOD, "NANO_SERVICE": "nano_api", "NANO_LOG_LEVEL": "info", "PATH": "/bin"}) == load(GOOD)


def test_a_secret_comes_from_a_file_as_systemd_gives_it(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{SECRET}-from-a-file\n")
    rest = {name: value for name, value in GOOD.items() if name != "NANO_DATABASE_PASSWORD"}
    settings = load({**rest, "NANO_DATABASE_PASSWORD_FILE": str(tmp_path / "password")})
    assert settings.database_password.get_secret_value() == f"{SECRET}-from-a-file"
    assert "NANO_DATABASE_PASSWORD_FILE: is given together" in wrong(NANO_DATABASE_PASSWORD_FILE="/nowhere")


def test_no_secret_in_what_can_be_printed() -> None:
    assert SECRET not in repr(load(GOOD)) + str(load(GOOD)) + load(GOOD).model_dump_json()
    assert SECRET not in wrong(NANO_S3_ENDPOINT=SECRET, NANO_LISTEN_PORT=SECRET, NANO_DATABASE_HOSTS="db1")


def test_the_command_ends_with_one_message_and_no_traceback() -> None:
    done = machine.command({"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}, "serve")
    assert done.returncode == 78
    assert "NANO_DATABASE_HOSTS: is missing" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_readme_has_every_setting() -> None:
    assert table() in README.read_text()
    assert len(Settings.model_fields) == table().count("\n| `NANO_")


def test_the_readme_has_every_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    telemetry = Telemetry.from_env()
    document = make_app(load(GOOD), telemetry).openapi()
    telemetry.shutdown()
    served = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert set(re.findall(r"^\| `([A-Z]+) (/\S+)` \|", README.read_text(), re.M)) == served
