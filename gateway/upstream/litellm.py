"""Every provider of another wire format, through litellm as a library. The only module that imports it.

Only what this module names reaches litellm: its control arguments are not for callers, its retries are off
(falling back is this gateway's business), and it is imported at the first call, in a thread, because that
takes seconds. Its objects become OpenAI-format bytes here and go no further.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final

import orjson

from gateway.errors import UpstreamError
from gateway.upstream.base import RawHeaders, Timeouts, UpstreamAnswer, UpstreamRequest, UpstreamStream
from gateway.upstream.failures import broken, cut_short, refused, timed_out
from gateway.upstream.sse import DONE

# OpenAI's request fields that litellm translates, and sampling it passes on where a provider has it.
_PASSED_FIELDS: Final = frozenset(
    """
    audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens
    messages modalities n parallel_tool_calls prediction presence_penalty prompt_cache_key reasoning_effort
    response_format safety_identifier seed service_tier stop stream stream_options temperature thinking
    tool_choice tools top_k top_logprobs top_p user verbosity web_search_options
    """.split()  # noqa: SIM905 - a list to be read
)
# Of no use to other providers and without effect on the answer.
_LEFT_OUT_FIELDS: Final = frozenset({"metadata", "model", "store"})
_TEXT_AROUND_JSON: Final = re.compile(r"\{.*\}", re.DOTALL)
_PARAMETER_LIST: Final = re.compile(r"parameters?: (\[[^\]]*\])")


def token_prices(model: str) -> tuple[float, float] | None:
    """What litellm's own list says a model costs, without asking the network.

    Args:
        model: As litellm names it, with the provider's prefix.

    Returns:
        USD for a prompt token and for a completion token, or None where the list does not know the model.
    """
    library = _import_quietly()
    try:
        prompt, completion = library.cost_per_token(model=model, prompt_tokens=1, completion_tokens=1)
    except Exception:  # noqa: BLE001  # litellm raises kinds of its own, some of them plain Exception
        return None
    return float(prompt), float(completion)


class LitellmUpstream:
    """An `Upstream` for requests in another format than their target speaks."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._library: Any = None
        self._importing = asyncio.Lock()

    async def complete(self, request: UpstreamRequest) -> UpstreamAnswer:
        """See `Upstream.complete`."""
        library = await self._import()
        arguments = self._arguments(request)
        try:
            async with asyncio.timeout(arguments["timeout"]):
                answer = await library.acompletion(**arguments)
        except Exception as error:
            raise _translated(error) from error
        return UpstreamAnswer(_json(answer))

    async def stream(self, request: UpstreamRequest) -> UpstreamStream:
        """See `Upstream.stream`."""
        library = await self._import()
        arguments = {**self._arguments(request), "stream": True}
        started = asyncio.get_running_loop().time()
        first_byte = request.target.first_byte_seconds or self._timeouts.first_byte
        try:
            async with asyncio.timeout(min(first_byte, arguments["timeout"])):
                chunks = await library.acompletion(**arguments)
        except Exception as error:
            raise _translated(error) from error
        stall = request.target.stall_seconds or self._timeouts.stall
        stream = _TranslatedStream(chunks, stall, started + arguments["timeout"])
        await stream.begin(by=started + first_byte)
        return stream

    async def aclose(self) -> None:
        """See `Upstream.aclose`."""
        if self._library is not None:
            await self._library.close_litellm_async_clients()

    async def _import(self) -> Any:
        async with self._importing:
            if self._library is None:
                self._library = await asyncio.to_thread(_import_quietly)
        return self._library

    def _arguments(self, request: UpstreamRequest) -> dict[str, Any]:
        target, payload = request.target, request.payload
        unknown = sorted(payload.keys() - _PASSED_FIELDS - _LEFT_OUT_FIELDS)
        if unknown:
            raise _unsupported(str(unknown))
        return {
            **target.options,
            **{
                name: value for name, value in payload.items() if name in _PASSED_FIELDS and value is not None
            },
            "model": f"{target.provider}/{target.model}",
            "api_base": target.api_base,
            "api_key": target.api_key,
            "extra_headers": dict(target.headers) or None,
            "timeout": min(target.timeout_seconds or self._timeouts.total, request.limit_seconds),
            "num_retries": 0,
            "max_retries": 0,
        }


