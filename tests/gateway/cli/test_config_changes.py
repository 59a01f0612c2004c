"""`llmpo config diff` and `llmpo config promote`: what a file would do, and the winner written into it."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import subprocess
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway.cli import main
from gateway.config.api_keys import hash_key
from gateway.config.editing import with_incumbent
from gateway.config.gateway_file import GatewayConfig
from gateway.config.load import load_config
from gateway.errors import ConfigError
from gateway.experiments.catalogue import definitions_of
from tests.gateway.building import config_fields
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.whole import Whole, quick_settings, whole_gateway

Edit = Callable[[dict[str, Any]], Any]
KEYS = {"ops": {"hash": hash_key("ops"), "role": "admin"}, "app": {"hash": hash_key("app")}}
HOOK_SECRET = "whsec_" + b64encode(b"secret-of-the-hook-of-32-bytes!!").decode()
TEXT = """\
# Who answers support.
model_list:
  - {model_name: plain, litellm_params: {model: openai/plain, api_base: "http://127.0.0.1:9/v1", api_key: k}}
  - model_name: warm   # the dearer one
    litellm_params: {model: openai/warm, api_base: "http://127.0.0.1:9/v1", api_key: k}

experiments:
  support:
    policies:          # order as we like it
      warm: {model: warm}
      plain: {model: plain}
    incumbent: plain   # since March
    traffic: {share: 1.0}
"""


@pytest.fixture(autouse=True)
def _quiet_gateway() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


def written(folder: Path, name: str, edit: Edit = dict, **changes: Any) -> str:
    """A file with the usual configuration, edited."""
    auth = {"keys": deepcopy(KEYS)}
    fields = config_fields(policies=("plain", "warm", "cold"), auth=auth, **changes)
    edit(fields)
    file = folder / f"{name}.yaml"
    file.write_text(json.dumps(fields))
    return str(file)


def support(fields: dict[str, Any]) -> dict[str, Any]:
    """The experiment of a file."""
    found: dict[str, Any] = fields["experiments"]["support"]
    return found


def prompted(fields: dict[str, Any]) -> None:
    """Make one of three policies another one."""
    support(fields)["policies"]["cold"]["system"] = "Be cold."


DIFFERENCES: dict[str, tuple[Edit, int, str, str]] = {
    "the same": (dict, 0, "", "Nothing changes."),
    "share": (lambda fields: support(fields)["traffic"].update(share=0.5), 0, "kept", "1.0 -> 0.5"),
    "delta": (lambda fields: support(fields).update(delta=0.01), 3, "STARTS ANEW", "delta: 0.05 -> 0.01"),
    "feedback": (
        lambda fields: support(fields).update(feedback={"tie_margin": 0.5}),
        3,
        "STARTS ANEW",
        "what feedback counts as",
    ),
    "prompt": (prompted, 0, "partly kept", "policy cold is another one (system)"),
    "policy left": (
        lambda fields: support(fields)["policies"].pop("cold"),
        3,
        "partly kept",
        "cold answers no more",
    ),
    "two of three others": (
        lambda fields: [
            support(fields)["policies"][name].update(system="Be brief.") for name in ("cold", "warm")
        ],
        3,
        "STARTS ANEW",
        "fewer than two policies are the same",
    ),
    "incumbent": (lambda fields: support(fields).update(incumbent="warm"), 3, "kept", "plain serves no more"),
    "experiment left": (lambda fields: fields.update(experiments={}), 3, "NOT USED", "get a 404"),
    "key left": (lambda fields: fields["auth"]["keys"].pop("app"), 3, "", "with the key app are refused"),
    "key limited": (
        lambda fields: fields["auth"].update(
            keys={**KEYS, "app": {**KEYS["app"], "limits": {"requests_per_minute": 5}}}
        ),
        0,
        "",
        "requests_per_minute: - -> 5",
    ),
    "webhook joins": (
        lambda fields: fields.update(
            webhooks=[{"name": "pager", "url": "https://example.com/secret-path", "secret": HOOK_SECRET}]
        ),
        0,
        "",
        "webhook pager",
    ),
    "model joins": (
        lambda fields: fields["model_list"].append({**fields["model_list"][0], "model_name": "more"}),
        0,
        "",
        "model more",
    ),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_differences_say_what_is_kept_and_who_loses(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit status is 3 exactly where evidence or traffic is lost."""
    monkeypatch.delenv("COLUMNS", raising=False)  # no line is shortened all the same
    edit, status, evidence, sentence = DIFFERENCES[name]

    found = main(["config", "diff", written(tmp_path, "old"), written(tmp_path, "new", edit)])

    said = capsys.readouterr().out
    assert found == status, said
    assert evidence in said
    assert sentence in said


