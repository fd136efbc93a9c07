"""Fixtures of the tests on a running lab; order: what only looks, what disturbs, what looks at all of it afterwards."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

from tests.verify.controller import INVENTORY, ROOT, environment, read_inventory
from tests.verify.lab import Lab

PLAYBOOK_SECONDS = 600


def pytest_configure(config: pytest.Config) -> None:
    """Name the markers."""
    config.addinivalue_line("markers", "disturbs: changes the lab for a while; runs after the tests that only look")
    config.addinivalue_line("markers", "last: looks at what all others have left")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by how much a test disturbs; within that, by file."""

    def stage(item: pytest.Item) -> int:
        return 2 if item.get_closest_marker("last") else int(bool(item.get_closest_marker("disturbs")))

    items.sort(key=stage)


@dataclass(frozen=True)
class Run:
    """How a playbook ended."""

    rc: int
    output: str

    @property
    def changed(self) -> list[str]:
        """The hosts that something was changed on, from the recap."""
        recap = [line for line in self.output.splitlines() if " changed=" in line and " unreachable=" in line]
        return [line.split()[0] for line in recap if " changed=0 " not in line]


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The lab."""
    found = Lab(read_inventory())
    wrong = found.unreachable()
    assert not wrong, "not every host of the lab is reached by SSH; `make up` starts them: " + "; ".join(wrong)
    yield found
    found.close()


@pytest.fixture(scope="session")
def inventory(lab: Lab) -> Mapping[str, Any]:
    """The lab's inventory."""
    return lab.inventory


@pytest.fixture(scope="session")
def host_of(lab: Lab) -> Callable[[str], Host]:
    """Testinfra's view of a host, by name."""
    return lab.host


@pytest.fixture(scope="session")
def hosts(lab: Lab) -> dict[str, Host]:
    """Testinfra's view of all hosts."""
    return {name: lab.host(name) for name in lab.names}


@pytest.fixture(scope="session")
def promql(lab: Lab) -> Callable[[str], list[dict[str, Any]]]:
    """Series of an instant query."""
    return lab.promql


@pytest.fixture(scope="session")
def eventually() -> Callable[[Callable[[], Any], float, str], Any]:
    """Wait until a check returns something true and return it; fail with the message after some seconds."""

    def wait(check: Callable[[], Any], seconds: float, message: str) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            try:
                seen = check()
                if seen:
                    return seen
            except (AssertionError, RuntimeError, subprocess.SubprocessError) as error:
                seen = error
            if time.monotonic() > deadline:
                pytest.fail(f"{message}, after {seconds:.0f} s; last seen: {seen!r}")
            time.sleep(0.5)

    return wait


@pytest.fixture(scope="session")
def playbook(lab: Lab) -> Callable[..., Run]:
    """Run ansible-playbook as an operator does; no secret may be in what it prints."""

    def run(
        *arguments: str,
        extra_vars: Mapping[str, Any] | None = None,
        inventory: Path = INVENTORY,
        cwd: Path = ROOT,
    ) -> Run:
        argv = ["ansible-playbook", "--inventory", str(inventory), *arguments]
        if extra_vars:
            argv += ["--extra-vars", json.dumps(extra_vars)]
        done = subprocess.run(
            argv,
            cwd=cwd,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=PLAYBOOK_SECONDS,
        )
        leaked = [name for name, value in lab.secrets().items() if value in done.stdout]
        assert not leaked, f"ansible-playbook printed the values of {leaked}"
        return Run(done.returncode, done.stdout)

    return run


@pytest.fixture
def copied_inventory(tmp_path: Path) -> Path:
    """A copy of the lab's inventory that a test may spoil."""
    return Path(shutil.copytree(INVENTORY, tmp_path / "lab"))
