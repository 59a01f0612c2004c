"""Asks providers of other wire formats through litellm as a library. The only module that imports it.

Only the fields that `fields.py` names reach litellm. Its retries are off, because the gateway itself handles
fallbacks. It is imported at the first call, in a thread, because that takes seconds. `answers.py` turns its
objects into bytes of the requested format, so they do not leave this package.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import warnings
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from copy import deepcopy
from functools import partial
from typing import Any, Final

import orjson
from typing_extensions import override

from gateway.errors import UpstreamError
from gateway.running.memory import loading
from gateway.upstream.base import (
    TRACE_HEADERS,
    AnswerStream,
    ModelTarget,
    RawHeaders,
    Timeouts,
    Upstream,
    UpstreamAnswer,
    UpstreamRequest,
)
from gateway.upstream.events import EventReader, progress_of
from gateway.upstream.failures import cut_short, reported_in_body
from gateway.upstream.sse import DONE
from gateway.upstream.surfaces import CHAT, EMBEDDINGS, SurfaceName
from gateway.upstream.translating.answers import as_events, as_json, http_responses, is_made_up
from gateway.upstream.translating.asking import (
    Asking,
    BrokenAnswerError,
    asking,
    is_untranslatable,
    note_taker,
    rehearse,
)
from gateway.upstream.translating.calls import LIBRARY_CALLS, Library
from gateway.upstream.translating.errors import (
    broken_off,
    is_unsupported_kind,
    misconfigured,
    translated,
    unsupported_kind,
    untranslatable,
)
from gateway.upstream.translating.fields import translated_fields
from gateway.upstream.translating.former_clients import FormerClients
from gateway.upstream.translating.tool_servers import leave_out_tool_servers

_NO_KEY: Final = "none"
_OF_REASONING: Final = frozenset({"reasoning_effort", "thinking"})
# litellm's provider for servers of OpenAI's format, if its own name for them supports only chat.
_ASKED_AS: Final = {"openai_like": "openai"}
_LONGEST_SEARCHED: Final = 4096
# A kind of request, and the JSON of the fields that a policy fixes in it.
_Kind = tuple[SurfaceName, bytes]


class LitellmUpstream(Upstream):
    """Asks targets with requests in a format that they do not speak."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._library: Library | None = None
        self._importing = asyncio.Lock()
        # Requests known to reach a target's provider. A changed model is another target with the same name.
        self._translatable: dict[str, tuple[ModelTarget, set[_Kind]]] = {}
        self._asked: dict[str, ModelTarget] = {}
        self._former = FormerClients()
        self._known_parameters: dict[tuple[str, str], frozenset[str]] = {}

    @override
    async def complete(self, request: UpstreamRequest) -> UpstreamAnswer:
        library = await self._import()
        call = LIBRARY_CALLS[request.surface.name]
        arguments = self._arguments(request)
        with asking(is_embedding=request.surface is EMBEDDINGS) as current:
            try:
                fields = self._fields(library, request)
                async with asyncio.timeout(arguments["timeout"]):
                    answer = await call.start(library, fields, arguments)
            except BrokenAnswerError as error:
                raise error.failure from None
            except Exception as error:
                raise await self._explained(error, current, request) from error
        return UpstreamAnswer(as_json(answer, request))

    @override
    async def stream(self, request: UpstreamRequest) -> AnswerStream:
        library = await self._import()
        call = LIBRARY_CALLS[request.surface.name]
        arguments = self._arguments(request)
        started = asyncio.get_running_loop().time()
        first_byte = request.target.first_byte_seconds or self._timeouts.first_byte
        with asking(is_streamed=True) as current:
            try:
                fields = {**self._fields(library, request), "stream": True}
                async with asyncio.timeout(min(first_byte, arguments["timeout"])):
                    chunks = await call.start(library, fields, arguments)
            except BrokenAnswerError as error:
                raise error.failure from None
            except Exception as error:
                raise await self._explained(error, current, request) from error
        stall = request.target.stall_seconds or self._timeouts.stall
        stream = _TranslatedStream(chunks, request, stall, started + arguments["timeout"])
        await stream.begin(by=started + first_byte)
        return stream

    async def obstacle(self, target: ModelTarget) -> str | None:
        """Why a model's provider cannot be asked, in litellm's words, which may quote credentials; or None.

        Nothing is sent, but credentials that expire may be fetched.
        """
        found: Exception | None = None
        for surface in (CHAT, EMBEDDINGS):
            found = await self._rehearsed(UpstreamRequest(target, {}, surface))
            if found is None or not is_unsupported_kind(found):
                break
        return None if found is None else str(found).strip().partition("\n")[0]

    @override
    def keep(self, targets: Mapping[str, ModelTarget]) -> None:
        gone = [name for name, target in self._asked.items() if targets.get(name) is not target]
        longest = max(
            (target.timeout_seconds or self._timeouts.total for target in self._asked.values()), default=0.0
        )
        for name in gone:
            del self._asked[name]
            self._translatable.pop(name, None)
        if gone and self._library is not None:
            cache = self._library.root.in_memory_llm_clients_cache  # what is missing is made anew
            self._former.retire(list(cache.cache_dict.values()), longest)
            for key in list(cache.cache_dict):
                cache.delete_cache(key)

    @override
    async def aclose(self) -> None:
        await self._former.aclose()
        if self._library is not None:
            root = self._library.root
            await root.close_litellm_async_clients()
            # Streams in Anthropic's format have one that litellm keeps even when `keep` empties its cache.
            if (client := vars(root).get("module_level_aclient")) is not None:
                await client.close()

    async def _import(self) -> Library:
        async with self._importing:
            if self._library is None:
                self._library = await asyncio.to_thread(_import_all)
        return self._library

    async def _explained(self, error: Exception, current: Asking, request: UpstreamRequest) -> UpstreamError:
        """The error before the first byte. The caller is not at fault if no request at all could be sent."""
        failure = untranslatable() if is_untranslatable(error, current) else translated(error, request)
        if current.is_sent or not failure.is_callers_fault:
            return failure
        own = request.policys_own()
        kind = (request.surface.name, orjson.dumps(own, option=orjson.OPT_SORT_KEYS))
        known = self._translatable.get(request.target.name)
        if known is None or known[0] is not request.target:
            known = self._translatable[request.target.name] = (request.target, set())
        if kind not in known[1]:
            obstacle = await self._rehearsed(request._replace(payload=own))
            if obstacle is not None:
                is_kind = is_unsupported_kind(obstacle)
                return unsupported_kind() if is_kind else misconfigured(str(translated(obstacle, request)))
            known[1].add(kind)
        return failure

    async def _rehearsed(self, request: UpstreamRequest) -> Exception | None:
        """Why the smallest request with these fields cannot be sent; None if it can."""
        library, call = await self._import(), LIBRARY_CALLS[request.surface.name]
        arguments = self._arguments(request)
        smallest = {**deepcopy(dict(call.smallest)), **request.payload}  # litellm changes its arguments

        async def start() -> None:
            await call.start(library, self._fields(library, request._replace(payload=smallest)), arguments)

        return await rehearse(start, arguments["timeout"])

    def _fields(self, library: Library, request: UpstreamRequest) -> dict[str, Any]:
        target = request.target
        return translated_fields(
            request.surface.name,
            request.payload,
            request.policy_part.fields,
            lambda name: name in self._parameters(library, _asked_as(target), target.model),
            is_openai=target.wire == "openai",
        )

    def _parameters(self, library: Library, provider: str, model: str) -> frozenset[str]:
        """The parameters of chat completions that a model's provider takes, as far as litellm knows."""
        known = self._known_parameters.get((provider, model))
        if known is None:
            names = {"model": model, "custom_llm_provider": provider}
            known = frozenset(library.root.get_supported_openai_params(**names) or ())
            # many models are listed with these parameters although they do not reason
            if not library.root.supports_reasoning(**names):
                known -= _OF_REASONING
            self._known_parameters[provider, model] = known
        return known

    def _arguments(self, request: UpstreamRequest) -> dict[str, Any]:
        target = request.target
        self._asked[target.name] = target
        # The caller's trace is passed on in any format, unless the operator's own headers have one.
        named = {name.lower() for name in target.headers}
        passed = TRACE_HEADERS - named
        trace = {name: value for name, value in request.headers.items() if name in passed}
        return {
            **target.options,
            "model": f"{_asked_as(target)}/{target.model}",
            "api_base": target.api_base,
            "api_key": _key(target),
            "extra_headers": {**trace, **target.headers} or None,
            "timeout": min(target.timeout_seconds or self._timeouts.total, request.limit_seconds),
            "num_retries": 0,
            "max_retries": 0,
        }