def test_faults_and_wrong_usage_end_with_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every fault of either file is reported."""
    assert main(["config", "diff", written(tmp_path, "old"), written(tmp_path, "bad", delta=2.0)]) == 2
    assert "experiments.support.delta" in capsys.readouterr().err
    assert main(["config", "diff", written(tmp_path, "old")]) == 2


@pytest.fixture
async def gateway(upstream: FakeUpstream, embedded_url: str) -> AsyncIterator[Whole]:
    """A gateway with `support`, of which some is counted; a secret in every place where one may be."""
    fields = config_fields(
        api_base=upstream.api_base,
        policies=("plain", "warm", "cold"),
        traffic={"share": 1.0, "collect": "side_by_side"},
        promotion={"min_comparisons": 1_000},
        auth={"keys": KEYS},
    )
    fields["model_list"][0]["litellm_params"] |= {
        "api_key": "secret-of-the-provider",
        "extra_headers": {"x-tenant": "secret-of-the-tenant"},
    }
    config = GatewayConfig.model_validate(fields)
    async with whole_gateway(config, quick_settings(embedded_url), key="ops") as gateway:
        await gateway.planned()
        gateway.fields = fields  # type: ignore[attr-defined]  # for tests to edit
        yield gateway


async def run(*arguments: str) -> int:
    """The command's exit status; beside the gateway, which runs on this loop."""
    return await asyncio.to_thread(main, arguments)


