"""Cursors: the place after the last row of a page, so that a page costs the same however deep it lies."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import uuid
from typing import Any

from sqlalchemy import ColumnElement, Select, Uuid, literal, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from .problems import Problem


def cursor(name: str, value: object, key: uuid.UUID) -> str:
    """Return the cursor of a row in the order `name`."""
    plain = value.isoformat() if isinstance(value, dt.datetime) else value
    return base64.urlsafe_b64encode(json.dumps([name, plain, key.hex]).encode()).decode().rstrip("=")


def after(
    query: Select[Any],
    given: str | None,
    name: str,
    column: InstrumentedAttribute[Any],
    key: InstrumentedAttribute[uuid.UUID],
    *,
    descending: bool,
) -> Select[Any]:
    """Order a query and begin it after a cursor. Raises Problem 400 for a cursor that isn't one of this order."""
    if given:
        place = tuple_(column, key)
        here: ColumnElement[Any] = tuple_(*_read(given, name, column))
        query = query.where(place < here if descending else place > here)
    if descending:
        return query.order_by(column.desc(), key.desc())
    return query.order_by(column, key)


def _read(given: str, name: str, column: InstrumentedAttribute[Any]) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    kind = column.type.python_type
    try:
        order, plain, key = json.loads(base64.urlsafe_b64decode(given + "=" * (-len(given) % 4)))
        if order != name:
            raise ValueError
        value: Any = dt.datetime.fromisoformat(plain) if kind is dt.datetime else kind(plain)
        if kind is int and not 0 <= value < 2**31:
            raise ValueError
        return literal(value, column.type), literal(uuid.UUID(key), Uuid())
    except (ValueError, TypeError, OverflowError, AttributeError, binascii.Error) as error:
        raise Problem(400, "bad-cursor", "this cursor is not one of this list") from error
