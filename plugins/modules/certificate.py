"""A host's key and certificate: looked at, asked for and put in place."""

from __future__ import annotations

import datetime
import grp
import ipaddress
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: certificate
short_description: Give a host its key and its certificate from the platform's CA
version_added: 0.1.0
author: nano.ops contributors
description:
  - The host makes its own key, the controller signs. A certificate that is right costs one round trip; it is renewed in
    the last third of its life, when its names change, or when the CA does.
  - The CA is made on the first run. Its key lies encrypted on the controller and never leaves it.
options:
  ca_directory:
    description: Folder of the CA on the controller.
    type: path
    required: true
  ca_passphrase:
    description: Passphrase of the CA's key, at least 16 characters.
    type: str
    required: true
  common_name:
    description: Common name, the inventory name of the host.
    type: str
    required: true
  names:
    description: DNS names that the certificate is for.
    type: list
    elements: str
    default: []
  addresses:
    description: IP addresses that the certificate is for.
    type: list
    elements: str
    default: []
  days:
    description: Life of the certificate in days.
    type: int
    default: 365
  renew:
    description: Renews whatever the age.
    type: bool
    default: false
  directory:
    description: Folder on the host for C(ca.crt), C(host.crt) and C(host.key).
    type: path
    default: /etc/nano/tls
  group:
    description: Group that may read the key.
    type: str
    default: nano-tls
attributes:
  check_mode:
    description: Tells whether a certificate would be made; makes neither CA nor key.
    support: full
  diff_mode:
    description: A certificate has no readable difference.
    support: none
"""

EXAMPLES = r"""
- name: Give the host its certificate
  nano.ops.certificate:
    ca_directory: "{{ inventory_dir }}/ca"
    ca_passphrase: "{{ host_ca_passphrase }}"
    common_name: "{{ inventory_hostname }}"
    names: ["{{ inventory_hostname }}"]
    addresses: ["{{ host_address }}"]
"""

RETURN = r"""
not_after:
  description: End of the certificate's life, RFC 3339, UTC.
  returned: when there is a certificate
  type: str
reason:
  description: Why it was made anew.
  returned: when changed
  type: str
"""


def openssl(*argv: str, content: str | None = None) -> str:
    """Run openssl and return what it prints.

    Raises:
        subprocess.CalledProcessError: it failed; its words are in stderr.
    """
    done = subprocess.run(["openssl", *argv], input=content, capture_output=True, text=True, check=True)
    return done.stdout


def dates(certificate: Path) -> tuple[datetime.datetime, datetime.datetime]:
    """Return begin and end of a certificate's life."""
    text = openssl("x509", "-in", str(certificate), "-noout", "-dates", "-dateopt", "iso_8601")
    begin, end = (
        datetime.datetime.fromisoformat(line.split("=", 1)[1].replace("Z", "+00:00").replace(" +", "+"))
        for line in text.splitlines()
    )
    return begin, end


def alternatives(certificate: Path) -> set[str]:
    """Return the names and addresses of a certificate."""
    text = openssl("x509", "-in", str(certificate), "-noout", "-ext", "subjectAltName")
    found = set(re.findall(r"DNS:([^,\s]+)", text))
    return found | {str(ipaddress.ip_address(item)) for item in re.findall(r"IP Address:([^,\s]+)", text)}


def why_renew(params: dict[str, Any], now: datetime.datetime) -> str:
    """Say why the certificate must be made anew, or "" if it is right."""
    place = Path(params["directory"])
    certificate, key, authority = place / "host.crt", place / "host.key", place / "ca.crt"
    if not certificate.exists() or not key.exists() or not authority.exists():
        return "there is none"
    if params["renew"]:
        return "renewal was asked for"
    if authority.read_text(encoding="ascii") != params["ca"]:
        return "the CA is another one"
    try:
        openssl("verify", "-no_check_time", "-CAfile", str(authority), str(certificate))
        begin, end = dates(certificate)
        if now >= end - (end - begin) / 3:
            return f"it ends on {end:%Y-%m-%d}, in the last third of its life"
        wanted = {*params["names"], *(str(ipaddress.ip_address(item)) for item in params["addresses"])}
        if alternatives(certificate) != wanted:
            return "its names or addresses have changed"
        public = openssl("x509", "-in", str(certificate), "-noout", "-pubkey")
        if openssl("pkey", "-in", str(key), "-pubout") != public:
            return "the key does not belong to it"
    except (subprocess.CalledProcessError, ValueError) as error:
        return f"it cannot be read or verified ({str(getattr(error, 'stderr', error)).strip()[-120:]})"
    return ""


