"""The way of a log line to stdout: through a bounded queue and a thread, so that a full pipe stops no request."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable
from typing import Any

from nano_telemetry import logs

# Few enough that the thread gives the interpreter back soon, enough to save system calls under load.
_BATCH = 8
# Seconds that the thread waits for company after the first line: waking up for each costs more than the line itself.
_GATHER = 0.02
_TELL_EVERY = 60.0


class StdoutHandler(logging.Handler):
    """Queues records and writes them as JSON lines from a thread of its own."""

    def __init__(
        self, static: dict[str, str], limit: int, dropped: Callable[[int], None], descriptor: int | None = None
    ) -> None:
        """Start the thread.

        Args:
            static: fields of every line.
            limit: entries kept while nothing can be written; newer ones are dropped.
            dropped: called with the number of entries dropped.
            descriptor: file descriptor to write to, stdout's when None.
        """
        super().__init__()
        self._static, self._limit, self._dropped = static, limit, dropped
        self._descriptor = sys.__stdout__.fileno() if descriptor is None and sys.__stdout__ else (descriptor or 1)
        self._queue: deque[logs.Entry] = deque()
        # Set when the application has stopped: the process may then end at any moment, so each line is waited for.
        self.closing = False
        self._lost, self._told = 0, -_TELL_EVERY
        self._start()
        os.register_at_fork(after_in_child=self._start)
        atexit.register(self.flush_within, 2.0)

    def _start(self) -> None:
        self._queue.clear()
        self._wake, self._idle = threading.Event(), threading.Event()
        self._hurry = threading.Event()
        self._idle.set()
        threading.Thread(target=self._run, name="nano-telemetry-log", daemon=True).start()

    def handle(self, record: logging.LogRecord) -> bool:
        """Take a record without logging's lock: a deque needs none, and requests would wait for each other."""
        fits = bool(self.filter(record))
        if fits:
            self.emit(record)
        return fits

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one record, or drop it when the queue is full; never waits, never raises."""
        try:
            self.put(logs.capture(record))
        except Exception:
            self._lost += 1

    def put(self, entry: logs.Entry) -> None:
        """Queue an entry that is already made, or drop it when the queue is full."""
        if len(self._queue) >= self._limit:
            self._lost += 1
            self._dropped(1)
            return
        self._queue.append(entry)
        self._idle.clear()
        if not self._wake.is_set():
            self._wake.set()
        if self.closing:
            self.flush_within(0.5)

    def flush_within(self, seconds: float) -> bool:
        """Wait until all is written, at most for these seconds; tell whether it is."""
        self._hurry.set()
        self._wake.set()
        return self._idle.wait(seconds)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._hurry.wait(_GATHER)
            self._hurry.clear()
            self._wake.clear()
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]
                self._write("".join(self._line(entry) for entry in batch))
            if self._lost and time.monotonic() - self._told > _TELL_EVERY:
                lost, self._lost, self._told = self._lost, 0, time.monotonic()
                text = f"{lost} log lines were dropped: stdout took them too slowly"
                self._write(self._line(logs.Entry(time.time(), "warning", __name__, text, {"action": "log.dropped"})))
            if not self._queue:
                self._idle.set()
                if self._queue:
                    self._idle.clear()

    def _line(self, entry: logs.Entry) -> str:
        try:
            return logs.render(entry, self._static) + "\n"
        except Exception as error:  # a line about the failure is better than none, and than a dead thread
            text = f"a log line could not be made: {type(error).__name__}"
            return logs.render(logs.Entry(entry.created, "error", entry.logger, text, {}), self._static) + "\n"

    def _write(self, text: str) -> None:
        data = text.encode("utf-8", "backslashreplace")
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:
                time.sleep(0.01)  # somebody set the pipe to non-blocking: there is nothing to wait on but time
            except OSError:
                return  # the reader is gone; so is whoever could be told


def install(handler: logging.Handler, level: str) -> None:
    """Send everything through the handler: the root logger, uvicorn's own, warnings, and what kills the process."""
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    adopt_uvicorn()
    logging.captureWarnings(True)
    warnings.filterwarnings("default", category=RuntimeWarning)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    for noisy in ("opentelemetry", "urllib3", "botocore", "aiobotocore", "elastic_transport"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
    # The exporter counts and reports its failures itself; these would write a line for each span that is dropped,
    # and for each retry.
    for loop in ("opentelemetry.exporter", "opentelemetry.sdk"):
        logging.getLogger(loop).setLevel(logging.CRITICAL + 1)


def adopt_uvicorn() -> None:
    """Take uvicorn's handlers away, so that its lines arrive at the root; silence its access log, ours replaces it."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    error = logging.getLogger("uvicorn.error")
    if _not_twice not in error.filters:
        error.addFilter(_not_twice)
    access = logging.getLogger("uvicorn.access")
    access.handlers.clear()
    access.propagate = False
    access.disabled = True


def _not_twice(record: logging.LogRecord) -> bool:
    # uvicorn logs an exception of the application once more, without the request's ids.
    error = record.exc_info[1] if record.exc_info else None
    return not getattr(error, "_nano_logged", False)


def _uncaught(kind: type[BaseException], error: BaseException, stack: Any) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, stack)
        return
    logging.getLogger("nano_telemetry").critical(
        "the process ends by an exception that nobody caught",
        exc_info=(kind, error, stack),
        extra={"action": "process.crash"},
    )


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        logging.getLogger("nano_telemetry").error(
            "a thread ended by an exception that nobody caught",
            exc_info=(args.exc_type, args.exc_value, args.exc_traceback),
            extra={"action": "thread.crash"},
        )


def log_config() -> dict[str, Any]:
    """Return what uvicorn takes as log_config: it then sets up nothing of its own."""
    loggers = {name: {"handlers": [], "propagate": True} for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi")}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "loggers": {**loggers, "uvicorn.access": {"handlers": [], "propagate": False, "level": "CRITICAL"}},
    }
