"""Users, folders and files of a host: look first, change what differs, never leave a file half written."""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from ansible_collections.nano.ops.plugins.module_utils import pending


class FilesError(Exception):
    """Why a file cannot be written, and what to do."""


class Change:
    """What has been changed, or would be."""

    def __init__(self, check: bool, unit: str = "") -> None:
        """Begin with nothing; with `check`, only look; `unit` is the one that reads the files."""
        self.check = check
        self.unit = unit
        self.paths: list[str] = []
        self.diffs: list[dict[str, str]] = []


def run(argv: list[str]) -> None:
    """Run a command.

    Raises:
        FilesError: it failed; its words are in the text.
    """
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise FilesError(f"`{' '.join(argv)}` ended with code {done.returncode}: {words}")


def accounts(params: dict[str, Any], change: Change) -> None:
    """Make the groups and users that are missing."""
    groups, users = {entry.gr_name for entry in grp.getgrall()}, {entry.pw_name for entry in pwd.getpwall()}
    for name in params["groups"]:
        if name not in groups:
            change.paths.append(f"group {name}")
            if not change.check:
                run(["groupadd", "--system", name])
    for user in params["users"]:
        if user["name"] in users:
            continue
        change.paths.append(f"user {user['name']}")
        if not change.check:
            group = ["--gid", user["name"]] if user["name"] in groups else ["--user-group"]
            argv = ["useradd", "--system", *group, "--no-create-home", "--home-dir", user["home"]]
            run([*argv, "--shell", "/usr/sbin/nologin", user["name"]])


def identity(entry: dict[str, Any], what: str) -> tuple[int, int, int]:
    """Return owner, group and mode as numbers.

    Raises:
        FilesError: no such user or group, or a mode that is none.
    """
    try:
        return pwd.getpwnam(entry["owner"]).pw_uid, grp.getgrnam(entry["group"]).gr_gid, int(entry["mode"], 8)
    except KeyError as error:
        raise FilesError(f"{what}: there is no user {entry['owner']} or no group {entry['group']}") from error
    except ValueError as error:
        raise FilesError(f'{what}: mode {entry["mode"]!r} is not octal; write it as "0644"') from error


def right(path: Path, owner: int, group: int, mode: int) -> bool:
    """Return whether a path has this owner, group and mode."""
    found = path.stat()
    return (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (owner, group, mode)


def directory(entry: dict[str, Any], change: Change) -> None:
    """Make a folder, or correct one."""
    path = Path(entry["path"])
    if change.check and not path.is_dir():
        change.paths.append(str(path))
        return
    try:
        wanted = identity(entry, str(path))
    except FilesError:
        # In a check run the user may be one that a package brings.
        if not change.check:
            raise
        change.paths.append(str(path))
        return
    if path.is_dir() and right(path, *wanted):
        return
    change.paths.append(str(path))
    if not change.check:
        path.mkdir(parents=True, exist_ok=True, mode=0o755)
        os.chown(path, wanted[0], wanted[1])
        path.chmod(wanted[2])


def link(entry: dict[str, Any], change: Change) -> None:
    """Make a symbolic link, or correct one."""
    path, target = Path(entry["dest"]), entry["link"]
    before = os.readlink(path) if path.is_symlink() else ""
    if before == target:
        return
    change.paths.append(str(path))
    change.diffs.append({"before_header": str(path), "after_header": str(path), "before": before, "after": target})
    if not change.check:
        fresh = path.with_name(f".{path.name}.fresh")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target)
        fresh.replace(path)


def check(entry: dict[str, Any], path: str, checking: bool) -> None:
    """Run the checker of a file.

    Raises:
        FilesError: it refuses the file.
    """
    argv = shlex.split(entry["validate"])
    if checking and not os.path.exists(argv[0]):
        return
    if "%s" not in argv:
        raise FilesError(f"{entry['dest']}: validate has no %s for the file")
    try:
        run([path if word == "%s" else word for word in argv])
    except FilesError as error:
        text = str(error).replace(path, entry["dest"])
        raise FilesError(f"{entry['dest']} is refused by its checker, nothing was written. {text}") from error


def stage(entry: dict[str, Any], change: Change) -> tuple[str, Path] | None:
    """Write a file beside its place and check it; return both, or None if nothing is to be moved.

    Raises:
        FilesError: its owner, its folder or its text is wrong.
    """
    dest = Path(entry["dest"])
    text = entry["content"].encode()
    before = dest.read_bytes() if dest.is_file() else None
    if change.check and not dest.parent.is_dir():
        note(entry, before, change)
        return None
    try:
        owner, group, mode = identity(entry, str(dest))
    except FilesError:
        if not change.check:
            raise
        note(entry, before, change)
        return None
    if before == text and not dest.is_symlink():
        if not right(dest, owner, group, mode):
            change.paths.append(str(dest))
            if not change.check:
                os.chown(dest, owner, group)
                dest.chmod(mode)
        return None
    if not dest.parent.is_dir():
        raise FilesError(f"{dest}: the folder {dest.parent} does not exist")
    handle, fresh = tempfile.mkstemp(prefix=f".{dest.name}.", dir=dest.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chown(fresh, owner, group)
        os.chmod(fresh, mode)
        if entry["validate"]:
            check(entry, fresh, change.check)
    except BaseException:
        os.unlink(fresh)
        raise
    note(entry, before, change)
    return fresh, dest


def note(entry: dict[str, Any], before: bytes | None, change: Change) -> None:
    """Note that a file changes, and how if that may be seen."""
    dest = entry["dest"]
    change.paths.append(dest)
    old, new = (before or b"").decode(errors="replace"), entry["content"]
    if entry["private"]:
        old, new = ("(not shown)\n" if before is not None else ""), "(not shown: it holds secrets)\n"
    change.diffs.append({"before_header": dest, "after_header": dest, "before": old, "after": new})


def write(entries: list[dict[str, Any]], change: Change) -> None:
    """Write all files or none."""
    staged: list[tuple[str, Path]] = []
    try:
        for entry in entries:
            if ready := stage(entry, change):
                staged.append(ready)
        if staged and change.unit and not change.check:
            pending.mark(change.unit)
        while staged and not change.check:
            fresh, dest = staged.pop(0)
            os.replace(fresh, dest)
    finally:
        for fresh, _ in staged:
            os.unlink(fresh)


def prune(entry: dict[str, Any], kept: set[str], change: Change) -> None:
    """Take away what an earlier run wrote into a folder and this one no longer does; files without the marker stay."""
    for path in sorted(Path(entry["path"]).glob("*")):
        if str(path) in kept or path.is_symlink() or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        if entry["marker"] not in text.splitlines():
            continue
        change.paths.append(str(path))
        change.diffs.append({"before_header": str(path), "after_header": "/dev/null", "before": text, "after": ""})
        if not change.check:
            if change.unit:
                pending.mark(change.unit)
            path.unlink()
