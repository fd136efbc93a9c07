"""A container engine that answers: the one that runs, or Debian's, installed and started."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from lab.common import LabError, cache_dir, check_disk, lock, progress

PACKAGES = ("docker.io", "iptables", "debootstrap")
PID_FILE = Path("/var/run/docker.pid")
LEAST_DISK_GB = 8.0
# An engine that has many stopped containers to look through took 12 s on two busy cores.
START_SECONDS = 60.0


def answer() -> tuple[str, str]:
    """Return the engine's version, or "" and why it doesn't answer."""
    if not shutil.which("docker"):
        return "", "the docker client is not installed"
    try:
        done = subprocess.run(
            ["docker", "info", "--format", "{{.ServerVersion}}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
    except subprocess.TimeoutExpired:
        return "", "`docker info` gave no answer in 20 s"
    # Some clients end with 0 and an empty version when there is no server.
    version = done.stdout.strip()
    return ("" if done.returncode else version), done.stderr.strip()


def is_stale(pid_file: Path, proc: Path = Path("/proc")) -> bool:
    """Tell whether a pid file was left by an engine that is gone.

    dockerd refuses to start when the file names any living process, also one that got the number afterwards.
    """
    try:
        pid = int(pid_file.read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        return False
    except ValueError:
        return True
    try:
        return (proc / str(pid) / "comm").read_text(encoding="utf-8").strip() != "dockerd"
    except (FileNotFoundError, ProcessLookupError):
        return True


def has_systemd() -> bool:
    """Tell whether systemd is the machine's service manager (sd_booted(3))."""
    return Path("/run/systemd/system").is_dir()


def install() -> None:
    """Install Debian's engine.

    Raises:
        LabError: apt-get is missing or failed; its last lines are in the text.
    """
    if not shutil.which("apt-get"):
        raise LabError("no engine, and no apt-get to install one with: install Docker Engine first")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for title, argv in (
        ("apt-get update", ["apt-get", "-qq", "update"]),
        (
            f"install {' '.join(PACKAGES)}",
            ["apt-get", "-qq", "-y", "--no-install-recommends", "install", *PACKAGES],
        ),
    ):
        with progress(title):
            done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
            raise LabError(
                f"`{' '.join(argv)}` failed with code {done.returncode}; is there a network, and are the "
                f"sources in /etc/apt right?\n{tail}"
            )


def start() -> None:
    """Start dockerd and wait until it answers.

    Raises:
        LabError: it ended, or doesn't answer in START_SECONDS.
    """
    log = cache_dir() / "dockerd.log"
    process: subprocess.Popen[bytes] | None = None
    with progress("start the engine"):
        if has_systemd():
            done = subprocess.run(["systemctl", "start", "docker"], capture_output=True, text=True, check=False)
            if done.returncode:
                raise LabError(f"{done.stderr.strip()}\nLook at `journalctl -u docker -n 30`.")
            where = "`journalctl -u docker -n 30`"
        else:
            if is_stale(PID_FILE):
                PID_FILE.unlink()
            with log.open("ab") as output:
                # A session of its own: it must outlive this command and its terminal.
                process = subprocess.Popen(
                    ["dockerd"],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            where = str(log)
        deadline = time.monotonic() + START_SECONDS
        while True:
            # Looked at before the question: what ends after a last answer has still answered.
            ended = process is not None and process.poll() is not None
            if answer()[0]:
                break
            if ended or time.monotonic() > deadline:
                text = log.read_text(errors="replace") if process else ""
                tail = "\n".join(text.splitlines()[-8:])
                what = "ended at once" if ended else f"gave no answer in {START_SECONDS:.0f} s"
                raise LabError(f"dockerd {what}; see {where}\n{tail}")
            time.sleep(0.3)


def ensure() -> None:
    """Make sure that an engine answers and that it has room.

    Raises:
        LabError: there is none and it can't be installed or started, or the disk is nearly full.
    """
    check_disk(cache_dir(), LEAST_DISK_GB)
    with lock(cache_dir() / "engine.lock"):
        version, reason = answer()
        if not version:
            if "permission denied" in reason.lower():
                raise LabError(f"an engine runs but refuses this user: {reason}\nUse root or join its group.")
            if os.environ.get("DOCKER_HOST"):
                raise LabError(f"the engine named by DOCKER_HOST doesn't answer: {reason}")
            if os.geteuid() != 0:
                raise LabError(
                    f"no engine answers ({reason}); installing or starting one needs root: "
                    "run this as root, or start Docker Engine first"
                )
            if not shutil.which("dockerd"):
                install()
            start()
            version, reason = answer()
            if not version:
                raise LabError(f"the engine stopped answering: {reason}")
        root = subprocess.run(
            ["docker", "info", "--format", "{{.DockerRootDir}}"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
        if root and Path(root).exists():
            check_disk(Path(root), LEAST_DISK_GB)
    print(f"  engine {version} answers", flush=True)
