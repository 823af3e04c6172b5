"""Type checkers see laila through what is installed: all of it, and every error in a program that uses it.

mypy is asked of wheels and of editable installs. pyright resolves the parts of a namespace package only where
they are installed in one place, so it is asked of wheels.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from workspace import DISTRIBUTIONS, Distribution, Environment, clean_environment

CLIENT = Path(__file__).parent / "typing" / "client.py"
WRONG = [number for number, line in enumerate(CLIENT.read_text().splitlines(), 1) if line.endswith("# wrong")]


def _mypy(environment: Environment) -> list[int]:
    """The lines of the client where mypy --strict finds an error, in what is installed in the environment."""
    client = shutil.copy(CLIENT, environment.elsewhere)
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-incremental",
        "--python-executable",
        str(environment.python),
    ]
    done = subprocess.run(
        [*command, str(client)],
        cwd=environment.elsewhere,
        env=clean_environment(environment.home),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    found = re.findall(r"^(.*?):(\d+): error: .*$", done.stdout, re.MULTILINE)
    assert {Path(file).name for file, _ in found} <= {CLIENT.name}, done.stdout
    return [int(line) for _, line in found]


# Of wheels pyright is asked, below.
@pytest.mark.parametrize("way", [pytest.param("wheel", marks=pytest.mark.long), "editable"])
def test_mypy_finds_exactly_the_planted_errors(
    way: str,
    wheels: dict[str, Path],
    make_environment: Callable[[Sequence[Path | Distribution]], Environment],
) -> None:
    """One on each marked line, and none elsewhere: nothing of the API is unknown or untyped."""
    environment = make_environment([wheels[each.name] if way == "wheel" else each for each in DISTRIBUTIONS])
    assert _mypy(environment) == WRONG


def test_mypy_without_the_siblings_says_what_is_missing(
    wheels: dict[str, Path], make_environment: Callable[[Sequence[Path | Distribution]], Environment]
) -> None:
    """The core's wheel alone does not pretend to have them."""
    environment = make_environment([wheels["laila-core"]])
    lines = CLIENT.read_text().splitlines()
    imports = [
        number for number, line in enumerate(lines, 1) if re.match(r"from laila\.(pool|taskforce)\.", line)
    ]
    assert set(imports) <= set(_mypy(environment))


def test_pyright_finds_exactly_the_planted_errors_in_wheels(installed: Environment) -> None:
    """The same lines, with another checker: the one behind most editors."""
    client = Path(shutil.copy(CLIENT, installed.elsewhere))
    config = installed.elsewhere / "pyrightconfig.json"
    config.write_text(
        json.dumps({"typeCheckingMode": "standard", "pythonVersion": "3.11", "include": [client.name]})
    )
    done = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", str(installed.python)],
        cwd=installed.elsewhere,
        env=clean_environment(installed.home),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    found = [each for each in json.loads(done.stdout)["generalDiagnostics"] if each["severity"] == "error"]
    assert [each["range"]["start"]["line"] + 1 for each in found] == WRONG, found
