"""The lab's base image: a minimal Debian with systemd as PID 1, made by debootstrap, without any registry.

The image is labelled with the hash of this file and the suite: a change here makes a new one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from lab import sources
from lab.common import LabError, cache_dir, check_disk, lock, progress

SUITES = ("trixie", "bookworm")
LABEL = "nano.lab.hash"
INCLUDE = (
    "systemd systemd-sysv dbus python3 python3-apt openssh-server sudo ca-certificates iproute2 "
    "procps nftables openssl iputils-ping curl"
).split()
# What the roles install in nearly every run. The archives and lists stay in the image, so that hosts install without
# a network and seven hosts don't fetch the same packages seven times; the roles still install them by apt.
POSTGRESQL = {"trixie": "postgresql-17", "bookworm": "postgresql-15"}
DOWNLOAD = (
    "redis-server prometheus-postgres-exporter prometheus-redis-exporter "
    "prometheus-blackbox-exporter python3-psycopg2 python3-cryptography acl"
).split()
# No hardware, consoles or network of their own in a container; and the apt timers would hold dpkg's lock while a
# playbook runs.
MASKED = (
    "apt-daily.timer apt-daily-upgrade.timer console-getty.service dev-hugepages.mount e2scrub_all.timer "
    "fstrim.timer getty.target getty@.service getty-static.service serial-getty@.service "
    "sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount systemd-firstboot.service "
    "systemd-networkd-wait-online.service systemd-udevd.service systemd-udevd-control.socket "
    "systemd-udevd-kernel.socket systemd-udev-trigger.service systemd-udev-settle.service"
).split()
# Each host has host keys of its own: two hosts with one key couldn't be told apart.
KEYS_UNIT = """\
[Unit]
Description=Make this host's own SSH host keys
Before=ssh.service
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A
RemainAfterExit=yes

[Install]
WantedBy=multi-user.target
"""


# systemd does it itself on a machine, but not in a container: without it no credential (LoadCredential=) arrives.
SHARED_UNIT = """\
[Unit]
Description=Share mounts between namespaces, as on a machine
DefaultDependencies=no
Before=sysinit.target

[Service]
Type=oneshot
ExecStart=/usr/bin/mount --make-rshared /
RemainAfterExit=yes

