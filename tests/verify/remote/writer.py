"""Write rows until told to stop, each by a connection of its own; print which were acknowledged, and when."""

import json
import os
import subprocess
import sys
import threading
import time

values = json.loads(sys.stdin.readline())
env = {**os.environ, "PGPASSWORD": values["password"]}
acknowledged, errors = [], []
stop = threading.Event()


def write():
    number = 0
    while not stop.is_set():
        number += 1
        sql = f"INSERT INTO {values['table']} VALUES ({number})"
        argv = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", values["where"], "-c", sql]
        try:
            done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
            said = done.stderr.strip()
        except subprocess.TimeoutExpired:
            said = "no answer"
        if said:
            errors.append(said[-200:])
        else:
            acknowledged.append([number, time.time()])


worker = threading.Thread(target=write)
worker.start()
for line in sys.stdin:
    if line.strip() == "stop":
        break
    print(len(acknowledged), flush=True)
stop.set()
worker.join()
print(json.dumps({"acknowledged": acknowledged, "errors": errors}), flush=True)