class _TranslatedStream:
    """litellm's chunks, as server-sent events."""

    headers: RawHeaders = ()

    def __init__(self, chunks: Any, idle_seconds: float, deadline: float) -> None:
        self._chunks = chunks
        self._idle_seconds = idle_seconds
        self._deadline = deadline
        self._first = b""
        self._is_done = False
        # Found now: once a read is cancelled, nothing leads to them any more.
        self._responses = list(_http_responses(getattr(chunks, "completion_stream", None)))

    async def begin(self, *, by: float) -> None:
        """Wait for the first chunk, so that a failure before it can still be answered otherwise."""
        try:
            self._first = await self._next(_translated, by)
        except BaseException:
            await self.aclose()
            raise

    async def read(self) -> bytes:
        """See `UpstreamStream.read`."""
        if self._first:
            block, self._first = self._first, b""
            return block
        if self._is_done:
            return b""
        return await self._next(_broken_off, asyncio.get_running_loop().time() + self._idle_seconds)

    async def aclose(self) -> None:
        """See `UpstreamStream.aclose`."""
        self._is_done = True
        await self._chunks.aclose()
        for response in self._responses:
            await response.aclose()

    async def _next(self, translate: Callable[[Exception], UpstreamError], by: float) -> bytes:
        try:
            async with asyncio.timeout_at(min(by, self._deadline)):
                chunk = await anext(self._chunks, None)
        except Exception as error:
            raise translate(error) from error
        if chunk is None:
            self._is_done = True
            return DONE
        # litellm makes up a finish reason where the provider's stream just stopped.
        if _is_finished(chunk) and getattr(self._chunks, "received_finish_reason", "") is None:
            raise cut_short()
        return b"data: " + _json(chunk) + b"\n\n"


def _import_quietly() -> Any:
    # Read when the module is imported: without it litellm fetches a price list from the network.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    # Its models make pydantic warn, each time in the middle of somebody's request.
    warnings.filterwarnings("ignore", message=".*ReadOnly.*", category=UserWarning)
    library: Any = importlib.import_module("litellm")
    library.telemetry = False
    library.suppress_debug_info = True
    library.drop_params = False
    library.user_url_validation = True
    return library


def _http_responses(holder: Any, depth: int = 4) -> Iterator[Any]:
    """The HTTP responses a stream of litellm's reads from.

    For several providers, Anthropic among them, closing the stream leaves its connection open, and the
    provider writing, until the garbage is collected.
    """
    if hasattr(holder, "aiter_raw"):
        yield holder
    elif depth and holder is not None:
        frame = getattr(holder, "ag_frame", None)
        inside = [frame.f_locals.get("self")] if frame is not None else []
        named = [getattr(holder, name, None) for name in ("http_response", "streaming_response", "response")]
        for part in (*inside, *named):
            yield from _http_responses(part, depth - 1)


def _json(answer: Any) -> bytes:
    text: str = answer.model_dump_json(exclude_none=True)
    return text.encode()


def _is_finished(chunk: Any) -> bool:
    return any(getattr(choice, "finish_reason", None) for choice in chunk.choices)


def _broken_off(error: Exception) -> UpstreamError:
    return timed_out() if isinstance(error, TimeoutError) else cut_short()


def _translated(error: Exception) -> UpstreamError:
    """What a caller is told of an exception of litellm's; its text is for operators only."""
    if isinstance(error, UpstreamError):
        return error
    if isinstance(error, TimeoutError):
        return timed_out()
    status = getattr(error, "status_code", None)
    if not isinstance(status, int):
        return broken("an answer litellm could not read")
    if type(error).__name__ == "UnsupportedParamsError":
        found = _PARAMETER_LIST.search(str(error))
        return _unsupported(found[1] if found else "one of those sent")
    headers = getattr(error, "litellm_response_headers", None) or {}
    return refused(status, _error_body(str(error)), headers.get("retry-after"))


def _unsupported(parameters: str) -> UpstreamError:
    return UpstreamError(
        f"The model does not support these parameters: {parameters}.",
        status=400,
        reason="status_4xx",
        is_callers_fault=True,
    )


def _error_body(text: str) -> bytes:
    """An OpenAI-shaped error from the provider's own, which litellm quotes inside its message."""
    quoted = _TEXT_AROUND_JSON.search(text)
    try:
        answer = orjson.loads(quoted[0]) if quoted else {}
    except orjson.JSONDecodeError:
        answer = {}
    error = answer.get("error") if isinstance(answer, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    if not isinstance(message, str):
        return b""
    return orjson.dumps(
        {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
    )
