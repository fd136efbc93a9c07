"""Other programs: started with little in their environment, ended with this one, their errors in one sentence."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .errors import BackupError

KEPT = ("PATH", "HOME", "TMPDIR", "TZ")
# A program that outlives a killed run would write into what the next one clears. In a unit it is systemd that ends
# all of them, and its sandbox that does not let setpriv.
TIED = ("setpriv", "--pdeathsig", "KILL")
CHUNK = 1 << 20


class CommandError(BackupError):
    """A program failed; `code` is how it ended and `words` what it said."""

    def __init__(self, name: str, code: int, words: str) -> None:
        """Keep both."""
        super().__init__(f"{name} ended with code {code}: {words or 'it said nothing'}")
        self.code, self.words = code, words


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a program. Secrets travel in here: command lines can be read by everybody."""
    return {name: os.environ[name] for name in KEPT if name in os.environ} | {"LC_ALL": "C.UTF-8"} | dict(extra)


def words_of(text: str) -> str:
    """Return the end of what a program said on one line."""
    return "; ".join(line.strip() for line in text.strip().splitlines() if line.strip())[-800:]


def line(argv: Sequence[str | Path]) -> list[str]:
    """Return a command line whose program ends with this one."""
    is_unit = os.environ.get("SYSTEMD_EXEC_PID") == str(os.getpid())
    return [*(() if is_unit or not shutil.which(TIED[0]) else TIED), *(str(word) for word in argv)]


def run(
    argv: Sequence[str | Path],
    env: Mapping[str, str] | None = None,
    *,
    text: str | None = None,
    seconds: float | None = None,
    reports: bool = False,
) -> str:
    """Run a program and return what it printed.

    Args:
        argv: program and arguments, never a secret.
        env: more environment variables.
        text: what it reads.
        seconds: how long it may take.
        reports: whether what it finds wrong is in what it prints, not among its errors.

    Raises:
        CommandError: it failed, is missing, or took too long.
    """
    name = Path(argv[0]).name
    try:
        done = subprocess.run(
            line(argv),
            env=environment(env or {}),
            input=None if text is None else text.encode(),
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise CommandError(name, 124, f"no answer within {seconds:.0f} s") from None
    except OSError as error:
        raise CommandError(name, 127, str(error)) from None
    printed, said = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    if done.returncode:
        said = "" if reports else said
        raise CommandError(name, done.returncode, words_of(said if said.strip() else printed))
    return printed


@contextlib.contextmanager
def reading(argv: Sequence[str | Path], env: Mapping[str, str]) -> Iterator[Iterator[bytes]]:
    """Run a program and give what it prints in pieces. Raises CommandError at the end when it failed."""
    with subprocess.Popen(
        line(argv),
        env=environment(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout and process.stderr
        try:
            yield iter(lambda: process.stdout.read(CHUNK), b"")  # type: ignore[union-attr]
        except BaseException:
            process.kill()
            raise
        said = process.stderr.read().decode(errors="replace")
        if code := process.wait():
            raise CommandError(Path(argv[0]).name, code, words_of(said))


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