async def test_a_running_gateway_says_where_experiments_stand(
    gateway: Whole, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it runs is no difference; nothing goes on from the evidence of a decided experiment."""
    same, fields = tmp_path / "same.yaml", gateway.fields  # type: ignore[attr-defined]
    same.write_text(json.dumps(fields))
    assert await run("config", "diff", str(same), "--url", gateway.url, "--api-key", "ops") == 0
    assert capsys.readouterr().out == "Nothing changes.\n"

    await promote_warm(gateway)
    other = json.loads(json.dumps(fields))
    prompted(other)
    same.write_text(json.dumps(other))
    assert await run("config", "diff", str(same), "--url", gateway.url, "--api-key", "ops", "--json") == 3
    said = json.loads(capsys.readouterr().out)
    assert said["loses_evidence"]
    assert said["changes"][0]["evidence"] == "anew"
    assert "generation 1 is promoted, so nothing goes on from it" in said["changes"][0]["what"]


async def test_the_description_holds_no_secret(gateway: Whole) -> None:
    """The description has no provider keys, header values or whole hashes, and client keys cannot see it."""
    body = (await gateway.get("/v1/config")).body.decode()

    assert "secret-of" not in body
    assert "x-tenant" in body
    assert hash_key("app").removeprefix("sha256:") not in body


async def test_the_winner_is_written_into_the_file(
    gateway: Whole, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The gateway says who serves since the decision; before one, nothing is written."""
    file = tmp_path / "gateway.yaml"
    text = json.dumps(gateway.fields, indent=1)  # type: ignore[attr-defined]
    file.write_text(text)
    asked = ("config", "promote", str(file), "--url", gateway.url, "--api-key", "ops")
    assert await run(*asked) == 1
    assert "Nothing is decided" in capsys.readouterr().err
    await promote_warm(gateway)

    assert await run(*asked, "--dry-run") == 0
    assert file.read_text() == text
    assert await run(*asked) == 0

    assert json.loads(file.read_text())["experiments"]["support"]["incumbent"] == "warm"
    assert file.read_text() == text.replace('"incumbent": "plain"', '"incumbent": "warm"')
    assert await run(*asked) == 0
    assert "already" in capsys.readouterr().err


async def promote_warm(gateway: Whole) -> None:
    """A person's choice."""
    wanted = {"reason": "better", "policy": "warm"}
    assert (await gateway.call("POST", "/v1/experiments/support/promote", wanted)).status == 200


def certificate(folder: Path, fingerprints: tuple[str, ...] | None = None) -> str:
    """A certificate that names `warm`."""
    file = folder / "of.yaml"
    file.write_text(TEXT)
    record = json.loads(definitions_of(load_config(file, {}))["support"].experiment.to_json())
    record["policy_fingerprints"] = fingerprints or record["policy_fingerprints"]
    path = folder / "certificate.json"
    path.write_text(json.dumps({"experiment": record, "champion": record["policies"].index("warm")}))
    return str(path)


def test_a_certificate_names_the_winner_and_the_patch_applies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Comments, order and quotes stay; the patch makes the same file of the former one."""
    (tmp_path / "a").mkdir()
    file = tmp_path / "gateway.yaml"
    file.write_text(TEXT)

    assert main(["config", "promote", str(file), "--certificate", certificate(tmp_path)]) == 0

    patch = capsys.readouterr().out
    assert file.read_text() == TEXT.replace("incumbent: plain ", "incumbent: warm ")
    again = tmp_path / "again.yaml"
    again.write_text(TEXT)
    subprocess.run(["patch", str(again)], input=patch, text=True, check=True, capture_output=True)
    assert again.read_text() == file.read_text()


def test_file_that_cannot_be_replaced_stays_and_its_patch_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is mounted by itself into a container is busy: that is said, and nothing is left behind."""
    file, proof = tmp_path / "gateway.yaml", certificate(tmp_path)
    file.write_text(TEXT)
    before = sorted(tmp_path.iterdir())

    def is_busy(_self: Path, _target: Path) -> Path:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(Path, "replace", is_busy)
    assert main(["config", "promote", str(file), "--certificate", proof]) == 1

    said = capsys.readouterr()
    assert "+    incumbent: warm " in said.out
    assert "cannot be written: Device or resource busy" in said.err
    assert (file.read_text(), sorted(tmp_path.iterdir())) == (TEXT, before)


def test_another_policy_under_the_winners_name_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The certificate is of what it was then."""
    file = tmp_path / "gateway.yaml"
    file.write_text(TEXT)

    assert (
        main(["config", "promote", str(file), "--certificate", certificate(tmp_path, ("0" * 64,) * 2)]) == 1
    )

    assert "otherwise than the policy that won" in capsys.readouterr().err
    assert file.read_text() == TEXT


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("incumbent: plain", "incumbent: warm"),
        ("incumbent:   'plain'  # why", "incumbent:   'warm'  # why"),
        ('"incumbent": "plain"', '"incumbent": "warm"'),
        ("incumbent:\n      plain", "incumbent:\n      warm"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["unix", "windows"])
def test_the_value_alone_is_replaced(written: str, expected: str, end: str) -> None:
    """This holds for every style of writing the value and every kind of line end."""
    text = f"# é\nexperiments:\n  support:\n    {written}\n    x: [plain]\n".replace("\n", end)
    assert with_incumbent(text, "support", "warm") == text.replace(
        written.replace("\n", end), expected.replace("\n", end)
    )


def test_a_name_that_yaml_reads_otherwise_is_quoted() -> None:
    """`no` would be a boolean."""
    assert (
        with_incumbent("experiments: {a: {incumbent: b}}\n", "a", "no")
        == 'experiments: {a: {incumbent: "no"}}\n'
    )


@pytest.mark.parametrize(
    "text",
    [
        "x: &who plain\nexperiments: {support: {incumbent: *who}}\n",
        "experiments: {support: {incumbent: &who plain}}\nx: *who\n",
        "x: &all {incumbent: plain}\nexperiments:\n  support:\n    <<: *all\n",
    ],
    ids=["alias", "anchor", "merged"],
)
def test_a_value_that_others_share_is_not_touched(text: str) -> None:
    """The refusal says how to write it."""
    with pytest.raises(ConfigError, match="without anchor or alias"):
        with_incumbent(text, "support", "warm")
