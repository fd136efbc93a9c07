"""Route templates: the bounded names under which requests are counted."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

UNMATCHED = "unmatched"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
Scope = MutableMapping[str, Any]


def route_template(scope: Scope) -> str:
    """Return the template of the route that took the request, such as /nanos/{nano_id}.

    Never anything that a caller can make up: what no route took is 'unmatched'.
    """
    prefix = _mount(scope)
    path = _route_path(scope)
    if path is not None:
        return prefix + path
    if prefix:
        # A mounted application without routes of its own, such as static files.
        return f"{prefix}/*"
    if scope.get("endpoint") is not None and "app_root_path" not in scope and not scope.get("path_params"):
        # A plain Starlette route leaves no template; without parameters its path is the template.
        return str(scope["path"])
    return UNMATCHED


def _route_path(scope: Scope) -> str | None:
    # FastAPI from 0.137 keeps included routers as a tree: scope["route"] knows its last part only.
    fastapi = scope.get("fastapi")
    effective = fastapi.get("effective_route_context") if isinstance(fastapi, dict) else None
    route = scope.get("route")
    if effective is not None and getattr(effective, "original_route", None) is route:
        route = effective
    path = getattr(route, "path", None)
    return path if isinstance(path, str) else None


def _mount(scope: Scope) -> str:
    outer = scope.get("app_root_path")
    if outer is None or _mount_has_parameters(scope):
        return ""
    return str(scope.get("root_path", ""))[len(outer) :]


def _mount_has_parameters(scope: Scope) -> bool:
    # The mount's path then holds what the caller sent. Parameters of the route itself are told apart by its template.
    template = _route_path(scope) or ""
    return any(f"{{{name}}}" not in template and f"{{{name}:" not in template for name in scope.get("path_params", {}))


def method_label(method: str) -> str:
    """Return the method, or 'OTHER' for one that nobody knows: methods are a caller's free text."""
    return method if method in METHODS else "OTHER"
