"""Documentation of the action plugin of the same name, which does the work on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: platform_archive
short_description: Keep folders of the controller on a host, encrypted with the vault's password
version_added: 0.1.0
author: nano.ops contributors
description:
  - Packs folders of the controller, such as the inventory with its vault and the CA, encrypts the archive with
    Ansible's vault and puts it on the host as C(TIME-DIGEST.vault). Nothing leaves the controller unencrypted.
  - C(ansible-vault decrypt --output - FILE | tar -xz) opens it; the vault's password is all that is needed. With
    several vault passwords it is the one of the first C(--vault-id).
  - An archive of the same content that is there is left alone, so that nothing changes as long as nothing has changed.
    Older archives stay; who keeps the folder deletes them by age.
options:
  directories:
    description: Name in the archive to the folder on the controller.
    type: dict
    required: true
  dest:
    description: Folder on the host; it is made if it is missing.
    type: path
    required: true
  owner:
    description: Owner of folder and archive.
    type: str
    default: root
  group:
    description: Their group.
    type: str
    default: root
attributes:
  check_mode:
    description: Tells whether an archive would be written.
    support: full
  diff_mode:
    description: Nothing is shown of what is secret.
    support: none
"""

EXAMPLES = r"""
- name: Keep what the platform is built anew from
  nano.ops.platform_archive:
    directories: {inventory: "{{ inventory_dir }}", ca: "{{ host_ca_directory }}"}
    dest: /backups/platform
"""

RETURN = r"""
path:
  description: The archive on the host.
  returned: success
  type: str
"""