def put(path: Path, content: str, mode: int, gid: int) -> None:
    """Write a file so that readers see the old one or the new one, and nobody sees a key with a wider mode."""
    descriptor, fresh = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(descriptor, "w", encoding="ascii") as handle:
        handle.write(content)
        os.fchown(descriptor, 0, gid)
        os.fchmod(descriptor, mode)
    Path(fresh).replace(path)


def permissions(place: Path, gid: int, check: bool) -> bool:
    """Mend mode and owner of the folder and its files; tell whether there was anything to mend."""
    changed = False
    for path, mode, group in (
        (place, 0o755, 0),
        (place / "ca.crt", 0o644, 0),
        (place / "host.crt", 0o644, 0),
        (place / "host.key", 0o640, gid),
    ):
        stat = path.stat()
        if (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid) != (mode, 0, group):
            changed = True
            if not check:
                os.chown(path, 0, group)
                path.chmod(mode)
    return changed


def request(place: Path, common_name: str) -> str:
    """Make the next key and return a request for it."""
    key = place / ".host.key.next"
    key.unlink(missing_ok=True)
    descriptor = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as handle:
        handle.write(openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"))
    return openssl("req", "-new", "-key", str(key), "-subj", f"/CN={common_name}")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "ca": {"type": "str", "required": True},
            "certificate": {"type": "str"},
            "common_name": {"type": "str", "required": True},
            "names": {"type": "list", "elements": "str", "default": []},
            "addresses": {"type": "list", "elements": "str", "default": []},
            "days": {"type": "int", "default": 365},
            "renew": {"type": "bool", "default": False},
            "directory": {"type": "path", "default": "/etc/nano/tls"},
            "group": {"type": "str", "default": "nano-tls"},
        },
        supports_check_mode=True,
    )
    params = module.params
    place = Path(params["directory"])
    if not shutil.which("openssl"):
        if module.check_mode:
            module.exit_json(changed=True, reason="there is none")
        module.fail_json(msg="openssl is missing on the host: apt install openssl")
    try:
        if params["certificate"]:
            gid = grp.getgrnam(params["group"]).gr_gid
            put(place / "ca.crt", params["ca"], 0o644, 0)
            put(place / "host.crt", params["certificate"], 0o644, 0)
            put(place / "host.key", (place / ".host.key.next").read_text(encoding="ascii"), 0o640, gid)
            (place / ".host.key.next").unlink()
            module.exit_json(changed=True, not_after=dates(place / "host.crt")[1].isoformat())
        reason = why_renew(params, datetime.datetime.now(datetime.UTC))
        if not reason:
            gid = grp.getgrnam(params["group"]).gr_gid
            mended = permissions(place, gid, module.check_mode)
            module.exit_json(changed=mended, not_after=dates(place / "host.crt")[1].isoformat())
        if module.check_mode:
            module.exit_json(changed=True, reason=reason)
        place.mkdir(parents=True, exist_ok=True, mode=0o755)
        module.exit_json(changed=True, reason=reason, request=request(place, params["common_name"]))
    except subprocess.CalledProcessError as error:
        module.fail_json(msg=f"openssl {error.cmd[1]} failed: {error.stderr.strip()}")
    except KeyError:
        module.fail_json(msg=f"group {params['group']} does not exist on the host")


if __name__ == "__main__":
    main()
