"""The configuration: a JSON file says what and where, the credentials are files of their own.

Under systemd they come by $CREDENTIALS_DIRECTORY; an operator's call reads them where systemd does, in the folder that
is named like the file (/etc/nano/backup.json, /etc/nano/backup).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ConfigError

# Role backup's, and role backup_verify's; a host may have both.
CONFIG = Path("/etc/nano/backup.json")
VERIFY = Path("/etc/nano/backup_verify.json")


@dataclass(frozen=True)
class S3:
    """Where copies go. `uri_style` is path or host; an empty `ca_file` means the system's authorities."""

    endpoint: str
    region: str
    bucket: str
    access_key: str
    ca_file: str
    uri_style: str


@dataclass(frozen=True)
class Verify:
    """How backups are proven: a scratch folder, seconds that one recovery may take, least rows in percent, jobs."""

    directory: Path
    timeout_seconds: int
    row_tolerance_percent: float
    ignored_tables: tuple[str, ...]
    jobs: int


@dataclass(frozen=True)
class Config:
    """All that the program is told. `servers` is a name to an address; durations are in days or seconds as named."""

    directory: Path
    state_directory: Path
    metrics_directory: Path
    keeps_backups: bool
    stanza: str
    repositories: tuple[int, ...]
    repository_path: str
    full_interval_days: int
    retention_days: int
    s3_retention_days: int
    servers: Mapping[str, str]
    connection: Mapping[str, str]
    user: str
    databases: tuple[str, ...]
    application_database: str
    rpo_objective_seconds: int
    postgresql_programs: Path
    pgbackrest: str
    rclone: str
    s3: S3 | None
    verify: Verify
    credentials: Mapping[str, str]

    def secret(self, name: str) -> str:
        """Return a credential. Raises ConfigError when its file was missing."""
        if not self.credentials.get(name):
            raise ConfigError(
                f"credential {name} is missing: it is read from $CREDENTIALS_DIRECTORY, else from the folder beside "
                "the configuration; run the role again, and call the program as root"
            )
        return self.credentials[name]


KINDS: dict[str, tuple[type, str]] = {
    "str": (str, "a text"),
    "Path": (str, "a path"),
    "bool": (bool, "true or false"),
    "int": (int, "a whole number"),
    "float": (int | float, "a number"),  # type: ignore[dict-item]
    "tuple[str, ...]": (list, "a list of texts"),
    "tuple[int, ...]": (list, "a list of whole numbers"),
    "Mapping[str, str]": (dict, "an object"),
}


def _value(kind: str, value: Any, name: str, where: Path) -> Any:
    wanted, words = KINDS[kind]
    fits = isinstance(value, wanted) and (kind == "bool" or not isinstance(value, bool))
    if kind.startswith("tuple"):
        element = str if "str" in kind else int
        fits = fits and all(isinstance(each, element) for each in value)
    if kind == "Path":
        fits = fits and value.startswith("/")
    if not fits:
        raise ConfigError(f"{where}: {name} has to be {words}, not {value!r}; run the role again, it writes this file")
    return Path(value) if kind == "Path" else tuple(value) if kind.startswith("tuple") else value


def fill(kind: Any, data: Any, name: str, where: Path, **more: Any) -> Any:
    """Make a dataclass out of an object of the file."""
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: {name or 'the file'} has to be an object")
    fields = {field: spec.type for field, spec in kind.__dataclass_fields__.items() if field not in more}
    prefix = f"{name}." if name else ""
    if unknown := sorted(set(data) - set(fields) - {"s3", "verify"}):
        raise ConfigError(f"{where}: {prefix}{unknown[0]} is not known")
    if missing := sorted(set(fields) - set(data)):
        raise ConfigError(f"{where}: {prefix}{missing[0]} is missing; run the role again, it writes this file")
    values = {field: _value(str(spec), data[field], prefix + field, where) for field, spec in fields.items()}
    return kind(**values, **more)


def credentials(folder: Path) -> dict[str, str]:
    """Return name to value of the credentials in a folder; those that may not be read are left out."""
    try:
        files = [path for path in folder.iterdir() if path.is_file() and os.access(path, os.R_OK)]
        return {path.name: path.read_text(encoding="utf-8").strip("\n") for path in files}
    except OSError:
        return {}


def read(path: Path) -> dict[str, Any]:
    """Return what a file of ours holds. Raises ConfigError when it is not there or no JSON."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{path} is not there: this host has none of the roles backup, backup_verify and backup_telemetry"
        ) from None
    except PermissionError:
        raise ConfigError(f"{path} may not be read by this user: call it as root (sudo nano-backup ...)") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} can't be read: {error}; run the role again, it writes this file") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: the file has to be an object")
    return data


def load(path: Path = CONFIG) -> Config:
    """Read the configuration.

    Raises:
        ConfigError: it is not there, no JSON, or has a wrong value; the text names it.
    """
    data = read(path)
    s3 = data.get("s3")
    folder = Path(os.environ.get("CREDENTIALS_DIRECTORY", path.with_suffix("")))
    more = {
        "s3": fill(S3, s3, "s3", path) if s3 else None,
        "verify": fill(Verify, data.get("verify"), "verify", path),
        "credentials": credentials(folder),
    }
    found: Config = fill(Config, data, "", path, **more)
    return found
