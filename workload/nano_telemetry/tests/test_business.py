"""The seven business figures, as Prometheus reads them."""

from __future__ import annotations

import math

import pytest
from prometheus_client import CollectorRegistry

from nano_telemetry import Business


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def business(registry: CollectorRegistry) -> Business:
    return Business(registry)


def test_counters_start_at_zero_and_count(registry: CollectorRegistry, business: Business) -> None:
    assert registry.get_sample_value("nano_uploads_total") == 0
    assert registry.get_sample_value("nano_s3_upload_errors_total", {"reason": "timeout"}) == 0
    business.upload()
    business.nano_created(3)
    business.s3_upload_error("timeout")
    business.s3_upload_error("something that a caller made up")
    assert registry.get_sample_value("nano_uploads_total") == 1
    assert registry.get_sample_value("nano_created_total") == 3
    assert registry.get_sample_value("nano_s3_upload_errors_total", {"reason": "timeout"}) == 1
    assert registry.get_sample_value("nano_s3_upload_errors_total", {"reason": "other"}) == 1


def test_what_nobody_has_looked_at_is_unknown_not_zero(registry: CollectorRegistry, business: Business) -> None:
    for name in ("nano_daily_active_users", "moderation_queue_size", "moderation_queue_oldest_age_seconds"):
        assert math.isnan(registry.get_sample_value(name) or 0)


def test_the_oldest_item_grows_older_between_two_looks(registry: CollectorRegistry, business: Business) -> None:
    business.moderation_queue(5, oldest_age_seconds=3600)
    first = registry.get_sample_value("moderation_queue_oldest_age_seconds") or 0
    second = registry.get_sample_value("moderation_queue_oldest_age_seconds") or 0
    assert 3600 <= first < second < 3610
    assert registry.get_sample_value("moderation_queue_size") == 5
    business.moderation_queue(0)
    assert registry.get_sample_value("moderation_queue_oldest_age_seconds") == 0


def test_users_and_chat(registry: CollectorRegistry, business: Business) -> None:
    business.active_users(123)
    business.chat_response(25 * 3600)
    assert registry.get_sample_value("nano_daily_active_users") == 123
    assert registry.get_sample_value("nano_chat_response_seconds_sum") == 90_000
    day, more = {"le": "86400.0"}, {"le": "129600.0"}
    assert registry.get_sample_value("nano_chat_response_seconds_bucket", day) == 0
    assert registry.get_sample_value("nano_chat_response_seconds_bucket", more) == 1


def test_nonsense_is_refused(business: Business) -> None:
    for wrong in (
        lambda: business.active_users(-1),
        lambda: business.chat_response(float("nan")),
        lambda: business.moderation_queue(3),
        lambda: business.moderation_queue(-1),
    ):
        with pytest.raises(ValueError):
            wrong()
