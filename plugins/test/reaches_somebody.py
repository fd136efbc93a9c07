"""Whether a receiver of Alertmanager reaches somebody."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

DOCUMENTATION = r"""
name: reaches_somebody
short_description: Whether a receiver of Alertmanager has at least one integration
version_added: 0.1.0
author: nano.ops contributors
description:
  - A receiver without any integration is valid for Alertmanager and drops its alerts in silence.
options:
  _input:
    description: The receiver, in Alertmanager's own words.
    type: dict
    required: true
"""

EXAMPLES = r"""
# {{ alertmanager_receivers | select('nano.ops.reaches_somebody') }}
"""

RETURN = r"""
_value:
  description: Whether any list such as C(email_configs) has an entry.
  type: bool
"""


def reaches_somebody(receiver: Mapping[str, Any]) -> bool:
    """Return whether a receiver has an integration."""
    return any(str(name).endswith("_configs") and bool(value) for name, value in receiver.items())


class TestModule:
    """Tests of this file."""

    __test__ = False  # pytest would take it for a class of tests

    def tests(self) -> dict[str, Callable[[Mapping[str, Any]], bool]]:
        """Return name to function."""
        return {"reaches_somebody": reaches_somebody}
