"""What role minio makes of an inventory: who the other stores are, what goes to them, and by which user."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import ROOT

ROLE = ROOT / "roles/minio"
NAMES = ("__minio_peers", "__minio_replicated", "__minio_users", "__minio_buckets", "__minio_problems")
BUCKETS = [{"name": "uploads", "replicate": True, "noncurrent_days": 30}, {"name": "logs", "versioning": False}]
GIVEN = {"minio_root_password": "a-good-password", "minio_buckets": BUCKETS}
SECRET = {"minio_replication_secret": "a-good-secret"}


def computed(folder: Path, hosts: dict[str, Any], **variables: Any) -> dict[str, dict[str, Any]]:
    """Return what the role's internal variables are on each host."""
    inventory = {"all": {"children": {"minio": {"hosts": hosts}}}}
    pairs = ", ".join(f"'{name}': {name}" for name in NAMES)
    shown = {
        "dest": str(folder / "{{ inventory_hostname }}"),
        "content": f"{{{{ {{{pairs}}} | to_json }}}}",
        "mode": "0600",
    }
    play = {
        "hosts": "minio",
        "connection": "local",
        "gather_facts": False,
        "vars_files": [str(ROLE / "defaults/main.yml"), str(ROLE / "vars/main.yml")],
        "tasks": [{"ansible.builtin.copy": shown}],
    }
    (folder / "hosts.json").write_text(json.dumps(inventory))
    (folder / "play.json").write_text(json.dumps([play]))
    argv = ["ansible-playbook", "-i", str(folder / "hosts.json"), str(folder / "play.json")]
    argv += ["-e", json.dumps({**GIVEN, **variables})]
    env = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
    }
    done = subprocess.run(argv, env=env, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return {host: json.loads((folder / host).read_text()) for host in hosts}


def test_each_member_hands_over_to_the_others_at_their_private_addresses(tmp_path: Path) -> None:
    hosts = {
        "store1": {"ansible_host": "203.0.113.33", "host_address": "10.0.1.33"},
        "store2": {"ansible_host": "198.51.100.23"},
        "store3": {"ansible_host": "192.0.2.3"},
    }
    found = computed(tmp_path, hosts, **SECRET)
    assert {host: [(peer["name"], peer["url"]) for peer in own["__minio_peers"]] for host, own in found.items()} == {
        "store1": [("store2", "https://198.51.100.23:9000"), ("store3", "https://192.0.2.3:9000")],
        "store2": [("store1", "https://10.0.1.33:9000"), ("store3", "https://192.0.2.3:9000")],
        "store3": [("store1", "https://10.0.1.33:9000"), ("store2", "https://198.51.100.23:9000")],
    }
    own = found["store1"]
    assert (own["__minio_replicated"], own["__minio_problems"]) == (["uploads"], [])
    assert own["__minio_users"] == [
        {"access_key": "nano-replication", "secret": "a-good-secret", "replicates": ["uploads"]}
    ]
    # What is said of the other stores is not for the module that makes buckets.
    assert own["__minio_buckets"] == [{"name": "uploads", "noncurrent_days": 30}, {"name": "logs", "versioning": False}]


@pytest.mark.parametrize(("hosts", "wrong"), [(1, 0), (2, 1)])
def test_secret_is_missed_only_where_there_is_another_store(tmp_path: Path, hosts: int, wrong: int) -> None:
    found = computed(
        tmp_path, {f"store{number}": {"ansible_host": f"10.0.0.{number}"} for number in range(1, hosts + 1)}
    )
    texts = found["store1"]["__minio_problems"]
    assert len(texts) == wrong and all("minio_replication_secret: missing" in text for text in texts)
    assert found["store1"]["__minio_users"] == []
