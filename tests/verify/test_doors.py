"""Who gets in: customers by their session, people by a login, S3's clients by a signature, and nobody else."""

from __future__ import annotations

import gzip
import secrets

import pytest
import requests

from tests.verify import shop
from tests.verify.controller import read_inventory
from tests.verify.lab import Lab

if "nginx" not in read_inventory():
    pytest.skip("the inventory has no group nginx", allow_module_level=True)

DOOR = "ops1"
PAGES = {
    "/ops/": "Prometheus",
    "/prometheus/api/v1/status/buildinfo": "version",
    "/alertmanager/api/v2/status": "uptime",
    "/jaeger/api/services": "data",
    "/grafana/": "",
}


def ask(lab: Lab, path: str, auth: tuple[str, str] | None = None, host: str = DOOR) -> requests.Response:
    """Ask a page from this machine, which has no certificate."""
    url = f"https://{lab.address(host)}{path}"
    return requests.get(url, auth=auth, verify=shop.CA, timeout=30, allow_redirects=False)


@pytest.mark.parametrize("path", PAGES)
def test_people_need_their_password(lab: Lab, path: str) -> None:
    password = lab.secrets()["nginx_door_password"]
    for auth in (None, ("operator", "a-guess-at-a-password"), ("somebody", password), ("operator", "")):
        assert ask(lab, path, auth).status_code == 401, auth and auth[0]
    answer = ask(lab, path, ("operator", password))
    if path == "/grafana/":
        # Where Grafana's archive can't be had, the door is there and what is behind it is not.
        assert answer.status_code in (200, 302, 502)
        return
    assert answer.status_code == 200 and PAGES[path] in answer.text


def test_door_has_secure_headers_and_tells_no_version(lab: Lab) -> None:
    answer = ask(lab, "/ops/", ("operator", lab.secrets()["nginx_door_password"]))
    assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Server"] == "nginx"


@pytest.mark.parametrize("host", ["app1", "app2", "ops1"])
def test_plain_http_leads_to_https(lab: Lab, host: str) -> None:
    answer = requests.get(f"http://{lab.address(host)}/v1/nanos?q=a", timeout=10, allow_redirects=False)
    assert answer.status_code == 308
    assert answer.headers["Location"] == f"https://{lab.address(host)}/v1/nanos?q=a"


def test_customers_see_no_page_of_the_operators(lab: Lab) -> None:
    for path in ("/metrics", "/prometheus/", "/ops/", "/status"):
        assert ask(lab, path, host="app1").status_code == 404, path


def test_customers_need_a_session(lab: Lab) -> None:
    assert ask(lab, "/v1/users/me", host="app1").status_code == 401
    forged = {"Authorization": f"Bearer {secrets.token_urlsafe(32)}"}
    answer = requests.get(f"{shop.url()}/v1/users/me", headers=forged, verify=shop.CA, timeout=10)
    assert answer.status_code == 401
    assert shop.join().ask("GET", "/v1/users/me").status_code == 200


def test_request_id_is_kept_if_it_is_one(lab: Lab) -> None:
    for sent, kept in (("verify-12345678", True), ("short", False), ('a"b\\cdefgh', False), ("x" * 65, False)):
        answer = requests.get(f"{shop.url()}/v1/nanos", headers={"X-Request-ID": sent}, verify=shop.CA, timeout=10)
        assert (answer.headers["X-Request-ID"] == sent) is kept, sent
        assert 8 <= len(answer.headers["X-Request-ID"]) <= 64


def test_public_answers_may_be_kept_and_are_compressed(lab: Lab) -> None:
    answer = ask(lab, "/v1/nanos", host="app1")
    assert answer.headers["Cache-Control"] == "public, max-age=300"
    page = requests.get(f"{shop.url()}/openapi.json", verify=shop.CA, timeout=10, stream=True)
    assert page.headers["Content-Encoding"] == "gzip"
    assert b'"openapi"' in gzip.decompress(page.raw.read())


def test_static_files_are_kept_for_a_year_and_served_in_parts(lab: Lab) -> None:
    name, content = f"verify-{secrets.token_hex(4)}.css", "p {}\n" * 1000
    done = lab.command("app1", ["tee", f"/srv/nano/static/{name}"], input=content)
    assert done["rc"] == 0, done["stderr"]
    try:
        url = f"{shop.url()}/static/{name}"
        answer = requests.get(url, headers={"Range": "bytes=5-9", "Accept-Encoding": ""}, verify=shop.CA, timeout=10)
        assert (answer.status_code, answer.text) == (206, "p {}\n")
        assert "max-age=31536000" in answer.headers["Cache-Control"]
        assert requests.get(f"{url}x", verify=shop.CA, timeout=10).headers["Cache-Control"] == "no-store"
    finally:
        lab.host("app1").run_expect([0], "rm %s", f"/srv/nano/static/{name}")


def test_file_is_uploaded_and_downloaded_in_parts(lab: Lab) -> None:
    seller, content = shop.join(), secrets.token_bytes(3 * 1024**2)
    nano = seller.ask("POST", "/v1/nanos", json=shop.DRAFT).json()["id"]
    put = seller.ask("PUT", f"/v1/nanos/{nano}/file", data=content, headers={"Content-Type": "image/png"})
    assert put.status_code == 200, put.text
    part = seller.ask("GET", f"/v1/nanos/{nano}/file", headers={"Range": "bytes=1000000-1000099"})
    assert (part.status_code, part.content) == (206, content[1000000:1000100])


def test_too_large_a_body_is_refused_with_a_reason(lab: Lab) -> None:
    seller = shop.join()
    answer = seller.ask("PUT", f"/v1/nanos/{secrets.token_hex(16)}/file", data=b"x" * (65 * 1024**2))
    assert answer.status_code == 413
    assert answer.headers["Content-Type"] == "application/problem+json" and answer.json()["request_id"]


def test_cold_host_says_that_nobody_is_there(lab: Lab) -> None:
    answer = ask(lab, "/v1/nanos", host="app2")
    assert answer.status_code == 502 and answer.headers["Content-Type"] == "application/problem+json"


def test_one_address_can_not_ask_without_end(lab: Lab) -> None:
    """From app2, whose own allowance nothing else uses; the application is not asked."""
    argv = ["curl", "--silent", "--insecure", "--parallel", "--parallel-max", "50", "--output", "/dev/null"]
    argv += ["--write-out", "%{http_code}\n", "https://app2/v1/nanos?n=[1-2500]"]
    done = lab.command("app2", argv)
    assert "429" in done["stdout"].split() and "502" in done["stdout"].split()
