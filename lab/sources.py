"""Where packages come from: the machine's own Debian mirrors and proxy, for the hosts that are made on it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from lab.common import LabError


def machine_mirrors(apt: Path = Path("/etc/apt")) -> tuple[str, str]:
    """Return the URIs of the machine's own Debian mirror and of its security mirror.

    Only the files that Debian itself writes are read: others may name the same suite on a vendor's server.

    Raises:
        LabError: they name no Debian mirror.
    """
    found: list[tuple[str, list[str]]] = []
    one_line = apt / "sources.list"
    if one_line.exists():
        pattern = re.compile(r"^deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s", re.M)
        found += [(uri, [suite]) for uri, suite in pattern.findall(one_line.read_text())]
    stanzas = apt / "sources.list.d/debian.sources"
    if stanzas.exists():
        text = re.sub(r"^#.*\n", "", stanzas.read_text(), flags=re.M)
        for stanza in re.split(r"\n\s*\n", text):
            fields = dict(re.findall(r"^([\w-]+):[ \t]*(.*)$", stanza, re.M))
            if fields.get("Enabled", "yes") == "yes" and "deb" in fields.get("Types", "").split():
                found += [(uri, fields.get("Suites", "").split()) for uri in fields.get("URIs", "").split()]
    main = security = ""
    for uri, suites in reversed(found):
        # An Ubuntu mirror has no Debian suite, and media aren't reachable from inside a host.
        if not re.match(r"https?://", uri) or "ubuntu" in uri:
            continue
        if any(suite.endswith("-security") for suite in suites):
            security = uri.rstrip("/")
        elif any("-" not in suite for suite in suites):
            main = uri.rstrip("/")
    if not main:
        raise LabError(
            f"{one_line} and {stanzas} name no Debian mirror that the hosts could be made from: the lab needs a Debian "
            "machine, or a line such as `deb https://YOUR.MIRROR/debian trixie main` there"
        )
    # Where a mirror has both, they lie side by side.
    return main, security or f"{main}-security"


def proxy_settings() -> str:
    """Return the machine's apt proxy settings in apt's own syntax, or ""."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False).stdout
    lines = [line for line in dump.splitlines() if re.match(r"Acquire::(https?|ftp)::.*proxy", line, re.I)]
    return "".join(f"{line}\n" for line in lines)
