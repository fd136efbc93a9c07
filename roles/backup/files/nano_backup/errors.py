"""What goes wrong in words that say what, where and what to do next."""

from __future__ import annotations


class BackupError(Exception):
    """Why a step could not be done."""


class ConfigError(BackupError):
    """Why the configuration can't be used."""


class LockedError(BackupError):
    """Another run is at work."""


class DamagedError(BackupError):
    """A backup is not what its manifest says."""
