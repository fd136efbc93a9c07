"""The settings: environment variables NANO_<NAME>, or NANO_<NAME>_FILE for a file that holds the value."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FilePath, SecretStr, ValidationError

PREFIX = "NANO_"
# One without the other means nothing.
TOGETHER = (
    ("tls_certificate", "tls_key"),
    ("database_tls_certificate", "database_tls_key"),
    ("redis_tls_certificate", "redis_tls_key"),
)
NEEDS = (
    ("database_tls_certificate", "database_tls_ca"),
    ("redis_tls_certificate", "redis_tls_ca"),
    ("tls_client_ca", "tls_certificate"),
)

Host = tuple[str, int]


class SettingsError(Exception):
    """The settings are wrong; the text names every wrong variable and fits on a terminal."""


def _hosts(value: object) -> object:
    """Read `name:port,name:port`; a name alone has PostgreSQL's port. Raises ValueError for anything else."""
    if not isinstance(value, str):
        return value
    hosts = []
    for word in filter(None, (word.strip() for word in value.split(","))):
        name, _, port = word.rpartition(":") if ":" in word else (word, "", "5432")
        if not name or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f"{word!r} is not name or name:port")
        hosts.append((name, int(port)))
    return tuple(hosts)


Hosts = Annotated[tuple[Host, ...], BeforeValidator(_hosts), Field(min_length=1)]
Port = Annotated[int, Field(ge=1, le=65535)]