[Install]
WantedBy=sysinit.target
"""


def content_hash(suite: str) -> str:
    """Return the hash that tells whether an image was made by this file for this suite."""
    return hashlib.sha256(Path(__file__).read_bytes() + suite.encode()).hexdigest()


def present(suite: str) -> bool:
    """Tell whether the engine holds the image that this file would make."""
    done = subprocess.run(
        ["docker", "image", "inspect", "--format", f'{{{{index .Config.Labels "{LABEL}"}}}}', f"nano-lab:{suite}"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode == 0 and done.stdout.strip() == content_hash(suite)


def _run(title: str, argv: list[str], log: Path) -> None:
    """Run a command in a mount namespace of its own, so that a killed run leaves no mount behind.

    Raises:
        LabError: it failed; the last lines of its output are in the text.
    """
    with progress(title), log.open("ab") as output:
        done = subprocess.run(
            ["unshare", "--mount", *argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                "LC_ALL": "C.UTF-8",
                "DEBIAN_FRONTEND": "noninteractive",
                "HOME": "/root",
                **{name: os.environ[name] for name in ("http_proxy", "https_proxy", "no_proxy") if name in os.environ},
            },
            check=False,
        )
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
        raise LabError(f"could not {title} (code {done.returncode}); all of it is in {log}\n{tail}")


def _in_root(title: str, root: Path, script: str, log: Path) -> None:
    mounted = 'mount -t proc proc "$1/proc" && exec chroot "$1" sh -euc "$2"'
    _run(title, ["sh", "-euc", mounted, "sh", str(root), script], log)


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def _fill(root: Path, suite: str, log: Path) -> None:
    """Make the file tree."""
    main, security = sources.machine_mirrors()
    _run(
        f"debootstrap {suite}",
        ["debootstrap", "--variant=minbase", f"--include={','.join(INCLUDE)}", suite, str(root), main],
        log,
    )
    _write(
        root / "etc/apt/sources.list",
        f"deb {main} {suite} main\ndeb {main} {suite}-updates main\ndeb {security} {suite}-security main\n",
    )
    if settings := sources.proxy_settings():
        _write(root / "etc/apt/apt.conf.d/90lab-proxy", settings)
    # Images made for containers carry this hook, which empties the package cache that we want to keep.
    (root / "etc/apt/apt.conf.d/docker-clean").unlink(missing_ok=True)
    _write(root / "usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)
    downloads = " ".join([POSTGRESQL[suite], *DOWNLOAD])
    _in_root(
        "update it and fetch the packages that hosts install later",
        root,
        "apt-get -qq update; apt-get -qq -y upgrade; apt-get clean; "
        f"apt-get -qq -y --download-only install {downloads}",
        log,
    )
    (root / "usr/sbin/policy-rc.d").unlink()

    _write(root / "etc/sudoers.d/ops", "ops ALL=(ALL:ALL) NOPASSWD: ALL\n", 0o440)
    _write(root / "etc/systemd/system/nano-lab-keys.service", KEYS_UNIT)
    _write(root / "etc/systemd/system/nano-lab-shared.service", SHARED_UNIT)
    for name in MASKED:
        unit = root / "etc/systemd/system" / name
        unit.unlink(missing_ok=True)
        unit.symlink_to("/dev/null")
    _in_root(
        "make user ops",
        root,
        "useradd --create-home --shell /bin/bash ops; install -d -m 700 -o ops -g ops /home/ops/.ssh; "
        "visudo -cf /etc/sudoers; systemctl enable ssh.service nano-lab-keys.service nano-lab-shared.service; "
        "systemctl set-default multi-user.target; rm -f /etc/ssh/ssh_host_*",
        log,
    )
    # Empty, not absent: systemd then makes an id per host without taking it for a first boot that asks questions.
    _write(root / "etc/machine-id", "")
    (root / "var/lib/dbus/machine-id").unlink(missing_ok=True)


def _import(root: Path, suite: str) -> None:
    """Hand the tree to the engine and name it only when all of it arrived.

    Raises:
        LabError: tar or the engine failed; no image has the name then.
    """
    changes = [
        'CMD ["/lib/systemd/systemd"]',
        "ENV container=docker",
        f"LABEL {LABEL}={content_hash(suite)}",
    ]
    with progress("import it"):
        tar = subprocess.Popen(
            ["tar", "-C", str(root), "--numeric-owner", "--xattrs", "-c", "."], stdout=subprocess.PIPE
        )
        done = subprocess.run(
            ["docker", "import", *[f"--change={change}" for change in changes], "-"],
            stdin=tar.stdout,
            capture_output=True,
            text=True,
            check=False,
        )
        assert tar.stdout is not None
        tar.stdout.close()
        tar_code = tar.wait()
        image = done.stdout.strip()
        if done.returncode or tar_code:
            if image:
                subprocess.run(["docker", "image", "rm", image], capture_output=True, check=False)
            raise LabError(f"docker import failed (tar's code {tar_code}): {done.stderr.strip()}")
        subprocess.run(["docker", "tag", image, f"nano-lab:{suite}"], check=True)


def ensure(suite: str) -> None:
    """Make the image nano-lab:<suite> unless the engine has it.

    Raises:
        LabError: a tool or right is missing, or a step failed; no half made image is left.
    """
    if suite not in SUITES:
        raise LabError(f"suite {suite!r} is not one of {', '.join(SUITES)}")
    cache = cache_dir()
    with lock(cache / f"image-{suite}.lock"):
        if present(suite):
            print(f"  image nano-lab:{suite} is there", flush=True)
            return
        if os.geteuid() != 0:
            raise LabError("making the image needs root (debootstrap, chroot); run this once as root")
        for tool in ("debootstrap", "unshare", "tar"):
            if not shutil.which(tool, path="/usr/sbin:/usr/bin:/sbin:/bin"):
                raise LabError(f"{tool} is missing: apt-get install debootstrap util-linux tar")
        check_disk(cache, 3)
        # We hold the lock: what lies here was left by a run that was killed.
        for left in cache.glob(f"image-{suite}-*.tmp"):
            shutil.rmtree(left)
        log = cache / f"image-{suite}.log"
        log.unlink(missing_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f"image-{suite}-", suffix=".tmp", dir=cache))
        try:
            # The root of the tree becomes "/" of the hosts; mkdtemp's own mode would shut users out.
            root = work / "root"
            root.mkdir(mode=0o755)
            root.chmod(0o755)
            _fill(root, suite, log)
            _import(root, suite)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    print(f"  image nano-lab:{suite} is made", flush=True)
