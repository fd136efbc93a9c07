"""Files are written whole, checked, and all together or not at all."""

from __future__ import annotations

import getpass
import grp
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.nano.ops.plugins.module_utils import pending
from ansible_collections.nano.ops.plugins.module_utils.files import Change, FilesError, directory, link, prune, write
from ansible_collections.nano.ops.plugins.modules.packages import missing

from .conftest import ROOT
from .modules import run_module

ME = {"owner": getpass.getuser(), "group": grp.getgrgid(os.getgid()).gr_name}
SECRET = "not-for-the-journal"


def entry(dest: Path, content: str, **more: object) -> dict:
    return {"dest": str(dest), "content": content, "mode": "0640", "validate": "", "private": False, **ME, **more}


def apply(entries: list[dict], check: bool = False) -> Change:
    change = Change(check)
    write(entries, change)
    return change


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_second_write_changes_nothing(tmp_path: Path) -> None:
    files = [entry(tmp_path / "a", "one\n"), entry(tmp_path / "b", "two\n")]
    assert apply(files).paths == [str(tmp_path / "a"), str(tmp_path / "b")]
    before = (tmp_path / "a").stat()
    assert apply(files).paths == []
    assert (tmp_path / "a").stat().st_ino == before.st_ino
    assert oct(before.st_mode & 0o777) == "0o640"
    assert names(tmp_path) == ["a", "b"]


def test_wrong_mode_is_put_right_without_touching_the_text(tmp_path: Path) -> None:
    path = tmp_path / "a"
    apply([entry(path, "one\n")])
    path.chmod(0o666)
    inode = path.stat().st_ino
    assert apply([entry(path, "one\n")]).paths == [str(path)]
    assert (path.stat().st_mode & 0o777, path.stat().st_ino) == (0o640, inode)


