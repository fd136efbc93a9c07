"""Keep a process with a given argument and environment alive until the input ends."""

import json
import os
import subprocess
import sys

values = json.loads(sys.stdin.readline())
child = subprocess.Popen(
    [sys.executable, "-c", "import time; time.sleep(600)", values["argument"]],
    env={**os.environ, "NANO_VERIFY": values["variable"]},
    stdin=subprocess.DEVNULL,
)
for _ in sys.stdin:
    print("yes" if child.poll() is None else "it has ended", flush=True)
child.kill()
child.wait()
