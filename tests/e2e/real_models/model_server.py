"""A llama.cpp server on loopback: `python -m tests.e2e.real_models.model_server PORT MODEL.gguf NAME`.

Speaks OpenAI's and Anthropic's wire formats. A program of its own, because the server lives in the process
that makes it and can only be ended with it.
"""

from __future__ import annotations

import signal
import sys

import xllamacpp

SLOTS = 2
CONTEXT_TOKENS = 1024  # split over the slots; the prompts here stay under 100
HTTP_THREADS = 4
STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}


def parameters(port: int, model: str, name: str) -> xllamacpp.CommonParams:
    """What the server is started with."""
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {name}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_parallel = SLOTS
    params.n_ctx = CONTEXT_TOKENS
    params.n_threads_http = HTTP_THREADS
    # One thread: two of them wait for each other by spinning, and crawl where a core is busy otherwise.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    # Embeddings as well: OpenAI's are one for each text.
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    params.verbosity = 1
    return params


def main(port: str, model: str, name: str) -> None:
    """Serve until told to stop."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # before the server's threads inherit the mask
    server = xllamacpp.Server(parameters(int(port), model, name))
    sys.stdout.write(f"listening on {server.listening_address}\n")
    sys.stdout.flush()
    signal.sigwait(STOP_SIGNALS)


if __name__ == "__main__":
    main(*sys.argv[1:])
