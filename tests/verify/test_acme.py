"""A certificate from an authority by ACME: asked for by the role, shown by nginx, renewed and asked for anew."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lab import mirror
from tests.verify.lab import Lab

pytestmark = pytest.mark.disturbs
HOST = "app2"
NAMES = ["shop.verify.example", "www.verify.example"]
UNIT, FOLDER = "nano-verify-pebble.service", "/var/tmp/nano-verify-pebble"
# The authority answers on loopback with the host's certificate, and asks nginx on port 80 as it would from outside.
CONFIG = {
    "pebble": {
        "listenAddress": "127.0.0.1:14000",
        "managementListenAddress": "127.0.0.1:15000",
        "certificate": "/etc/nano/tls/host.crt",
        "privateKey": "/etc/nano/tls/host.key",
        "httpPort": 80,
        "tlsPort": 443,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
    }
}
VARIABLES = {
    "nginx_certificate": "acme",
    "nginx_acme_server": "https://localhost:14000/dir",
    "nginx_acme_ca_file": "/etc/nano/tls/ca.crt",
    "nginx_acme_email": "operations@verify.example",
}
LEFT = "/etc/nano/nginx/acme-request /etc/nano/nginx/site.* /etc/systemd/system/certbot.service.d"
NGINX = ("site.yml", "--limit", HOST, "--tags", "nginx")


@pytest.fixture(scope="module")
def authority(lab: Lab, playbook: Callable[..., Any]) -> Iterator[None]:
    """An authority on the host, which finds the names there; afterwards nginx shows the platform's certificate."""
    host = lab.host(HOST)
    entry = mirror.catalogue()["pebble"]
    archive = f"/srv/mirror/pebble/{entry['version']}/{mirror.expand(entry['file'], entry, 'amd64')}"
    host.run_expect([0], "cp --preserve /etc/hosts /etc/hosts.verify")
    try:
        host.run_expect([0], f"mkdir -p {FOLDER} && tar -xzf {archive} -C {FOLDER} --strip-components=1")
        lab.command(HOST, ["tee", f"{FOLDER}/config.json"], input=json.dumps(CONFIG))
        host.run_expect([0], f"echo '{lab.address(HOST)} {' '.join(NAMES)}' >> /etc/hosts")
        # It refuses every twentieth question on purpose, to try the patience of clients.
        options = "--setenv=PEBBLE_WFE_NONCEREJECT=0 --setenv=PEBBLE_VA_NOSLEEP=1"
        host.run_expect([0], f"systemd-run --unit={UNIT} {options} {FOLDER}/pebble -config {FOLDER}/config.json")
        yield
    finally:
        run = playbook(*NGINX)
        host.run("systemctl stop %s", UNIT)
        # The engine has mounted it: it can be written, not replaced.
        host.run_expect([0], "cat /etc/hosts.verify > /etc/hosts && rm /etc/hosts.verify")
        host.run_expect([0], f"rm -rf {FOLDER} /etc/letsencrypt {LEFT}")
    assert run.rc == 0, run.output


def shown(lab: Lab, name: str) -> tuple[str, str, list[str]]:
    """Return issuer, serial number and names of the certificate that nginx shows for a name."""
    text = lab.host(HOST).check_output(
        f"openssl s_client -connect {lab.address(HOST)}:443 -servername {name} </dev/null 2>/dev/null"
        " | openssl x509 -noout -issuer -serial -ext subjectAltName"
    )
    return (
        re.findall(r"issuer=(.*)", text)[0],
        re.findall(r"serial=(\w+)", text)[0],
        sorted(re.findall(r"DNS:([\w.]+)", text)),
    )


def test_certificate_is_got_renewed_and_asked_for_anew(
    lab: Lab, playbook: Callable[..., Any], authority: None, eventually: Callable[..., Any]
) -> None:
    one = {**VARIABLES, "nginx_names": NAMES[:1]}
    run = playbook(*NGINX, extra_vars=one)
    assert run.rc == 0, run.output
    issuer, first, names = eventually(
        lambda: (found := shown(lab, NAMES[0])) and "Pebble" in found[0] and found, 20, "nginx shows another's"
    )
    assert names == NAMES[:1], issuer
    assert playbook(*NGINX, extra_vars=one).changed == [], "a second run asks again"

    # What certbot's timer starts, when the time has come.
    lab.host(HOST).run_expect([0], "systemctl cat certbot.service | grep -q REQUESTS_CA_BUNDLE")
    renewed = lab.host(HOST).run(
        "REQUESTS_CA_BUNDLE=/etc/nano/tls/ca.crt certbot renew --force-renewal --no-random-sleep-on-renew"
    )
    assert renewed.rc == 0, renewed.stdout + renewed.stderr
    eventually(lambda: shown(lab, NAMES[0])[1] != first, 20, "the renewed certificate is not shown")

    run = playbook(*NGINX, extra_vars={**VARIABLES, "nginx_names": NAMES})
    assert run.rc == 0, run.output
    eventually(lambda: shown(lab, NAMES[0])[2] == sorted(NAMES), 20, "the second name is not in the certificate")


def test_authority_that_refuses_is_told_and_the_certificate_stays(
    lab: Lab, playbook: Callable[..., Any], authority: None
) -> None:
    before = shown(lab, NAMES[0])
    run = playbook(*NGINX, extra_vars={**VARIABLES, "nginx_names": ["nowhere.verify.example"]})
    assert run.rc != 0 and "nowhere.verify.example" in run.output, run.output
    assert shown(lab, NAMES[0]) == before
