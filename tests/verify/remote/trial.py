"""Run a second copy of a service on loopback under an edited configuration, and ask it what the lines of the input say.

Each line is an object and is answered with one. `url`, perhaps with `data`, asks a page as the host; `files`
counts the files that match a pattern below the copy's folder; `restart` stops the copy and starts it again.
"""

import glob
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

TLS = "/etc/nano/tls"
READY_SECONDS = 90
values = json.loads(sys.stdin.readline())
context = ssl.create_default_context(cafile=f"{TLS}/ca.crt")
context.load_cert_chain(f"{TLS}/host.crt", f"{TLS}/host.key")
folder = tempfile.mkdtemp(prefix="nano-trial-", dir="/var/tmp")
copy = f"{folder}/config.yml"


def ask(url, data=None):
    body = None if data is None else json.dumps(data).encode()
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20, context=context if url.startswith("https") else None) as page:
            return {"status": page.status, "body": page.read().decode("utf-8", "replace")}
    except urllib.error.HTTPError as error:
        return {"status": error.code, "body": error.read().decode("utf-8", "replace")}
    except OSError as error:
        return {"status": 0, "body": str(error)}


def start():
    with open(f"{folder}/log", "a") as log:
        process = subprocess.Popen(
            [word.replace("CONFIG", copy) for word in values["argv"]],
            stdout=log,
            stderr=log,
            cwd=folder,
            user=values["user"],
            group=values["user"],
            extra_groups=["nano-tls"],
        )
    deadline = time.monotonic() + READY_SECONDS
    while ask(values["ready"])["status"] != 200:
        if process.poll() is not None or time.monotonic() > deadline:
            with open(f"{folder}/log") as log:
                sys.exit(f"the copy is not ready: {log.read()[-2000:]}")
        time.sleep(0.2)
    return process


def stop(process):
    process.terminate()
    process.wait(timeout=60)


with open(values["config"]) as source:
    text = source.read()
for pattern, new in values["edits"]:
    text, count = re.subn(pattern, new.replace("FOLDER", folder), text)
    if not count:
        sys.exit(f"nothing in {values['config']} matches {pattern}")
with open(copy, "w") as target:
    target.write(text)
shutil.chown(folder, values["user"], values["user"])
os.chmod(copy, 0o644)
running = None
try:
    running = start()
    for line in sys.stdin:
        order = json.loads(line)
        if "restart" in order:
            stop(running)
            running = start()
            answer = {}
        elif "files" in order:
            answer = {"count": sum(map(os.path.isfile, glob.glob(f"{folder}/{order['files']}", recursive=True)))}
        else:
            answer = ask(order["url"], order.get("data"))
        print(json.dumps(answer), flush=True)
finally:
    if running and running.poll() is None:
        stop(running)
    shutil.rmtree(folder)
