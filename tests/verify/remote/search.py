"""Search a host for values that nobody but their user may see; print where they were found, by their names.

Looked at: files that anybody can read, command lines and environments of all processes, units as systemd shows them to
anybody, and the journal. Values of `nowhere` must be in no file at all. Values come over stdin, and none is printed.
"""

import json
import mmap
import os
import stat
import subprocess
import sys

values = json.loads(sys.stdin.readline())
SECRETS = {name: value.encode() for name, value in values["secrets"].items()}
NOWHERE = {name: value.encode() for name, value in values["nowhere"].items()}
ALL = SECRETS | NOWHERE
# Not what somebody has written: the kernel's own views, and Debian's packages.
LEFT_OUT = (
    "/proc",
    "/sys",
    "/dev",
    "/usr/lib",
    "/usr/share",
    "/usr/bin",
    "/var/lib/dpkg",
    "/var/lib/apt",
    "/srv/mirror",
)
found = []
counted = {"files": 0, "processes": 0, "units": 0, "journal": 0}


def look(content, where, needles):
    for name, value in needles.items():
        if content.find(value) >= 0:
            found.append(f"{where}: {name}")


def look_into(path, needles):
    try:
        with open(path, "rb") as handle:
            if os.fstat(handle.fileno()).st_size:
                with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
                    look(content, path, needles)
    except (OSError, ValueError):
        # Gone meanwhile.
        return
    counted["files"] += 1


def walk(folder, open_to_all):
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.path in LEFT_OUT:
            continue
        try:
            about = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        readable = open_to_all and about.st_mode & stat.S_IROTH
        if stat.S_ISDIR(about.st_mode):
            walk(entry.path, open_to_all and bool(about.st_mode & stat.S_IXOTH))
        elif stat.S_ISREG(about.st_mode):
            look_into(entry.path, ALL if readable else NOWHERE)


def read(path):
    try:
        with open(path, "rb") as handle:
            return handle.read()
    except OSError:
        return b""


walk("/", True)
for pid in filter(str.isdigit, os.listdir("/proc")):
    command = read(f"/proc/{pid}/cmdline").replace(b"\0", b" ")
    look(command, f"command line of process {pid}", ALL)
    look(read(f"/proc/{pid}/environ"), f"environment of process {pid} ({command[:40].decode(errors='replace')})", ALL)
    counted["processes"] += 1
for unit in values["units"]:
    shown = subprocess.run(["systemctl", "show", unit], capture_output=True, check=True).stdout
    look(shown, f"unit {unit}", ALL)
    counted["units"] += len(shown) > 1000
journal = subprocess.run(["journalctl", "--output=export", "--no-pager"], capture_output=True, check=True).stdout
look(journal, "journal", ALL)
counted["journal"] = len(journal)
print(json.dumps({"found": sorted(found), "counted": counted}))
