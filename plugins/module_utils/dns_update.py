"""Records at name servers that each hold a copy of one zone: asked and changed by messages signed with one key.

The standard library alone, with dig and nsupdate: role dns puts this very file on its hosts, for the program that lets
a server catch up with the others.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

# Beside each address lies a text with the number of times that it was moved. It says which of two servers is behind.
VERSION = re.compile(r'"nano-version=(\d+)"')
# The answers of RFC 2136 to a prerequisite that does not hold.
REFUSED = re.compile(r"update failed: (YXRRSET|NXRRSET|YXDOMAIN|NXDOMAIN)\b")


class DnsError(Exception):
    """What is wrong, where, and what to do."""


class SilentError(DnsError):
    """A server that cannot be used: it does not answer, or not as one of ours."""


class ConflictError(DnsError):
    """Two servers hold different addresses of one age: only a person can tell which is right."""


@dataclass(frozen=True)
class Held:
    """What a server holds for a name.

    Attributes:
        values: IPv4 addresses, sorted.
        ttl: how long others may keep them, in seconds.
        texts: the texts beside them, in quotes as dig shows them.
    """

    values: tuple[str, ...] = ()
    ttl: int = 0
    texts: tuple[str, ...] = ()

    @property
    def version(self) -> int:
        """How often the address was moved; 0 for one that was made by other means."""
        return max((int(found.group(1)) for text in self.texts if (found := VERSION.fullmatch(text))), default=0)

    def same(self, other: Held) -> bool:
        """Tell whether the other is the same address of the same age."""
        return (self.values, self.version) == (other.values, other.version)


def made(value: str, ttl: int, version: int) -> Held:
    """Return an address as it is written to a server."""
    return Held((value,), ttl, (f'"nano-version={version}"',))


@dataclass(frozen=True)
class Server:
    """A name server.

    Attributes:
        address: its IPv4 address, with a colon and its port if that is not 53.
        key_file: file with the key, in BIND's words.
        seconds: how long it has for an answer.
    """

    address: str
    key_file: str
    seconds: int

    @property
    def place(self) -> tuple[str, str]:
        """Its address and its port."""
        host, _, port = self.address.partition(":")
        return host, port or "53"

    def ask(self, names: Sequence[str]) -> dict[str, Held]:
        """Return what the server holds for each of some full names.

        Raises:
            SilentError: it does not answer, not for this zone, or without the signature of our key.
        """
        host, port = self.place
        argv = ["dig", "-r", "-k", self.key_file, f"@{host}", "-p", port, "+tcp", "+norecurse"]
        argv += [f"+time={self.seconds}", "+tries=1", "+noall", "+comments", "+answer"]
        # Over TCP the answer to ANY has all there is of a name, of one moment.
        done = self._run([*argv, *(word for name in names for word in (f"{name}.", "ANY"))], "")
        said = done.stdout + done.stderr
        if "verify signature" in said or "could not be validated" in said or "NOTAUTH" in said:
            raise SilentError("it does not know our key, or its clock is wrong")
        heads = re.findall(r"^;; ->>HEADER<<-.*status: (\w+).*\n;; flags:([^;]*);", said, re.M)
        if done.returncode or len(heads) != len(names):
            words = [line.removeprefix(";; ") for line in said.splitlines() if "failed" in line or "error" in line]
            raise SilentError(words[0] if words else f"no answer within {self.seconds} s")
        for status, flags in heads:
            if status not in ("NOERROR", "NXDOMAIN") or "aa" not in flags.split():
                raise SilentError(f"it does not serve the zone (it says {status})")
        return {name: _held(name, said) for name in names}

    def change(self, zone: str, name: str, before: Held, after: Held) -> bool:
        """Replace what the server holds for a name if it still holds what is expected, in one step.

        Returns:
            Whether it did; False if it holds something else by now.

        Raises:
            SilentError: it does not answer, or refuses the key. What has become of the change is not known then.
        """
        lines = [" ".join(["server", *self.place]), f"zone {zone}."]
        for kind, values in (("A", before.values), ("TXT", before.texts)):
            lines += [f"prereq yxrrset {name}. {kind} {value}" for value in values]
            lines += [] if values else [f"prereq nxrrset {name}. {kind}"]
        for kind, values in (("A", after.values), ("TXT", after.texts)):
            lines.append(f"update delete {name}. {kind}")
            lines += [f"update add {name}. {after.ttl} {kind} {value}" for value in values]
        argv = ["nsupdate", "-v", "-t", str(self.seconds), "-r", "0", "-k", self.key_file]
        done = self._run(argv, "\n".join([*lines, "send", ""]))
        if done.returncode == 0:
            return True
        said = (done.stdout + done.stderr).strip()
        if REFUSED.search(said):
            return False
        raise SilentError(said.splitlines()[-1].lstrip("; ") if said else f"nsupdate ended with {done.returncode}")

    def _run(self, argv: list[str], text: str) -> subprocess.CompletedProcess[str]:
        """Run a program. Raises SilentError when it takes too long."""
        try:
            # Their own deadlines are for each name and each step of it.
            return subprocess.run(argv, input=text, capture_output=True, text=True, check=False, timeout=self.seconds)
        except subprocess.TimeoutExpired:
            raise SilentError(f"no answer within {self.seconds} s") from None


def _held(name: str, answer: str) -> Held:
    """Return what dig's answer says of a name."""
    rows = re.findall(rf"^{re.escape(name)}\.\s+(\d+)\s+IN\s+(A|TXT)\s+(.+)$", answer, re.M | re.I)
    values = sorted(value.strip() for _, kind, value in rows if kind.upper() == "A")
    texts = sorted(value.strip() for _, kind, value in rows if kind.upper() == "TXT")
    ttl = next((int(ttl) for ttl, kind, _ in rows if kind.upper() == "A"), 0)
    return Held(tuple(values), ttl, tuple(texts))


