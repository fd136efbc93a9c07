"""The maintainer's check of the upstreams, against a server that lays out as they do."""

from __future__ import annotations

import pytest

from lab import upstream as checker
from lab.common import LabError

from .test_program import BINARY, entry, no_pause  # noqa: F401
from .upstream import serve, sha256, tar


def release(folder: str) -> dict[str, bytes]:
    files = {}
    sums = ""
    for arch in ("amd64", "arm64"):
        name = f"tool-1.0.0.linux-{arch}"
        bundle = tar({f"{name}/tool": BINARY + arch.encode()})
        files[f"{folder}/{name}.tar.gz"] = bundle
        sums += f"{sha256(bundle)}  {name}.tar.gz\n"
    files[f"{folder}/sha256sums.txt"] = sums.encode()
    return files


def test_good_release_is_named_with_the_sum_to_pin(capsys: pytest.CaptureFixture[str]) -> None:
    files = release("v1.0.0")
    with serve(files) as (url, _):
        pin = {"1.0.0": {"amd64": sha256(files["v1.0.0/tool-1.0.0.linux-amd64.tar.gz"])}}
        checker.check({"tool": {**entry(url=url + "/v{version}", checksums=pin), "version": "1.0.0"}})
    shown = capsys.readouterr().out
    assert "tool 1.0.0 amd64: good, as pinned" in shown
    assert f"arm64: good, not pinned, SHA-256 {sha256(files['v1.0.0/tool-1.0.0.linux-arm64.tar.gz'])}" in shown


def test_release_that_changed_fails_and_the_others_are_still_checked(capsys: pytest.CaptureFixture[str]) -> None:
    with serve(release("v1.0.0")) as (url, _):
        one = {**entry(url=url + "/v{version}"), "version": "1.0.0"}
        bad = {**one, "checksums": {"1.0.0": {"amd64": "0" * 64}}}
        with pytest.raises(LabError, match=r"1 releases are not.*bad 1.0.0 amd64"):
            checker.check({"bad": bad, "tool": one})
    shown = capsys.readouterr().out
    assert "0" * 64 in shown, "both sums are shown"
    assert shown.count(": good") == 3


def test_release_that_is_gone_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with serve({}) as (url, _), pytest.raises(LabError, match="2 releases"):
        checker.check({"tool": {**entry(url=url + "/v{version}"), "version": "1.0.0"}})
    assert "404" in capsys.readouterr().out
