"""Lets commands ask a running gateway, and turns its refusals and failures into errors."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from gateway.errors import GatewayError

DEFAULT_URL: Final = "http://127.0.0.1:8080"
TIMEOUT_SECONDS: Final = 30
_SERVER_ERRORS: Final = 500
_EVERY_ANSWER: Final = "x-request-id"
"""A header of every answer of a gateway."""

UrlOption = Annotated[str, typer.Option("--url", help="Address of the gateway.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the gateway's own answer.")]
KeyOption = Annotated[
    str | None,
    typer.Option("--api-key", envvar="LLMPO_API_KEY", help="An admin key, if the gateway has keys."),
]


class UnansweredError(GatewayError):
    """The gateway did not answer, or not to the end, or not for now. Asking again may help."""


def get_json(url: str, path: str, api_key: str | None) -> Any:
    """The gateway's answer to a GET request.

    Raises:
        GatewayError: If the gateway refuses, with its reason, or cannot be reached.
    """
    with ask(url, path, api_key) as answer:
        return _parsed(answer, url)


def send_json(method: str, url: str, path: str, api_key: str | None, body: Any = None) -> Any:
    """The gateway's answer to a request that changes something; errors as in `get_json`."""
    with ask(url, path, api_key, method, None if body is None else json.dumps(body).encode()) as answer:
        return _parsed(answer, url)


def get_lines(url: str, path: str, api_key: str | None, *, accept: str = "*/*") -> Iterator[bytes]:
    """The lines of the gateway's answer to a GET request; errors as in `get_json`."""
    with ask(url, path, api_key, accept=accept) as answer:
        try:
            yield from answer
        except (OSError, http.client.HTTPException) as error:
            raise UnansweredError(f"The connection to {url} broke off; try again.") from error


def _parsed(answer: http.client.HTTPResponse, url: str) -> Any:
    try:
        return json.load(answer)
    except ValueError as error:
        raise _stranger(url) from error
    except (OSError, http.client.HTTPException) as error:
        raise UnansweredError(f"The connection to {url} broke off; try again.") from error


def _stranger(url: str) -> GatewayError:
    return GatewayError(f"{url} does not answer like a gateway. Is that its address?")


@contextmanager
def ask(
    url: str,
    path: str,
    api_key: str | None,
    method: str = "GET",
    body: bytes | None = None,
    *,
    accept: str = "*/*",
) -> Iterator[http.client.HTTPResponse]:
    """The open answer to a request, with the body sent as JSON."""
    if not url.startswith(("http://", "https://")):
        raise GatewayError(f"{url!r} is not the address of a gateway; write http://HOST:PORT.")
    headers = {"Accept": accept, **({"Authorization": f"Bearer {api_key}"} if api_key else {})}
    if body is not None:
        headers["Content-Type"] = "application/json"
    try:
        request = urllib.request.Request(  # noqa: S310 - checked above
            url.rstrip("/") + path, body, headers, method=method
        )
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)  # noqa: S310 - the operator named the address
    except urllib.error.HTTPError as error:
        try:
            said = str(json.load(error)["error"]["message"])
        except (ValueError, KeyError, TypeError):
            said = f"{error.code} {error.reason}"
        kind = UnansweredError if error.code >= _SERVER_ERRORS else GatewayError
        raise kind(f"The gateway refused: {said}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise UnansweredError(f"No gateway answers at {url}: {reason}.") from error
    with answer:
        if _EVERY_ANSWER not in answer.headers:
            raise _stranger(url)
        yield answer


def experiment_path(name: str, suffix: str = "") -> str:
    """Path of one experiment in the API."""
    return f"/v1/experiments/{quote(name, safe='')}{suffix}"
