"""How the tests reach the platform: by SSH as an operator does, and from there through the public interfaces."""

from __future__ import annotations

import contextlib
import datetime
import json
import select
import shlex
import subprocess
import tempfile
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import testinfra
from testinfra.host import Host

from tests.verify.contract import SERVICES
from tests.verify.controller import SECRET_NAMES, STATE

SSH_CONFIG = STATE / "ssh/config"
REMOTE = Path(__file__).resolve().parent / "remote"
TLS = "/etc/nano/tls"
CURL = f"curl --silent --show-error --max-time 15 --cacert {TLS}/ca.crt --cert {TLS}/host.crt --key {TLS}/host.key"
# Reads a program and leaves the rest of the input to it: neither the program nor its values are ever in argv.
LAUNCH = "import sys; exec(compile(sys.stdin.read(int(sys.stdin.readline())), 'remote', 'exec'))"


class Lab:
    """The lab's hosts and what one may ask them."""

    def __init__(self, inventory: Mapping[str, Any]) -> None:
        """Keep the inventory; connections are opened when they are needed."""
        self.inventory = inventory
        self.hostvars: dict[str, dict[str, Any]] = inventory["_meta"]["hostvars"]
        self.names = sorted(self.hostvars)
        self._hosts: dict[str, Host] = {}
        # Connections of the tests' own: the operator's are left alone, and the path of a socket must be short.
        self._sockets = tempfile.TemporaryDirectory(prefix="nano-")

    def close(self) -> None:
        """Close all connections."""
        for host in self.names:
            self.disconnect(host)
        self._sockets.cleanup()

    def group(self, name: str) -> list[str]:
        """Return the members of a group, sorted; `all` has every host."""
        return self.names if name == "all" else sorted(self.inventory.get(name, {}).get("hosts", []))

    def serving(self, service: str) -> list[str]:
        """Return the hosts that a service runs on; a cold one waits for a failover."""
        group = SERVICES[service].group
        return [host for host in self.group(group) if self.hostvars[host].get(f"{group}_role") != "cold"]

    def site(self, host: str) -> str:
        """Return the site of a host."""
        return next(name for name in self.inventory if name.startswith("site_") and host in self.group(name))

    def address(self, host: str) -> str:
        """Return the address of a host."""
        return str(self.hostvars[host]["ansible_host"])

    def groups_of(self, host: str) -> set[str]:
        """Return the groups of a host."""
        return {"all", *(name for name in self.inventory if host in self.group(name))}

    def secrets(self) -> dict[str, str]:
        """Return name to value of every secret of the inventory."""
        return {
            name: value
            for variables in self.hostvars.values()
            for name, value in variables.items()
            if name.endswith(SECRET_NAMES)
        }

    def host(self, name: str) -> Host:
        """Return testinfra's view of a host: user ops, sudo, as Ansible comes in."""
        if name not in self._hosts:
            self._hosts[name] = testinfra.get_host(
                f"ssh://ops@{name}", ssh_config=str(SSH_CONFIG), controlpath=f"{self._sockets.name}/%%C", sudo=True
            )
        return self._hosts[name]

    def ssh(self, host: str, command: str) -> list[str]:
        """Return the command line that runs a command on a host as root."""
        return [*self._ssh(), host, f"sudo {command}"]

    def unreachable(self) -> list[str]:
        """Return the hosts that SSH does not reach, each with the reason."""
        wrong = []
        for host in self.names:
            done = subprocess.run(self.ssh(host, "true"), capture_output=True, text=True, check=False, timeout=30)
            if done.returncode:
                wrong.append(f"{host}: {done.stderr.strip()}")
        return wrong

    def _ssh(self) -> list[str]:
        options = ["ConnectTimeout=10", "ControlMaster=auto", f"ControlPath={self._sockets.name}/%C"]
        return ["ssh", "-F", str(SSH_CONFIG), *(word for option in options for word in ("-o", option))]

    def disconnect(self, host: str) -> None:
        """Close the kept connection to a host, before it goes away."""
        subprocess.run([*self._ssh(), "-O", "exit", host], capture_output=True, check=False, timeout=20)

    def program(self, name: str) -> tuple[list[str], str]:
        """Return how to start a program of remote/ on a host (to be passed to ssh) and what its input begins with."""
        source = (REMOTE / f"{name}.py").read_text(encoding="utf-8")
        return ["python3", "-u", "-c", shlex.quote(LAUNCH)], f"{len(source)}\n{source}"

    def remote(self, host: str, name: str, seconds: float = 120.0, **values: Any) -> Any:
        """Run a program of remote/ on a host as root and return what it prints as JSON.

        Values travel over stdin: secrets among them are in no command line.
        """
        command, begin = self.program(name)
        done = subprocess.run(
            self.ssh(host, " ".join(command)),
            input=begin + json.dumps(values) + "\n",
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        assert done.returncode == 0, f"{name} on {host}: {done.stderr}"
        return json.loads(done.stdout)

    @contextlib.contextmanager
    def talk(self, host: str, name: str, seconds: float = 20.0, **values: Any) -> Iterator[Callable[[str], str]]:
        """Run a program of remote/ that answers each line with a line, until the end of the context."""
        command, begin = self.program(name)
        with subprocess.Popen(
            self.ssh(host, " ".join(command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin and process.stdout
            process.stdin.write(begin + json.dumps(values) + "\n")

            def ask(line: str) -> str:
                assert process.stdin and process.stdout
                process.stdin.write(line + "\n")
                process.stdin.flush()
                ready, _, _ = select.select([process.stdout], [], [], seconds)
                assert ready, f"{name} on {host} has not answered for {seconds:.0f} s"
                return process.stdout.readline().strip()

            try:
                yield ask
                process.stdin.close()
                process.wait(timeout=seconds)
            finally:
                # The program ends with its connection.
                process.kill()

    def command(self, host: str, argv: Iterable[str], **values: Any) -> Any:
        """Run a command on a host; `env` and `input` may hold secrets. Returns rc, stdout and stderr."""
        return self.remote(host, "command", argv=list(argv), **values)

    def psql(
        self,
        client: str,
        server: str,
        sql: str,
        *,
        user: str = "",
        password: str | None = None,
        tls: str = f"sslcert={TLS}/host.crt sslkey={TLS}/host.key",
        mode: str = "verify-full",
    ) -> Any:
        """Ask a server over the network, from a client, as the application unless another user is named."""
        user = user or "nano"
        secret = self.secrets()["postgresql_application_password"] if password is None else password
        where = f"host={server} dbname=nano user={user} connect_timeout=5 sslmode={mode} sslrootcert={TLS}/ca.crt {tls}"
        argv = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", where]
        return self.command(client, argv, env={"PGPASSWORD": secret}, input=sql)

    def admin(self, host: str, sql: str, database: str = "postgres") -> str:
        """Ask a database server as its administrator, over its socket."""
        found = self.command(host, ["psql", "-XAtq", "-U", "postgres", "-d", database], input=sql)
        assert found["rc"] == 0, f"psql on {host}: {found['stderr']}"
        return str(found["stdout"]).strip()

    def redis(self, client: str, server: str, commands: str, *, user: str = "", password: str | None = None) -> str:
        """Send lines of commands to a Redis over TLS, as the application unless another user is named.

        An empty user sends no name and no password at all when the password is empty too.
        """
        secret = self.secrets()["redis_password"] if password is None else password
        argv = ["redis-cli", "--tls", "--cacert", f"{TLS}/ca.crt", "--cert", f"{TLS}/host.crt"]
        argv += ["--key", f"{TLS}/host.key", "-h", server, *(["--user", user or "nano"] if secret else [])]
        env = {"REDISCLI_AUTH": secret} if secret else {}
        found = self.command(client, argv, env=env, input=commands)
        return f"{found['stdout']}{found['stderr']}".strip()

    def api(self, path: str, **parameters: str) -> Any:
        """Ask Prometheus's HTTP API over mutual TLS and return its data."""
        host = self.group("prometheus")[0]
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        done = self.host(host).run(f"{CURL} --fail-with-body %s", f"https://{host}:9090/api/v1/{path}{query}")
        assert done.rc == 0, f"Prometheus: {done.stderr} {done.stdout}"
        return json.loads(done.stdout)["data"]

    def promql(self, query: str) -> list[dict[str, Any]]:
        """Return the series of an instant query: `metric` (labels) and `value` (float)."""
        found = self.api("query", query=query)["result"]
        return [{"metric": item["metric"], "value": float(item["value"][1])} for item in found]

    def targets_scraped_since(self, moment: datetime.datetime) -> list[dict[str, Any]]:
        """Return Prometheus's targets once each was scraped after a moment (UTC), else nothing."""
        found: list[dict[str, Any]] = self.api("targets")["activeTargets"]
        # Both are texts of one form, down to the second.
        since = f"{moment:%Y-%m-%dT%H:%M:%S}"
        return found if all(target["lastScrape"][: len(since)] > since for target in found) else []

    def says(self, service: str, host: str) -> str:
        """Return what a service answers to its host's certificate, "" if it does not answer."""
        known = SERVICES[service]
        place = {"service": service, "host": host, "port": known.port, "protocol": known.protocol, "page": known.page}
        found = self.remote(host, "probe", identities=[{"name": "host", "own": True}], places=[place])
        return str(found[0]["answer"])

    def main_pids(self, host: str) -> dict[str, int]:
        """Return unit to main process of each of our units that runs on a host."""
        units = [
            *(service.unit for service in SERVICES.values()),
            "nano-heartbeat",
            "nano-primary-guard",
            "otel_collector",
            "nano-dns-follow",
        ]
        found = self.host(host).run(f"systemctl show {' '.join(units)} --property=Id,MainPID").stdout
        pids = {}
        for block in found.split("\n\n"):
            fields = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
            if fields.get("MainPID", "0") != "0":
                pids[fields["Id"].removesuffix(".service")] = int(fields["MainPID"])
        return pids
