"""What is given to a command by mistake in place of something else may be a password: it is not repeated."""

from __future__ import annotations

import pytest

from laila.cli import main

SECRET = "CANARY-0123456789abcdefghijklmnop"


@pytest.mark.parametrize(
    "line",
    [
        f"redis://:{SECRET}@127.0.0.1:1",
        f"peers list redis://:{SECRET}@127.0.0.1:1",
        f"peers ws://127.0.0.1:1 {SECRET}",
        f"serve --secret {SECRET}",
        f"serve --secret={SECRET}",
        f"serve --password {SECRET} --port 0",
        f"serve --port {SECRET}",
        f"serve --secret-file {SECRET}",
        f"peers ws://127.0.0.1:1 --secret-file {SECRET}",
        f"show redis://u:{SECRET}@127.0.0.1:1/x",
        f"show u:{SECRET}@127.0.0.1",
        f"show s3://b?secret_access_key={SECRET}",
        f"show --limit {SECRET} memory://",
        f"keys export {SECRET}",
        f"keys {SECRET}",
        SECRET,
    ],
)
def test_no_command_repeats_a_secret(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code: object = main(line.split())
    except SystemExit as ended:
        code = ended.code
    said = "".join(capsys.readouterr())
    assert code
    assert said
    assert SECRET not in said


def test_what_is_wrong_is_still_said(capsys: pytest.CaptureFixture[str]) -> None:
    for line, said in (
        ("show --limt 3 memory://", "--limt"),
        ("shwo memory://", "'shwo'"),
        ("serve --port x", "--port"),
        ("keys", "list|new|rotate|revoke|used|export|import"),
    ):
        with pytest.raises(SystemExit):
            main(line.split())
        assert said in capsys.readouterr().err


def test_no_error_of_a_command_moves_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    for line in (
        ["\x1b[2Jshow"],
        ["show", "--limit", "\x1b[2J", "memory://"],
        ["show", "memory://", "k", "\u202e"],
    ):
        with pytest.raises(SystemExit):
            main(line)
        said = capsys.readouterr().err
        assert all(character.isprintable() or character == "\n" for character in said)
