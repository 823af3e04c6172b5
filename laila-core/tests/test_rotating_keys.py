"""Keys that are rotated and revoked, and pools that are encrypted again."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

import laila
import laila.directories
from laila.cli.main import main
from laila.codec.trust import encryption_keys, signing_keys
from laila.errors import LailaError, SecretError, UntrustedPayloadError
from laila.tiering.recrypting import protected_by, recrypt_pool

pytest.importorskip("cryptography")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folders = {"root": str(tmp_path), "secrets": str(tmp_path / "secrets")}
    monkeypatch.setattr(laila.directories, "LAILA_DEFAULT_DIRECTORIES", folders)
    for name in ("LAILA_SECRET_KEY", "LAILA_ENCRYPTION_KEY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "secrets"


class Signed:
    """Needs its class to come back, so it is signed."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __reduce__(self) -> tuple[object, ...]:
        return Signed, (self.value,)


def _entry(number: int) -> laila.Entry:
    return laila.constant([number] * 100, nickname=f"e{number}")


def test_old_data_stays_readable_until_its_key_is_revoked(home: Path) -> None:
    pool = laila.MemoryPool(transformations=["zstd", "aes-gcm"])
    laila.memory.extend(pool, pool_nickname="private")
    first = _entry(1)
    laila.memorize(first, pool_nickname="private").wait()
    old = encryption_keys.current()[0]
    assert main(["keys", "rotate", "--encryption", "second"]) == 0
    new = encryption_keys.current()[0]
    assert new != old
    laila.memorize(_entry(2), pool_nickname="private").wait()
    assert laila.remember(first, pool_nickname="private").data == [1] * 100
    assert list(protected_by(pool, old)) == [first.global_id]

    encryption_keys.revoke(old)
    with pytest.raises(SecretError, match="was revoked here"):
        laila.remember(first, pool_nickname="private").wait()
    with pytest.raises(SecretError, match="was revoked here"):
        encryption_keys.export(old)
    report = recrypt_pool(pool)
    assert (report.recrypted, report.left, list(report.failed)) == (0, 1, [first.global_id])
    encryption_keys.restore(old)

    report = recrypt_pool(pool)
    assert (report.recrypted, report.left, report.failed) == (1, 1, {})
    assert list(protected_by(pool, old)) == []
    assert len(list(protected_by(pool, new))) == 2
    encryption_keys.revoke(old)
    assert laila.remember(first, pool_nickname="private").data == [1] * 100
    assert recrypt_pool(pool).recrypted == 0
    laila.terminate()


def test_an_interrupted_run_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"file:{tmp_path}/private?durable=process"
    laila.alpha_pool = laila.memory.extend(url, transformations=["aes-gcm"])
    laila.memorize([_entry(number) for number in range(5)]).wait()
    plain = laila.memory.extend(f"file:{tmp_path}/private?durable=process", pool_nickname="plain")
    laila.memorize(laila.constant("plain", nickname="plain"), pool_nickname="plain").wait()
    encryption_keys.new()

    def stop(report: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recrypt_pool(plain, on_progress=stop)
    assert main(["recrypt", url]) == 0
    assert capsys.readouterr().out == "4 entries encrypted again, 2 left as they were, 0 failed\n"
    assert [laila.remember(nickname=f"e{number}").wait().data for number in range(5)] == [
        [number] * 100 for number in range(5)
    ]
    laila.terminate()


def test_what_a_revoked_key_signed_is_refused_and_listed(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"file:{tmp_path}/pool?durable=process"
    laila.alpha_pool = laila.memory.extend(url)
    entry = laila.constant(Signed(3), nickname="signed")
    laila.memorize(entry).wait()
    key_id = signing_keys.current()[0]
    exported = signing_keys.export(key_id)
    assert laila.remember(entry).data.value == 3
    assert main(["keys", "revoke", key_id]) == 0
    said = capsys.readouterr().out
    made = signing_keys.current()[0]
    assert made in said
    assert made != key_id
    with pytest.raises(UntrustedPayloadError, match="revoked"):
        laila.remember(entry).wait()
    assert main(["keys", "used", key_id, "--pool", url]) == 0
    assert capsys.readouterr().out == f"{entry.global_id}\n"
    assert main(["keys", "list"]) == 0
    assert any(line.split()[:2] == [key_id, "revoked"] for line in capsys.readouterr().out.splitlines())
    with pytest.raises(SecretError, match="revoked"):
        signing_keys.import_text(exported)
    (marker,) = home.glob("keys/*.revoked")
    assert stat.S_IMODE(marker.stat().st_mode) == 0o600
    assert main(["keys", "revoke", "--undo", key_id]) == 0
    assert laila.remember(entry).wait().data.value == 3
    laila.terminate()


def test_encryption_keys_go_to_another_machine(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key_id, key = encryption_keys.current()
    assert main(["keys", "export", key_id, "--output", str(tmp_path / "key")]) == 0
    folders = {"root": str(tmp_path), "secrets": str(tmp_path / "other")}
    monkeypatch.setattr(laila.directories, "LAILA_DEFAULT_DIRECTORIES", folders)
    assert main(["keys", "import", str(tmp_path / "key")]) == 0
    assert encryption_keys.find(key_id) == key
    assert signing_keys.list() == []
    capsys.readouterr()
    assert main(["keys", "list"]) == 0
    assert key_id in capsys.readouterr().out
    (tmp_path / "other" / "encryption" / f"{key_id}.key").chmod(0o644)
    with pytest.raises(SecretError, match="chmod"):
        encryption_keys.find(key_id)


def test_unknown_keys_are_told() -> None:
    for ring in (signing_keys, encryption_keys):
        for key_id in ("0" * 16, "nonsense", "../x"):
            with pytest.raises(LailaError):
                ring.revoke(key_id)
            with pytest.raises(LailaError):
                ring.restore(key_id)
    assert main(["keys", "revoke", "0" * 16]) == 1
