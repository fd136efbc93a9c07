"""Starts the service as an operator does, and reads what it prints."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
from collector import wait_until

HERE = Path(__file__).parent


class Service:
    def __init__(self, *, read_stdout: bool = True, args: tuple[str, ...] = (), **env: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.port = taken.getsockname()[1]
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("NANO_", "OTEL_"))}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "service:app", "--port", str(self.port), *args],
            cwd=HERE,
            env={**clean, "PYTHONDONTWRITEBYTECODE": "1", "OTEL_SDK_DISABLED": "true", **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.raw: list[str] = []
        self.errors: list[str] = []
        self._readers = [threading.Thread(target=self._read, args=("stderr", self.errors), daemon=True)]
        if read_stdout:
            self._readers.append(threading.Thread(target=self._read, args=("stdout", self.raw), daemon=True))
        for reader in self._readers:
            reader.start()
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=20, trust_env=False)
        # uvicorn hangs up after an exception: a kept connection would fail the next request now and then.
        self.http.headers["Connection"] = "close"
        wait_until(self._answers, "the service to answer", 30)

    def _read(self, name: str, into: list[str]) -> None:
        for line in getattr(self.process, name):
            into.append(line)

    def _answers(self) -> bool:
        assert self.process.poll() is None, f"the service ended: {self.raw} {self.errors}"
        try:
            return self.http.get("/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in list(self.raw)]

    def line(self, **fields: Any) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            return next((x for x in self.lines() if all(x.get(k) == v for k, v in fields.items())), None)

        return wait_until(look, f"a log line with {fields}")

    def access(self, response: httpx.Response) -> dict[str, Any]:
        return self.line(logger="nano_telemetry.access", request_id=response.headers["x-request-id"])

    def metrics(self, accept: str = "application/openmetrics-text; version=1.0.0") -> str:
        return self.http.get("/metrics", headers={"accept": accept}).text

    def value(self, series: str) -> float:
        for line in self.metrics("text/plain").splitlines():
            if line.startswith(series + " "):
                return float(line.rpartition(" ")[2])
        return 0.0

    def stop(self, seconds: float = 10) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(seconds)
        for reader in self._readers:
            reader.join(5)
        self.http.close()
        return code