class _TranslatedStream(AnswerStream):
    """litellm's chunks as server-sent events."""

    headers: RawHeaders = ()

    def __init__(self, chunks: Any, request: UpstreamRequest, idle_seconds: float, deadline: float) -> None:
        self._chunks = chunks
        self._surface = surface = request.surface
        self._idle_seconds = idle_seconds
        self._deadline = deadline
        self._first = b""
        self._is_done = False
        # Collected now, because they cannot be reached any more after a cancelled read.
        self._responses = list(http_responses(chunks))
        self._events = as_events(request)
        self._reader = EventReader(progress_of(surface.name), partial(reported_in_body, asked=request))
        self._translated = partial(translated, asked=request)

    async def begin(self, *, by: float) -> None:
        """Wait for the first chunk, so that another provider can answer after an earlier failure."""
        try:
            self._first = await self._next(self._translated, by)
        except BaseException:
            await self.aclose()
            raise

    @override
    async def read(self) -> bytes:
        if self._first:
            block, self._first = self._first, b""
            return block
        if self._is_done:
            return b""
        return await self._next(broken_off, asyncio.get_running_loop().time() + self._idle_seconds)

    @override
    async def aclose(self) -> None:
        self._is_done = True
        async with AsyncExitStack() as closing:
            for response in self._responses:
                closing.push_async_callback(response.aclose)
            if hasattr(self._chunks, "aclose"):
                await self._chunks.aclose()

    async def _next(self, translate: Callable[[Exception], UpstreamError], by: float) -> bytes:
        try:
            # litellm sends some requests only now.
            with asking(is_streamed=True):
                async with asyncio.timeout_at(min(by, self._deadline)):
                    chunk = await anext(self._chunks, None)
            block = b"" if chunk is None else self._events(chunk)
        except BrokenAnswerError as error:
            raise error.failure from None
        except Exception as error:
            raise translate(error) from error
        if chunk is None:
            self._is_done = True
            if self._surface.envelope is not None:
                # A complete stream of this kind says so itself; this one did not.
                raise cut_short()
            return DONE
        taken = self._reader.take(block)
        if not taken and self._reader.failure is not None:
            raise self._reader.failure()
        # litellm adds an end if the provider's stream just stopped.
        if is_made_up(chunk, self._chunks, is_last=self._reader.is_over):
            raise cut_short()
        self._is_done = self._reader.is_over
        return taken


