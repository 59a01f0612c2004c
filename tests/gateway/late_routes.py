"""FastAPI's routes, known by path and method at once, and described when first asked for more than that.

Describing a route reads its function's signature and builds a pydantic validator for each of its parameters:
about a millisecond, for each of forty routes of every gateway that a test starts. Gateways in processes of
their own have FastAPI's routes as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from fastapi.routing import APIRoute
from starlette.routing import compile_path, get_name

_describe: Final = APIRoute.__init__


def declare_route(
    route: APIRoute,
    path: str,
    endpoint: Callable[..., Any],
    *,
    methods: set[str] | list[str] | None = None,
    name: str | None = None,
    **more: Any,
) -> None:
    """Stands in for `APIRoute.__init__`: what a router compares requests with."""
    route.path, route.endpoint, route.name = path, endpoint, name or get_name(endpoint)
    route.path_regex, route.path_format, route.param_convertors = compile_path(path)
    route.methods = {method.upper() for method in methods or ("GET",)}
    vars(route)["describe"] = partial(_describe, route, path, endpoint, methods=methods, name=name, **more)


def describe_route(route: APIRoute, attribute: str) -> Any:
    """Becomes `APIRoute.__getattr__`: the first attribute that is missing is there once it is described."""
    describe = vars(route).pop("describe", None)
    if describe is None:
        raise AttributeError(f"{type(route).__name__} has no attribute {attribute!r}.")
    describe()
    return getattr(route, attribute)