class Settings(BaseModel):
    """Every setting; its description is the README's."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    listen_address: str = Field("127.0.0.1", description="Address to listen on. A socket of systemd's takes its place.")
    listen_port: Port = Field(8000, description="Port to listen on.")
    tls_certificate: FilePath | None = Field(None, description="Certificate of the service; with it, it speaks TLS.")
    tls_key: FilePath | None = Field(None, description="Its key.")
    tls_client_ca: FilePath | None = Field(None, description="CA that callers must have a certificate of.")
    drain_seconds: float = Field(
        5.0, ge=0, le=300, description="Time after SIGTERM in which it is not ready but still serves, in seconds."
    )
    shutdown_seconds: int = Field(
        20, ge=1, le=300, description="Longest time for running requests to finish after that, in seconds."
    )

    database_hosts: Hosts = Field(
        description="PostgreSQL servers, `name:port,name:port`. The one that takes writes is used."
    )
    database_name: str = Field("nano", description="Name of the database.")
    database_user: str = Field("nano", description="Role to log in as.")
    database_password: SecretStr = Field(description="Its password.")
    database_tls_ca: FilePath | None = Field(
        None, description="CA of the servers; with it, connections are TLS and the name is verified (verify-full)."
    )
    database_tls_certificate: FilePath | None = Field(None, description="Client certificate for PostgreSQL.")
    database_tls_key: FilePath | None = Field(None, description="Its key.")
    database_pool_size: int = Field(
        20, ge=1, le=200, description="Most connections at once; one more is kept for readiness."
    )
    database_pool_recycle_seconds: int = Field(3600, ge=1, description="Age at which a connection is renewed, in s.")
    database_pool_timeout_seconds: float = Field(5.0, gt=0, description="Longest wait for a free connection, in s.")
    database_connect_timeout_seconds: float = Field(3.0, gt=0, description="Longest wait for one server, in s.")
    database_statement_timeout_seconds: float = Field(5.0, gt=0, description="Longest run of one statement, in s.")
    database_retry_seconds: float = Field(
        10.0, ge=0, description="How long what is safe to repeat is repeated while no server takes writes, in s."
    )

    redis_host: str = Field("127.0.0.1", description="Redis server.")
    redis_port: Port = Field(6379, description="Its port.")
    redis_user: str | None = Field(None, description="ACL user.")
    redis_password: SecretStr | None = Field(None, description="Its password.")
    redis_tls_ca: FilePath | None = Field(None, description="CA of the server; with it, the connection is TLS.")
    redis_tls_certificate: FilePath | None = Field(None, description="Client certificate for Redis.")
    redis_tls_key: FilePath | None = Field(None, description="Its key.")
    redis_timeout_seconds: float = Field(0.25, gt=0, description="Longest wait for an answer or a connection, in s.")

    session_seconds: int = Field(3600, ge=60, description="Life of a session after its last use, in seconds.")
    search_cache_seconds: int = Field(1800, ge=1, description="Life of a cached search result, in seconds.")
    profile_cache_seconds: int = Field(3600, ge=1, description="Life of a cached profile, in seconds.")
    public_max_age_seconds: int = Field(300, ge=0, description="max-age of public answers, in seconds.")

    s3_endpoint: str = Field(description="URL of the object store.", pattern=r"^https?://[^/\s]+/?$")
    s3_region: str = Field("us-east-1", description="Its region.")
    s3_bucket: str = Field(description="Bucket of the uploaded files.", min_length=3)
    s3_access_key: SecretStr = Field(description="Access key.")
    s3_secret_key: SecretStr = Field(description="Secret key.")
    s3_path_style: bool = Field(True, description="Bucket in the path (MinIO and most others) and not in the name.")
    s3_ca: FilePath | None = Field(None, description="CA of the object store; the system's where not given.")

    upload_max_bytes: int = Field(64 * 2**20, ge=1, description="Largest upload, in bytes.")
    request_max_bytes: int = Field(64 * 2**10, ge=1024, description="Largest body of any other request, in bytes.")
    gauges_interval_seconds: float = Field(
        30.0, gt=0, description="How often the business gauges are counted in the database, in seconds."
    )


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + name.upper()


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from the environment (the process's own where none is given).

    Raises SettingsError naming every variable that is missing, wrong or unknown.
    """
    environment = os.environ if environment is None else environment
    values, wrong = _values(environment)
    for one, other in TOGETHER:
        if (one in values) != (other in values):
            wrong[variable(other if one in values else one)] = (
                f"is needed with {variable(one if one in values else other)}"
            )
    for one, other in NEEDS:
        if one in values and other not in values:
            wrong[variable(other)] = f"is needed with {variable(one)}"
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False):
            name = variable(str(problem["loc"][0]))
            text = "is missing" if problem["type"] == "missing" else problem["msg"].removeprefix("Value error, ")
            wrong.setdefault(name, text)
    if wrong:
        lines = [f"  {name}: {text}" for name, text in sorted(wrong.items())]
        raise SettingsError("\n".join(["these settings are wrong:", *lines]))
    return settings


def _values(environment: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the values by setting, and what is wrong by variable. An empty variable is as good as none."""
    known = {variable(name): name for name in Settings.model_fields}
    # nano_telemetry has variables of the same prefix, in groups of its own: a wrong name in a group of ours is ours.
    groups = tuple({variable(name.split("_")[0]) + "_" for name in Settings.model_fields})
    values: dict[str, str] = {}
    wrong: dict[str, str] = {}
    for key, text in sorted(environment.items()):
        if not key.startswith(groups) or not text:
            continue
        name = known.get(key)
        if name:
            values[name] = text
        elif key.removesuffix("_FILE") in known:
            if environment.get(key.removesuffix("_FILE")):
                wrong[key] = f"is given together with {key.removesuffix('_FILE')}: give one"
                continue
            try:
                values[known[key.removesuffix("_FILE")]] = Path(text).read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                wrong[key] = f"cannot be read: {getattr(error, 'strerror', None) or 'not text'}"
                wrong[key.removesuffix("_FILE")] = wrong[key]
        else:
            wrong[key] = "is not a setting of this service"
    return values, wrong


def table() -> str:
    """Return the README's table of settings."""
    rows = ["| Variable | Default | Meaning |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = "**required**" if field.is_required() else "" if field.default is None else f"`{field.default}`"
        rows.append(f"| `{variable(name)}` | {default} | {field.description} |")
    return "\n".join(rows)
