"""Which interpreters CI chooses from."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.deploy.tools import ROOT


def _interpreter(path: Path, minor: int | None) -> str:
    """A program that answers as Python 3.`minor`; without a number one that cannot be started."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {minor}\n" if minor is not None else "#!/bin/sh\nexit 127\n")
    path.chmod(0o755)
    return str(path)


def test_one_interpreter_of_each_supported_version_is_found_oldest_first(tmp_path: Path) -> None:
    """The path comes before pyenv; shims of what is not installed and other versions are left out."""
    tools = tmp_path / "bin"
    on_path = _interpreter(tools / "python3.12", 12)
    _interpreter(tools / "python3.13", None)
    _interpreter(tools / "python3", 10)
    versions = tmp_path / "pyenv" / "versions"
    newest = _interpreter(versions / "3.13.0" / "bin" / "python3", 13)
    _interpreter(versions / "3.12.1" / "bin" / "python3", 12)
    oldest = _interpreter(versions / "3.11.7" / "bin" / "python3", 11)
    _interpreter(versions / "3.9.1" / "bin" / "python3", 9)
    for name in ("bash", "env"):
        (tools / name).symlink_to(Path("/usr/bin") / name)

    found = subprocess.run(
        [ROOT / "deploy" / "scripts" / "pythons"],
        env={"PATH": str(tools), "HOME": str(tmp_path), "PYENV_ROOT": str(tmp_path / "pyenv")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    assert found == [oldest, on_path, newest]
