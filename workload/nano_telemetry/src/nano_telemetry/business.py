"""The seven figures by which the marketplace is judged."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_HOUR = 3600.0
# Seconds, from a minute to a week; 24 h is the objective, 48 h the alert.
_CHAT_BUCKETS = (60, 600, *(h * _HOUR for h in (1, 2, 4, 8, 12, 24, 36, 48, 72, 168)))
_S3_REASONS = ("timeout", "connection", "denied", "server", "other")


class Business:
    """Records what the service knows; each method is cheap, takes plain numbers and raises ValueError on nonsense."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics."""
        self._uploads = Counter("nano_uploads_total", "Files uploaded to the object storage.", registry=registry)
        self._new = Counter("nano_created_total", "New nanos.", registry=registry)
        self._queue = Gauge("moderation_queue_size", "Nanos that wait for moderation.", registry=registry)
        self._oldest = Gauge(
            "moderation_queue_oldest_age_seconds",
            "Age of the nano that waits longest, 0 without one.",
            registry=registry,
        )
        self._active = Gauge("nano_daily_active_users", "Users seen in the last 24 hours.", registry=registry)
        self._chat = Histogram(
            "nano_chat_response_seconds",
            "Time until a chat message is answered.",
            buckets=_CHAT_BUCKETS,
            registry=registry,
        )
        self._s3_errors = Counter(
            "nano_s3_upload_errors_total", "Uploads to the object storage that failed.", ["reason"], registry=registry
        )
        # An alert on "any error" needs the 0 before the first one.
        for reason in _S3_REASONS:
            self._s3_errors.labels(reason)
        # Unknown is not 0: until the service has looked, an alert on few users must not fire.
        self._queue.set(float("nan"))
        self._oldest.set(float("nan"))
        self._active.set(float("nan"))

    def upload(self, count: int = 1) -> None:
        """Count files that reached the object storage."""
        self._uploads.inc(count)

    def nano_created(self, count: int = 1) -> None:
        """Count new nanos."""
        self._new.inc(count)

    def moderation_queue(self, items: int, oldest_age_seconds: float | None = None) -> None:
        """Set the length of the queue and the age of its oldest item, which grows by itself until the next call."""
        if items < 0 or (items and oldest_age_seconds is None) or (oldest_age_seconds or 0) < 0:
            raise ValueError("a moderation queue has items >= 0 and, unless it is empty, an oldest age in seconds >= 0")
        self._queue.set(items)
        if not items:
            self._oldest.set_function(lambda: 0.0)
            return
        since = time.monotonic() - float(oldest_age_seconds or 0)
        self._oldest.set_function(lambda: time.monotonic() - since)

    def active_users(self, count: int) -> None:
        """Set the number of users seen in the last 24 hours."""
        if count < 0:
            raise ValueError("users are counted from 0")
        self._active.set(count)

    def chat_response(self, seconds: float) -> None:
        """Record how long a chat message waited for its answer."""
        if not seconds >= 0:
            raise ValueError("a chat response time is a number of seconds >= 0")
        self._chat.observe(seconds)

    def s3_upload_error(self, reason: str = "other") -> None:
        """Count an upload that failed.

        Args:
            reason: timeout, connection, denied, server or other; anything else counts as other.
        """
        self._s3_errors.labels(reason if reason in _S3_REASONS else "other").inc()
