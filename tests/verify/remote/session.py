"""Keep one session of psql open and send it each line of the input; print the last line of each answer."""

import json
import os
import subprocess
import sys

values = json.loads(sys.stdin.readline())
psql = subprocess.Popen(
    ["psql", "-XAtq", "-d", values["where"]],
    env={**os.environ, "PGPASSWORD": values["password"]},
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
)
for line in sys.stdin:
    psql.stdin.write(line)
    psql.stdin.flush()
    print(psql.stdout.readline().strip(), flush=True)
psql.stdin.close()
psql.wait()
