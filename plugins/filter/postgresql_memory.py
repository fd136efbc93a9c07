"""PostgreSQL's settings from the memory it may use."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: postgresql_memory
short_description: Memory settings of PostgreSQL
version_added: 0.1.0
author: nano.ops contributors
description:
  - Computes shared_buffers, effective_cache_size, work_mem and maintenance_work_mem.
positional: _input, max_connections
options:
  _input:
    description: Memory in MiB.
    type: int
    required: true
  max_connections:
    description: Most connections at once.
    type: int
    required: true
"""

EXAMPLES = r"""
# {{ 8192 | nano.ops.postgresql_memory(150) }}
"""

RETURN = r"""
_value:
  description: Dict of setting to value in PostgreSQL's own syntax.
  type: dict
"""


def postgresql_memory(memory_mb: int, max_connections: int) -> dict[str, str]:
    """Compute PostgreSQL's memory settings.

    A quarter of memory for shared buffers and three quarters as the planner's idea of all caches follow PostgreSQL's
    manual (chapter "Resource Consumption"). Sorts share an eighth of memory: a query may use work_mem several times.

    Args:
        memory_mb: memory that PostgreSQL may count on, in MiB.
        max_connections: most connections at once.

    Raises:
        AnsibleFilterError: there is too little memory for that.
    """
    if memory_mb < 128 or max_connections < 1:
        raise AnsibleFilterError(
            f"postgresql: {memory_mb} MiB for {max_connections} connections; 128 MiB are the least"
        )
    return {
        "shared_buffers": f"{memory_mb // 4}MB",
        "effective_cache_size": f"{memory_mb * 3 // 4}MB",
        "work_mem": f"{max(1024, memory_mb * 1024 // 8 // max_connections)}kB",
        "maintenance_work_mem": f"{min(2048, max(16, memory_mb // 16))}MB",
    }


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return name to function."""
        return {"postgresql_memory": postgresql_memory}