@dataclass
class Survey:
    """What all servers hold.

    Attributes:
        held: by server's address and name, of the servers that answered.
        silent: why the others did not, by address.
    """

    held: dict[str, dict[str, Held]] = field(default_factory=dict)
    silent: dict[str, str] = field(default_factory=dict)

    def of(self, name: str) -> dict[str, Held]:
        """Return what each server holds for a name."""
        return {address: names[name] for address, names in self.held.items()}


def survey(servers: Sequence[Server], names: Sequence[str]) -> Survey:
    """Ask all servers at once, so that one that is lost costs its deadline and no more."""

    def ask(server: Server) -> dict[str, Held] | str:
        try:
            return server.ask(names)
        except SilentError as error:
            return str(error)

    found = Survey()
    with ThreadPoolExecutor(max(len(servers), 1)) as pool:
        for server, answer in zip(servers, pool.map(ask, servers), strict=True):
            if isinstance(answer, str):
                found.silent[server.address] = answer
            else:
                found.held[server.address] = answer
    return found


def told(held: Mapping[str, Held]) -> str:
    """Say in words what each server holds for a name."""
    return ", ".join(f"{address} has {' and '.join(each.values) or 'none'}" for address, each in held.items())


def newest(name: str, held: Mapping[str, Held]) -> Held | None:
    """Return the address of a name that was moved last, None if no server has one.

    Raises:
        ConflictError: servers hold different ones that were moved equally often.
    """
    there = [each for each in held.values() if each.values]
    if not there:
        return None
    last = max(there, key=lambda each: each.version)
    if any(each.version == last.version and each.values != last.values for each in there):
        raise ConflictError(f"{name}: {told(held)}, and none is the newer one")
    return last


def behind(name: str, held: Mapping[str, Held], among: Iterable[str]) -> dict[str, Held]:
    """Return the servers that are behind the others, each with what it should hold.

    Raises:
        ConflictError: there is no telling.
    """
    last = newest(name, held)
    return {address: last for address in among if last and not held[address].same(last)}
