"""Run a command with an environment and input that may hold secrets; print how it ended."""

import json
import os
import subprocess
import sys

values = json.loads(sys.stdin.readline())
done = subprocess.run(
    values["argv"],
    env={**os.environ, **values.get("env", {})},
    input=values.get("input", ""),
    cwd="/",
    capture_output=True,
    text=True,
    timeout=60,
)
print(json.dumps({"rc": done.returncode, "stdout": done.stdout, "stderr": done.stderr}))