def test_file_that_its_checker_refuses_replaces_nothing(tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    apply([entry(good, "old\n"), entry(bad, "old\n")])
    checker = f"{sys.executable} -c 'import sys; sys.exit(sys.argv[1] + \": line 3 is odd\")' %s"
    with pytest.raises(FilesError, match=r"bad is refused by its checker, nothing was written.*line 3 is odd") as error:
        apply([entry(good, "new\n"), entry(bad, "new\n", validate=checker)])
    assert f"{bad}: line 3" in str(error.value), "the message names the file itself, not the copy that was checked"
    assert (good.read_text(), bad.read_text(), names(tmp_path)) == ("old\n", "old\n", ["bad", "good"])


def test_check_run_writes_nothing_but_runs_the_checker(tmp_path: Path) -> None:
    path = tmp_path / "a"
    apply([entry(path, "old\n")])
    change = apply([entry(path, "new\n", validate="/bin/true %s")], check=True)
    assert (change.paths, path.read_text(), names(tmp_path)) == ([str(path)], "old\n", ["a"])
    assert (change.diffs[0]["before"], change.diffs[0]["after"]) == ("old\n", "new\n")
    with pytest.raises(FilesError):
        apply([entry(path, "new\n", validate="/bin/false %s")], check=True)


def test_check_run_on_a_bare_host_needs_neither_user_nor_folder_nor_checker(tmp_path: Path) -> None:
    files = [
        entry(tmp_path / "later/a", "x"),
        entry(tmp_path / "b", "x", owner="nobody-yet"),
        entry(tmp_path / "c", "x", validate="/not/installed/yet %s"),
    ]
    assert len(apply(files, check=True).paths) == 3
    assert names(tmp_path) == []


def test_text_of_a_private_file_is_in_no_diff(tmp_path: Path) -> None:
    change = apply([entry(tmp_path / "a", SECRET, private=True)])
    again = apply([entry(tmp_path / "a", SECRET + "2", private=True)])
    assert SECRET not in json.dumps([change.diffs, again.diffs])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"owner": "nobody-such"}, "there is no user nobody-such"),
        ({"mode": "rw-r--r--"}, "is not octal"),
        ({"dest": "/proc/none/a"}, "the folder /proc/none does not exist"),
        ({"validate": "/bin/true"}, "validate has no %s"),
    ],
)
def test_wrong_entry_is_refused_in_words(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(FilesError, match=message):
        apply([{**entry(tmp_path / "a", "x"), **change}])
    assert names(tmp_path) == []


def test_link_replaces_a_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "localtime"
    path.write_text("x")
    change = Change(check=False)
    link({"dest": str(path), "link": "/usr/share/zoneinfo/UTC"}, change)
    assert os.readlink(path) == "/usr/share/zoneinfo/UTC"
    link({"dest": str(path), "link": "/usr/share/zoneinfo/UTC"}, change)
    assert change.paths == [str(path)]


def test_directory_is_made_with_its_parents(tmp_path: Path) -> None:
    wanted = {"path": str(tmp_path / "a/b"), "mode": "0750", **ME}
    change = Change(check=False)
    directory(wanted, change)
    directory(wanted, change)
    assert change.paths == [wanted["path"]]
    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o750


MARKER = "# Ours."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file of ours that is still written, one that is not, and what others put there."""
    folder = tmp_path / "rules"
    (folder / "ours.d").mkdir(parents=True)
    for name in ("kept.yml", "old.yml", "ours.d/deep.yml"):
        (folder / name).write_text(f"# Ansible managed\n{MARKER}\ngroups: []\n")
    (folder / "theirs.yml").write_text(f"groups: [] {MARKER}\n")
    (folder / "linked.yml").symlink_to(folder / "kept.yml")
    (folder / "binary").write_bytes(b"\xff\xfe\x00")
    return folder


def test_file_that_is_no_longer_written_is_taken_away_and_no_other(folder: Path, unit: Path) -> None:
    before, wanted = names(folder), {"path": str(folder), "marker": MARKER}
    for check in (True, False):
        change = Change(check, "web.service")
        prune(wanted, {str(folder / "kept.yml")}, change)
        assert change.paths == [str(folder / "old.yml")]
        assert (change.diffs[0]["after"], "groups: []" in change.diffs[0]["before"]) == ("", True)
        assert pending.waits("web.service") is not check, "a unit that still has it in memory is owed a reload"
        assert names(folder) == (before if check else sorted({*before} - {"old.yml"}))
    assert (folder / "ours.d/deep.yml").exists()
    again = Change(check=False)
    prune(wanted, {str(folder / "kept.yml")}, again)
    assert again.paths == []


def test_folder_that_is_not_there_yet_holds_nothing_to_take_away(tmp_path: Path) -> None:
    change = Change(check=True)
    prune({"path": str(tmp_path / "later"), "marker": MARKER}, set(), change)
    assert change.paths == []


def test_nothing_is_taken_away_when_a_file_is_refused(folder: Path) -> None:
    files = [{**entry(folder / "kept.yml", f"{MARKER}\nbroken\n"), "validate": "/bin/false %s"}]
    result = run_module("files", {"files": files, "prune": [{"path": str(folder), "marker": MARKER}]})
    assert result.failed
    assert "old.yml" in names(folder)


def test_packages_that_are_missing() -> None:
    listing = "redis-server\tinstall ok installed\nnginx\tdeinstall ok config-files\n"
    assert missing(["redis-server", "nginx", "bind9"], listing) == ["nginx", "bind9"]


def test_role_writes_its_templates(tmp_path: Path) -> None:
    """Through Ansible itself: template, copy and content, twice, and a mistake."""
    for name, text in {
        "templates/a.j2": "{{ ansible_managed }}: {{ word }}\n",
        "files/b": "as it is {{ word }}\n",
    }.items():
        path = tmp_path / "roles/r" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    out = tmp_path / "out"
    out.mkdir()
    tasks = [
        {
            "nano.ops.files": {
                "files": [
                    {"dest": f"{out}/a", "template": "a.j2", **ME},
                    {"dest": f"{out}/b", "copy": "b", **ME},
                    {"dest": f"{out}/c", "content": "{{ word }}{{ extra | default('') }}", "private": True, **ME},
                ]
            },
            "register": "written",
        },
        {"ansible.builtin.debug": {"msg": "changed {{ written.changed_paths | map('basename') | join(' ') }}."}},
    ]
    (tmp_path / "roles/r/tasks").mkdir()
    (tmp_path / "roles/r/tasks/main.yml").write_text(json.dumps(tasks))
    play = [{"hosts": "localhost", "gather_facts": False, "vars": {"word": "hello"}, "roles": ["r"]}]
    (tmp_path / "play.yml").write_text(json.dumps(play))

    def run(*argv: str) -> str:
        done = subprocess.run(
            [
                str(Path(sys.executable).with_name("ansible-playbook")),
                "-i",
                "localhost,",
                "-c",
                "local",
                *argv,
                "play.yml",
            ],
            cwd=tmp_path,
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}
            | {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"), "ANSIBLE_PYTHON_INTERPRETER": sys.executable},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr

    assert "changed a b c." in run()
    assert (out / "a").read_text() == "Ansible managed: hello\n"
    assert (out / "b").read_text() == "as it is {{ word }}\n", "a copy is not filled in"
    assert "changed ." in run()
    output = run("-vvv", "-e", "extra=" + SECRET)
    assert "changed c." in output
    assert SECRET not in output, "not even -vvv shows the text of a private file"


@pytest.fixture
def unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A unit that has been running for a while; its file holds when it was started, in microseconds."""
    started = tmp_path / "started"
    started.write_text("1000")
    systemctl = tmp_path / "bin/systemctl"
    systemctl.parent.mkdir()
    text = f"#!/bin/sh\nread -r t < {started}\necho ActiveState=active\necho ExecMainStartTimestampMonotonic=$t\n"
    systemctl.write_text(text)
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{systemctl.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(pending, "PLACE", tmp_path / "run")
    return started


def test_files_that_a_cut_off_run_wrote_are_still_owed_to_their_unit(tmp_path: Path, unit: Path) -> None:
    assert not pending.waits("web.service")
    write([entry(tmp_path / "a", "new\n")], Change(check=False, unit="web.service"))
    assert pending.waits("web.service")
    unit.write_text(str(time.monotonic_ns() // 1000 + 1))
    assert not pending.waits("web.service"), "it was started since"
    unit.write_text("1000")
    pending.clear("web.service")
    assert not pending.waits("web.service"), "it was reloaded since"


def test_nothing_is_owed_when_nothing_was_written(tmp_path: Path, unit: Path) -> None:
    apply([entry(tmp_path / "a", "old\n")])
    write([entry(tmp_path / "a", "old\n")], Change(check=False, unit="web.service"))
    write([entry(tmp_path / "a", "new\n")], Change(check=True, unit="web.service"))
    with pytest.raises(FilesError):
        write([entry(tmp_path / "a", "new\n", validate="/bin/false %s")], Change(check=False, unit="web.service"))
    assert not pending.waits("web.service")
