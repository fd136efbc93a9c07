"""Speak to many services as somebody, and print for each what it answered, or why it did not.

A server that refuses a client's certificate does so after its own half of a TLS 1.3 handshake: only a request tells.
"""

import concurrent.futures
import json
import os
import socket
import ssl
import struct
import sys
import tempfile

CA = "/etc/nano/tls/ca.crt"
REQUESTS = {
    "https": b"GET %(page)s HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n",
    # The preface of HTTP/2 with empty settings; a server answers with its own.
    "grpc": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5),
    "redis": b"PING\r\n",
    # It speaks first. Without TLS, this is what it refuses: less than a head of TLS it would wait for the rest of.
    "pgbackrest": b'{"cmd":"noop"}\n',
    # Protocol 3.0: length, version, then names and values.
    "postgresql": struct.pack("!ii", 33, 196608) + b"user\0nano\0database\0nano\0\0",
}
values = json.loads(sys.stdin.readline())


def context(identity, folder, protocol):
    made = ssl.create_default_context(cafile=CA)
    if protocol == "grpc":
        # It turns everybody away who does not name HTTP/2 in the handshake.
        made.set_alpn_protocols(["h2"])
    if identity.get("maximum"):
        made.maximum_version = ssl.TLSVersion[identity["maximum"]]
    if identity.get("pem"):
        path = os.path.join(folder, identity["name"])
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "w") as handle:
            handle.write(identity["pem"])
        made.load_cert_chain(path)
    elif identity.get("own"):
        made.load_cert_chain("/etc/nano/tls/host.crt", "/etc/nano/tls/host.key")
    return made


def converse(tls, place, protocol, listen_first):
    request = REQUESTS[protocol].replace(b"%(page)s", place.get("page", "/metrics").encode())
    with socket.create_connection((place["host"], place["port"]), timeout=10) as plain:
        if tls is None:
            plain.sendall(request)
            return plain.recv(200)
        if protocol == "postgresql":
            plain.sendall(struct.pack("!ii", 8, 80877103))
            assert plain.recv(1) == b"S", "no TLS offered"
        with tls.wrap_socket(plain, server_hostname=place["host"]) as secure:
            if listen_first:
                return secure.recv(200)
            secure.sendall(request)
            return secure.recv(200)


def ask(work):
    identity, tls, place = work
    tls = None if identity.get("plain") else tls[place["protocol"]]
    try:
        try:
            answer = converse(tls, place, place["protocol"], False)
        except (ConnectionResetError, BrokenPipeError):
            # It closed while the request was under way, and its reason got lost: listen instead.
            answer = converse(tls, place, place["protocol"], True)
    except OSError as error:
        return {"answer": "", "error": str(error)}
    text = answer.decode("ascii", "replace")
    return {"answer": text, "error": "" if text else "closed without an answer"}


with tempfile.TemporaryDirectory() as folder:
    works = [
        (identity, tls, place)
        for identity, tls in [
            (identity, {name: context(identity, folder, name) for name in REQUESTS})
            for identity in values["identities"]
        ]
        for place in values["places"]
    ]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, works))
print(
    json.dumps(
        [
            {"identity": identity["name"], "service": place["service"], "host": place["host"], **answer}
            for (identity, _, place), answer in zip(works, answers, strict=True)
        ]
    )
)