def provider_names() -> frozenset[str]:
    """The prefixes that a model may have. Imports litellm."""
    return frozenset(one.value for one in _import_quietly().provider_list)


def _asked_as(target: ModelTarget) -> str:
    """The name by which litellm knows the provider of a model."""
    return _ASKED_AS.get(target.provider, target.provider)


def _key(target: ModelTarget) -> str | None:
    """The operator's key; a placeholder for a server that needs no key.

    If a key is missing, litellm takes one from the environment and sends it to any address, or does not ask
    at all. Servers that speak a relayed format are asked in the same way in every format.
    """
    is_keyless = target.api_key is None and target.api_base is not None
    return _NO_KEY if is_keyless and target.wire != "litellm" else target.api_key


def _import_quietly() -> Any:
    # Read at import; without it litellm fetches a price list from the network.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    # Its models make pydantic warn, each time during a request.
    warnings.filterwarnings("ignore", message=".*ReadOnly.*", category=UserWarning)
    library: Any = importlib.import_module("litellm")
    leave_out_tool_servers()
    _bound_answers()
    _bound_searches()
    _silence()
    library.telemetry = False
    library.set_verbose = False  # it prints whole requests otherwise
    loggers: Any = importlib.import_module("litellm.integrations.custom_logger")
    library.input_callback = [note_taker(loggers.CustomLogger)]
    # Requests in Anthropic's format go to providers of OpenAI's as chat completions, which all of them have.
    library.use_chat_completions_url_for_anthropic_messages = True
    library.suppress_debug_info = True
    library.drop_params = False
    library.user_url_validation = True
    return library


def _bound_answers() -> None:
    """Let litellm read no answer without a bound, and not put broken streams together to log their cost."""
    bounds: Any = importlib.import_module("gateway.upstream.translating.bounds")
    transports: Any = importlib.import_module("litellm.llms.custom_httpx.aiohttp_transport")
    streams: Any = importlib.import_module("litellm.litellm_core_utils.streaming_handler")
    bounds.bound_answers(transports.LiteLLMAiohttpTransport)
    streams.CustomStreamWrapper._record_partial_usage_for_failure = lambda _: None  # noqa: SLF001 - no setting


def _bound_searches() -> None:
    """Let litellm search the texts of errors only where they are short: a megabyte takes it seconds.

    An error may quote all that a caller sent. litellm looks for secrets in it several times, and for words by
    which its own log sorts it. Nothing of that is logged, and what is passed on is blanked and shortened here
    (`private_text.py`).
    """
    within = "litellm.litellm_core_utils"
    redaction: Any = importlib.import_module(f"{within}.secret_redaction")
    sorting: Any = importlib.import_module(f"{within}.litellm_logging")
    redact, sorted_as = redaction.python_redact_string, sorting.normalize_error
    redaction.python_redact_string = lambda text: redact(text) if len(text) <= _LONGEST_SEARCHED else text
    sorting.normalize_error = lambda error, status, text: sorted_as(error, status, text[:_LONGEST_SEARCHED])


def _silence() -> None:
    """Let nothing of litellm's own reach standard error: its loggers have handlers beside the gateway's.

    It quotes providers and requests, and tells tracebacks of what becomes an error here.
    """
    for name in list(logging.Logger.manager.loggerDict):
        if name.startswith("LiteLLM"):
            logger = logging.getLogger(name)
            logger.setLevel(logging.CRITICAL + 1)
            logger.handlers.clear()


def _import_all() -> Library:
    with loading():
        root = _import_quietly()
        bridge = importlib.import_module("litellm.responses.litellm_completion_transformation.handler")
        return Library(root, bridge.LiteLLMCompletionTransformationHandler())
