"""The `llmpo` command: what it lists, how commands end, and how little it imports to say so."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import __version__
from gateway.cli import COMMANDS, main
from gateway.config.api_keys import hash_key
from gateway.errors import UnavailableError
from gateway.upstream.base import ModelTarget
from gateway.upstream.provider_needs import KEY_VARIABLES
from gateway.upstream.translating.upstream import LitellmUpstream
from policy_store.errors import StoreUnavailableError

GOOD = """\
model_list:
  - model_name: small
    litellm_params: {model: openai/gpt-4o-mini, api_key: sk-secret}
experiments:
  support:
    incumbent: base
    policies:
      base: {model: small, system: "You help."}
      warm: {model: small, params: {temperature: 1}}
"""
HEAVY = {"numpy", "fastapi", "litellm", "cvxpy", "pydantic", "redis", "aiohttp", "rich.markdown"}


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A right configuration file."""
    path = tmp_path / "gateway.yaml"
    path.write_text(GOOD, encoding="utf-8")
    return path


def test_without_arguments_the_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """Bare `llmpo` shows all there is to run, and that is no error."""
    assert main([]) == 0

    listed = capsys.readouterr().out
    assert [name for name in COMMANDS if not re.search(rf"^  {name} ", listed, re.MULTILINE)] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_listed_command_is_there(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What the list promises can be loaded, and explains itself under its own name."""
    assert main([name, "--help"]) == 0
    assert f"Usage: llmpo {name} " in capsys.readouterr().out


def test_help_imports_nothing_heavy() -> None:
    """`llmpo --help` answers at once because no command's module is loaded for it."""
    script = (
        "import sys; from gateway.cli import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    )
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert HEAVY & set(finished.stderr.split()) == set()


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints its version, for reports of problems."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"llmpo {__version__}\n"


def test_a_misspelt_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage ends with status 2, on stderr."""
    assert main(["serv"]) == 2

    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Did you mean 'serve'?" in shown.err


@pytest.mark.parametrize("error", [UnavailableError("no store"), StoreUnavailableError("no store")])
def test_foreseen_errors_are_one_line_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    """An operator gets a sentence, not a traceback."""

    def fail() -> str:
        raise error

    monkeypatch.setattr("gateway.cli.keys.new_key", fail)

    assert main(["keys", "new"]) == 1
    assert capsys.readouterr().err == "error: no store\n"


def test_interrupting_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted command ends with the status that shells expect."""

    def interrupt() -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("gateway.cli.keys.new_key", interrupt)

    assert main(["keys", "new"]) == 130


def test_a_new_key_comes_with_its_hash(capsys: pytest.CaptureFixture[str]) -> None:
    """Two lines a script can read: the key, and what the configuration keeps of it."""
    assert main(["keys", "new"]) == 0
    key, line = capsys.readouterr().out.splitlines()

    assert line == hash_key(key)
    assert re.fullmatch(r"llmpo-[A-Za-z0-9_-]{43}", key)
    assert main(["keys", "new"]) == 0
    assert capsys.readouterr().out.splitlines()[0] != key


@pytest.mark.parametrize("arguments", [["{}"], ["--config", "{}"]])
def test_checking_a_right_file_sums_it_up(
    good: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """Models, policies and terms fit one screen; secrets are not among them."""
    assert main(["config", "check", *(argument.format(good) for argument in arguments)]) == 0

    shown = capsys.readouterr().out
    for expected in (
        "openai/gpt-4o-mini",
        "base (incumbent)",
        "warm",
        "temperature=1",
        "30% of the requests",
        "delta 0.05",
    ):
        assert expected in shown
    assert "sk-secret" not in shown
    assert len(shown.splitlines()) <= 24


def test_checking_a_file_with_exposure_caps_says_them_or_why_they_cannot_be_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Caps that can be kept are part of the terms; others end with status 2 and the share that would do."""
    kept, broken = tmp_path / "kept.yaml", tmp_path / "broken.yaml"
    kept.write_text(GOOD + "    traffic: {share: 0.3, min_share: 0.75}\n", encoding="utf-8")
    broken.write_text(GOOD + "    traffic: {share: 0.6, min_share: 0.75}\n", encoding="utf-8")

    assert main(["config", "check", str(kept)]) == 0
    assert "the incumbent answers at least 0.75 of all" in " ".join(capsys.readouterr().out.split())
    assert main(["config", "check", str(broken)]) == 2
    assert "Lower `share` to 0.5 or less" in capsys.readouterr().err


def test_checking_a_wrong_file_lists_every_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Standard error has one line for each fault, standard output is empty, and the status is 2."""
    path = tmp_path / "gateway.yaml"
    path.write_text(GOOD.replace("incumbent: base", "incumbent: bass") + "    delta: 7\n", encoding="utf-8")

    assert main(["config", "check", str(path)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert [line.partition(" (line")[0] for line in shown.err.splitlines()] == [
        "error: experiments.support.incumbent",
        "error: experiments.support.delta",
    ]


def test_checking_a_file_finds_providers_nobody_knows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The check names the nearest known provider; otherwise the first request would show the mistake."""
    path = tmp_path / "gateway.yaml"
    path.write_text(GOOD.replace("openai/gpt-4o-mini", "antropic/claude"), encoding="utf-8")

    assert main(["config", "check", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: model_list[0].litellm_params.model (line ")
    assert "There is no provider 'antropic'. Did you mean anthropic?" in line


@pytest.mark.parametrize(
    "model", ["mistral/small", "hosted_vllm/llama", "os.environ/THE_MODEL", "ollama/llama"]
)
def test_providers_litellm_knows_are_right(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    model: str,
) -> None:
    """Those it translates for and those it does not, or nothing where only the environment tells."""
    monkeypatch.setenv("THE_MODEL", "openai/gpt")
    path = tmp_path / "gateway.yaml"
    path.write_text(GOOD.replace("openai/gpt-4o-mini", model), encoding="utf-8")

    assert main(["config", "check", str(path)]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("arguments", [[], ["--without-environment"]], ids=["as served", "elsewhere"])
def test_checking_a_file_warns_of_models_that_could_not_be_asked(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
) -> None:
    """What is missing, model by model; not where the environment is another one anyway."""
    for names in KEY_VARIABLES.values():
        for name in names:
            monkeypatch.delenv(name, raising=False)
    path = tmp_path / "gateway.yaml"
    path.write_text(
        "model_list:\n- {model_name: gemini, litellm_params: {model: gemini/pro}}\n- {model_name: openai, "
        "litellm_params: {model: openai/gpt}}\n- {model_name: anthropic, litellm_params: "
        "{model: anthropic/claude}}\n- {model_name: mistral, litellm_params: {model: mistral/small}}\n- {"
        "model_name: azure, litellm_params: {model: azure/gpt}}\n- {model_name: rehearsed, litellm_params: "
        "{model: cloudflare/llama}}\n- {model_name: own, litellm_params: "
        "{model: openai/llama, api_base: 'http://127.0.0.1:1/v1'}}\n- {model_name: local, litellm_params: "
        "{model: ollama/llama}}\n- {model_name: embedder, litellm_params: "
        "{model: voyage/voyage-3, api_key: sk-secret}}\n- {model_name: relayed, litellm_params: "
        "{model: openai/gpt, api_key: sk-secret}}\n",
        encoding="utf-8",
    )

    assert main(["config", "check", str(path), *arguments]) == 0
    warnings = capsys.readouterr().err.splitlines()
    missing = {
        "gemini": "no GEMINI_API_KEY or GOOGLE_API_KEY",
        "openai": "no OPENAI_API_KEY",
        "anthropic": "no ANTHROPIC_API_KEY",
        "mistral": "no MISTRAL_API_KEY or MISTRAL_AZURE_API_KEY",
        "azure": "no AZURE_API_BASE",
        "rehearsed": "Missing Cloudflare API Key",
    }
    assert len(warnings) == (0 if arguments else len(missing))
    for line, (model, problem) in zip(warnings, missing.items(), strict=False):
        assert line.startswith(f"warning: model {model}: ")
        assert problem in line


def test_checking_a_file_imports_nothing_heavy_for_providers_it_knows(tmp_path: Path) -> None:
    """LiteLLM takes seconds to import, and a table says where these providers' keys come from."""
    path = tmp_path / "gateway.yaml"
    models = [
        f"- {{model_name: m{place}, litellm_params: {{model: {provider}/model}}}}\n"
        for place, provider in enumerate(KEY_VARIABLES)
    ]
    path.write_text("model_list:\n" + "".join(models), encoding="utf-8")
    script = (
        "import sys; from gateway.cli import main; status = main(['config', 'check', sys.argv[1]]); "
        "print(status, *sys.modules)"
    )
    environ = {name: value for name, value in os.environ.items() if not name.endswith("KEY")}
    finished = subprocess.run(
        [sys.executable, "-c", script, path], capture_output=True, text=True, check=True, env=environ
    )

    status, *modules = finished.stdout.splitlines()[-1].split()
    assert status == "0"
    assert not {"litellm", "openai"} & set(modules)
    assert len(finished.stderr.splitlines()) == len(KEY_VARIABLES)


def test_such_a_warning_repeats_no_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Configured secrets and anything that looks like a key are blanked in the library's words."""

    async def obstacle(_upstream: LitellmUpstream, _target: ModelTarget) -> str:
        return "Cannot use hush-hush, nor sk-another-secret."

    monkeypatch.setattr(LitellmUpstream, "obstacle", obstacle)
    path = tmp_path / "gateway.yaml"
    path.write_text(
        "model_list:\n- {model_name: m, litellm_params: {model: bedrock/pro, api_key: hush-hush}}\n",
        encoding="utf-8",
    )

    assert main(["config", "check", str(path)]) == 0
    assert capsys.readouterr().err.endswith("Cannot use [redacted], nor [redacted].\n")


@pytest.mark.parametrize("arguments", [[], ["one.yaml", "--config", "two.yaml"]])
def test_check_wants_exactly_one_file(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """Any other number of files is a usage error."""
    assert main(["config", "check", *arguments]) == 2
    assert "Name one file" in capsys.readouterr().err


def test_the_schema_is_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The schema is one document on standard output, for editors."""
    assert main(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_command_runs_as_a_process(good: Path) -> None:
    """`python -m gateway.cli` and `llmpo` end with the status of the command."""
    run = [sys.executable, "-m", "gateway.cli", "config", "check"]

    assert subprocess.run([*run, str(good)], capture_output=True, check=False).returncode == 0
    failed = subprocess.run([*run, "nowhere.yaml"], capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: nowhere.yaml: It cannot be read")
