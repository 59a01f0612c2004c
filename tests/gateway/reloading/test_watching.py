"""Files are looked at again and again where that is asked for, and read when they stay changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.config.gateway_file import GatewayConfig
from gateway.reloading.source import ConfigSource
from gateway.settings import Settings
from tests.gateway.building import NAME, config_fields
from tests.gateway.reloading.conftest import Opener

Configured = Callable[..., dict[str, Any]]


async def test_a_changed_file_and_template_are_taken_up(
    opened: Opener, configured: Configured, tmp_path: Path
) -> None:
    """The template alone is enough, since it makes its policy another one."""
    (tmp_path / "warm.j2").write_text("Be warm.")
    fields = configured()
    fields["experiments"]["support"]["policies"]["warm"]["template"] = "warm.j2"
    async with opened(fields, watch_config_seconds=0.01) as filed:
        gateway, catalogue = filed.gateway, filed.gateway.app.catalogue
        first = catalogue.current.config_hash

        (tmp_path / "warm.j2").write_text("Be warmer.")
        await gateway.eventually(lambda: catalogue.current.config_hash != first, "the template to be read")

        second = catalogue.current.config_hash
        filed.write(configured())
        await gateway.eventually(lambda: catalogue.current.config_hash != second, "the file to be read")


async def test_a_template_that_appears_mends_a_refused_file(
    opened: Opener, configured: Configured, tmp_path: Path
) -> None:
    """Files may arrive in any order; what was looked for in vain is looked for again."""
    async with opened(configured(), watch_config_seconds=0.01) as filed:
        gateway, catalogue = filed.gateway, filed.gateway.app.catalogue
        first = catalogue.current.config_hash
        fields = configured()
        fields["experiments"]["support"]["policies"]["warm"]["template"] = "late.j2"
        filed.write(fields)
        await gateway.eventually(lambda: _is_refused(gateway), "the file to be refused")

        (tmp_path / "late.j2").write_text("Be late.")

        await gateway.eventually(lambda: catalogue.current.config_hash != first, "both to be read")


def test_a_change_while_the_file_is_first_read_shows(tmp_path: Path) -> None:
    """What changes after it was read is another file, however soon that is."""
    file = tmp_path / "gateway.yaml"
    first, second = (json.dumps(config_fields(delta=delta)) for delta in (0.05, 0.125))
    file.write_text(first)

    def check(_config: GatewayConfig, _settings: Settings) -> None:
        file.write_text(second)

    source = ConfigSource(file, check, {})

    assert source.read().config.experiments[NAME].delta == 0.05
    assert source.change() is not None
    assert source.read().config.experiments[NAME].delta == 0.125


async def _is_refused(gateway: Any) -> bool:
    return "config_detail" in (await gateway.get("/readyz")).json
