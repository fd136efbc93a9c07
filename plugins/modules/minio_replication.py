"""Buckets of a MinIO store that are replicated to other stores."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nano.ops.plugins.module_utils import minio_peers, minio_replication
from ansible_collections.nano.ops.plugins.module_utils.s3 import Store, StoreError, UnreachableError, connect

DOCUMENTATION = r"""
module: minio_replication
short_description: Buckets of a MinIO store that are replicated to other stores
version_added: 0.1.0
author: nano.ops contributors
description:
  - Objects, their versions, marks of deletion and what is changed about an object go to every other store that is
    named, also what was there before. The deletion of a version stays where it was made.
  - Compares with the store first and changes only what differs. Another store is asked only if something about it has
    to be set; while it does not answer, or lacks bucket or user, that is left as it is and told by a warning.
  - A rule that leads to a store that is not named any more goes, with what the store knows of it. Rules whose ids do
    not begin with C(nano-ops-) stay, and so do targets of other users.
  - Needs C(python3-cryptography) where a target has to be set.
options:
  url:
    description: Address of the store, https.
    type: str
    required: true
  region:
    description: Region of the stores.
    type: str
    default: us-east-1
  ca_file:
    description: Certificates that the stores are checked against.
    type: path
    default: /etc/nano/tls/ca.crt
  access_key_file:
    description: File with the administrator's access key.
    type: path
    required: true
  secret_file:
    description: File with the administrator's secret.
    type: path
    required: true
  seconds:
    description: How long the store is waited for if it is still starting, in seconds.
    type: int
    default: 30
  buckets:
    description: Names of all buckets that are looked at.
    type: list
    elements: str
    default: []
  replicated:
    description: Names of those that go to the other stores, into buckets of the same name.
    type: list
    elements: str
    default: []
  peers:
    description: The other stores.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Its name, for rules and messages.
        type: str
        required: true
      url:
        description: Its address, https.
        type: str
        required: true
  user:
    description: Access key of the user who takes over objects there.
    type: str
    required: true
  user_secret:
    description: That user's secret.
    type: str
    default: ""
  send_again:
    description: >-
      Whether to send all that there is once more, for another store that was built anew, and the marks of deletion that
      it has missed. Always a change.
    type: bool
    default: false
attributes:
  check_mode:
    description: Tells what would change, without asking the other stores.
    support: full
  diff_mode:
    description: Shows the rules of each bucket.
    support: full
"""

EXAMPLES = r"""
- name: Replicate the files of the application
  nano.ops.minio_replication:
    url: https://10.0.1.33:9000
    access_key_file: /etc/nano/minio/root_user
    secret_file: /etc/nano/minio/root_password
    buckets: [uploads, logs]
    replicated: [uploads]
    peers: [{name: store2, url: "https://10.0.2.33:9000"}]
    user: replication
    user_secret: "{{ vault_replication_secret }}"
"""

RETURN = r"""
changes:
  description: What was changed, or would be, a few words each.
  returned: success
  type: list
  elements: str
waiting:
  description: What could not be set yet because of another store, a sentence each.
  returned: success
  type: list
  elements: str
"""

PEER = {"name": {"type": "str", "required": True}, "url": {"type": "str", "required": True}}


def survey(store: Store | None, params: dict[str, Any]) -> minio_peers.Work:
    """Compare what is wanted with the store, or with an empty one.

    Raises:
        StoreError: the store does not tell.
    """
    peers = [
        minio_replication.Peer(peer["name"], peer["url"], params["user"], params["user_secret"])
        for peer in params["peers"]
    ]
    return minio_peers.survey(store, params["buckets"], params["replicated"], peers, params["user"])


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "region": {"type": "str", "default": "us-east-1"},
            "ca_file": {"type": "path", "default": "/etc/nano/tls/ca.crt"},
            "access_key_file": {"type": "path", "required": True, "no_log": False},
            "secret_file": {"type": "path", "required": True, "no_log": False},
            "seconds": {"type": "int", "default": 30},
            "buckets": {"type": "list", "elements": "str", "default": []},
            "replicated": {"type": "list", "elements": "str", "default": []},
            "peers": {"type": "list", "elements": "dict", "default": [], "options": PEER},
            "user": {"type": "str", "required": True},
            "user_secret": {"type": "str", "default": "", "no_log": True},
            "send_again": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    params = module.params
    work = minio_peers.Work([], params["user"])
    try:
        store = connect(params, module.check_mode)
        try:
            work = survey(store, params)
        except UnreachableError:
            if not module.check_mode:
                raise
            work = survey(None, params)
        changes = work.intended()
        if store and not module.check_mode:

            def open_peer(peer: minio_replication.Peer) -> Store:
                return Store(peer.url, peer.keys(), params["ca_file"], params["region"], 0)

            minio_peers.apply(store, work, minio_peers.asker(open_peer))
            if params["send_again"]:
                minio_peers.send_again(store, work, open_peer)
            changes = work.changes
    except StoreError as error:
        module.fail_json(msg=str(error), changed=bool(work.changes))
    waiting = work.waiting()
    for text in waiting:
        module.warn(text)
    module.exit_json(changed=bool(changes), changes=changes, waiting=waiting, diff=work.diff())


if __name__ == "__main__":
    main()
