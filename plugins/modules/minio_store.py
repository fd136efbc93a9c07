"""Buckets of a MinIO store, its users, and what each of them may do."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nano.ops.plugins.module_utils import minio_iam, minio_policy, s3_buckets
from ansible_collections.nano.ops.plugins.module_utils.minio_work import survey
from ansible_collections.nano.ops.plugins.module_utils.s3 import StoreError, UnreachableError, connect

DOCUMENTATION = r"""
module: minio_store
short_description: Buckets of a MinIO store, its users, and what each of them may do
version_added: 0.1.0
author: nano.ops contributors
description:
  - Compares everything with the store first, and changes only what differs.
  - A bucket is never deleted, versioning or object lock never switched off, and a lock of new objects never shortened
    or weakened; asking for it fails before any change.
  - A user that is not named goes if this module has made it, which a policy called C(nano-ops-) and its access key
    says. Other users, policies and buckets are left alone, and so are rules of a lifecycle whose ids begin otherwise.
  - A changed secret ends the temporary keys that were made with the old one.
options:
  url:
    description: Address of the store, https.
    type: str
    required: true
  region:
    description: Region of the store.
    type: str
    default: us-east-1
  ca_file:
    description: Certificates that the store is checked against.
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
    description: How long a store that is still starting is waited for, in seconds.
    type: int
    default: 30
  buckets:
    description: The buckets.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the bucket.
        type: str
        required: true
      versioning:
        description: Whether old versions of objects are kept.
        type: bool
        default: true
      noncurrent_days:
        description: Days after which an old version goes; 0 keeps it for good.
        type: int
        default: 0
      expire_days:
        description: Prefix of objects to days after which they go.
        type: dict
        default: {}
      object_lock:
        description: Whether objects can be locked against deletion. Decided when the bucket is made.
        type: bool
        default: false
      lock_mode:
        description: >-
          How new objects are locked. C(compliance) is taken back by nobody, C(governance) by the administrator.
        type: str
        choices: [compliance, governance]
        default: compliance
      lock_days:
        description: Days that a new object is locked for; 0 locks none that its writer does not lock.
        type: int
        default: 0
      transition_days:
        description: Prefix of objects to days after which they move to C(transition_class).
        type: dict
        default: {}
      transition_class:
        description: A storage class of the store.
        type: str
        default: ""
  users:
    description: The users.
    type: list
    elements: dict
    default: []
    suboptions:
      access_key:
        description: Its access key.
        type: str
        required: true
      secret:
        description: Its secret.
        type: str
        required: true
      buckets:
        description: >-
          What it may use, each with C(name), C(access) (C(read), C(write) or C(readwrite)) and C(delete), which is
          false unless said.
        type: list
        elements: dict
        default: []
      metrics:
        description: Whether it may read the store's metrics.
        type: bool
        default: false
      replicates:
        description: Buckets that another store may hand over its objects to by this user.
        type: list
        elements: str
        default: []
attributes:
  check_mode:
    description: Tells what would change. A store that does not run yet is taken for an empty one.
    support: full
  diff_mode:
    description: Shows buckets, users and policies, and that a secret changes; no secret.
    support: full
"""

EXAMPLES = r"""
- name: Give the application its bucket
  nano.ops.minio_store:
    url: https://10.0.1.33:9000
    access_key_file: /etc/nano/minio/root_user
    secret_file: /etc/nano/minio/root_password
    buckets: [{name: uploads, noncurrent_days: 30}]
    users:
      - access_key: application
        secret: "{{ vault_application_s3_secret }}"
        buckets: [{name: uploads, access: readwrite}]
"""

RETURN = r"""
changes:
  description: What was changed, or would be, a few words each.
  returned: success
  type: list
  elements: str
"""

GRANT = {
    "name": {"type": "str", "required": True},
    "access": {"type": "str", "required": True, "choices": ["read", "write", "readwrite"]},
    "delete": {"type": "bool", "default": False},
}
USER = {
    "access_key": {"type": "str", "required": True, "no_log": False},
    "secret": {"type": "str", "required": True, "no_log": True},
    "buckets": {"type": "list", "elements": "dict", "default": [], "options": GRANT},
    "metrics": {"type": "bool", "default": False},
    "replicates": {"type": "list", "elements": "str", "default": []},
}
BUCKET = {
    "name": {"type": "str", "required": True},
    "versioning": {"type": "bool", "default": True},
    "noncurrent_days": {"type": "int", "default": 0},
    "expire_days": {"type": "dict", "default": {}},
    "object_lock": {"type": "bool", "default": False},
    "lock_mode": {"type": "str", "choices": ["compliance", "governance"], "default": "compliance"},
    "lock_days": {"type": "int", "default": 0},
    "transition_days": {"type": "dict", "default": {}},
    "transition_class": {"type": "str", "default": ""},
}


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
            "buckets": {"type": "list", "elements": "dict", "default": [], "options": BUCKET},
            "users": {"type": "list", "elements": "dict", "default": [], "options": USER},
        },
        supports_check_mode=True,
    )
    params = module.params
    buckets = [s3_buckets.Bucket(**entry) for entry in params["buckets"]]
    users = [minio_policy.user(entry) for entry in params["users"]]
    started = False
    try:
        store = connect(params, module.check_mode)
        try:
            work = survey(store, buckets, users)
        except UnreachableError:
            if not module.check_mode:
                raise
            work = survey(None, buckets, users)
        if store and not module.check_mode:
            started = bool(work.changes)
            for bucket, found in work.buckets:
                s3_buckets.apply(store, bucket, found)
            minio_iam.apply(store, work.users)
    except StoreError as error:
        module.fail_json(msg=str(error), changed=started)
    module.exit_json(changed=bool(work.changes), changes=work.changes, diff=work.diff(users))


if __name__ == "__main__":
    main()
