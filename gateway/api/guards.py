"""What decides whether a caller may use a route."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import Request

Guard = Callable[[Request], Awaitable[None]]
"""Raises an error for a caller who may not use the route."""
