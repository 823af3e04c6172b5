"""Trust: data never runs code, and keys stay where they belong."""

from __future__ import annotations

import dataclasses
import enum
import json
import logging
import os
import stat
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import cloudpickle
import msgpack
import numpy as np
import pytest

import laila.directories
from laila.blob.blob import Blob
from laila.blob.buffer import Buffer
from laila.codec import decode, encode, registry, tags, trust
from laila.codec.trust import (
    Keyring,
    export_key,
    import_key,
    list_keys,
    new_key,
    parse_key,
    sign_blob,
    signing_keys,
    verify_blob,
)
from laila.errors import CorruptEntryError, PayloadError, SecretError, UntrustedPayloadError

KEY = "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    use(tmp_path / "one", monkeypatch)
    monkeypatch.delenv("LAILA_SECRET_KEY", raising=False)
    return tmp_path


def use(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another machine, as far as secrets go."""
    root.mkdir(exist_ok=True)
    folders = {"root": str(root), "secrets": str(root / "secrets")}
    monkeypatch.setattr(laila.directories, "LAILA_DEFAULT_DIRECTORIES", folders)
    return root / "secrets"


@dataclasses.dataclass
class Point:
    x: int
    y: Any = None


class Colour(enum.Enum):
    RED = 1


class Pair(NamedTuple):
    a: int
    b: int


@attrs.define
class Record:
    a: int


class Items(list[int]):
    pass


# A class that is not registered, and is not one of those that laila knows, is code by its name.
SIGNED: list[Any] = [Point(1, [2]), Colour.RED, Pair(1, 2), Record(1), Items([1]), len, Path]


class Evil:
    """Pickles into a call that writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def rows(*given: list[Any]) -> bytes:
    return tags.ROWS_MARK + b"".join(msgpack.packb(row) for row in given)


@pytest.mark.parametrize("payload", SIGNED, ids=lambda payload: type(payload).__name__)
def test_what_needs_code_is_signed_and_refused_elsewhere(
    payload: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = encode({"in": [payload]}, key=KEY)
    assert blob.signature is not None
    assert blob.metadata["codec"] == "signed"
    raw = bytes(blob)
    found: Any = decode(Blob.from_bytes(raw))
    assert type(found["in"][0]) is type(payload)
    key_id = blob.signature[0]
    text = export_key(key_id)
    use(home / "two", monkeypatch)
    with pytest.raises(UntrustedPayloadError) as caught:
        decode(Blob.from_bytes(raw))
    assert caught.value.key_id == key_id
    for word in (key_id, "laila keys export", "Nothing was imported or run"):
        assert word in str(caught.value)
    pickled = type(payload) in {type(len), type}
    assert ("laila.register_type" in str(caught.value)) is not pickled, "advice that can be followed"
    assert import_key(text) == key_id
    decode(Blob.from_bytes(raw))
    with pytest.raises(PayloadError, match=r"payload\['in'\]\[0\].*pickle=False"):
        encode({"in": [payload]}, key=KEY, pickle=False)


def test_a_pickle_without_a_signature_is_never_opened(home: Path) -> None:
    witness = home / "witness"
    data = cloudpickle.dumps(Evil(witness))
    tree = rows([tags.PICKLE, "x:y", data])
    key_id, _ = signing_keys.current()
    signatures: list[Any] = [
        None,
        (key_id, bytes(32)),
        ("0" * 16, bytes(32)),
        (key_id, b""),
        ("../../x", b""),
    ]
    for signature in signatures:
        with pytest.raises(UntrustedPayloadError):
            decode(Blob(KEY, tree, signature=signature))
    assert not witness.exists()
    blob = Blob(KEY, tree)
    sign_blob(blob, {})
    decode(blob)
    assert witness.exists(), "the pickle is a live one"


def test_nothing_is_imported_without_a_signature(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "trap_module.py").write_text(f"open({str(home / 'witness')!r}, 'w').close()\nclass Trap: pass\n")
    monkeypatch.syspath_prepend(str(home))
    for tag, fields in ((tags.OBJECT, []), (tags.NAMED_TUPLE, []), (tags.ENUM, ["A", None])):
        for name in ("trap_module:Trap", "laila.cli.main:Trap", "os:system", "builtins:object", ":", ""):
            before = set(sys.modules)
            for signature in (None, ("0" * 16, bytes(32))):
                with pytest.raises(UntrustedPayloadError):
                    decode(Blob(KEY, rows([tag, name, *fields]), signature=signature))
            assert "trap_module" not in sys.modules
            assert set(sys.modules) - before <= {"hmac"}
    assert not (home / "witness").exists()


def test_every_part_of_a_blob_is_signed() -> None:
    payload = [Point(1), np.arange(3), np.arange(4)]
    blob = encode(payload, key=KEY, nickname="n", user_metadata={"a": 1})
    assert blob.signature is not None
    key_id, mac = blob.signature

    def variant(**changes: Any) -> Blob:
        given: dict[str, Any] = {
            "key": blob.key,
            "tree": blob.tree,
            "buffers": blob.buffers,
            "nickname": blob.nickname,
            "meta": blob._meta,
            "signature": blob.signature,
            **changes,
        }
        return Blob(**given)

    decode(variant())
    first, second = blob.buffers
    changed = bytearray(first.data)
    changed[0] ^= 1
    array = {"dtype": first.dtype, "shape": first.shape}
    assert blob._meta is not None
    variants: list[dict[str, Any]] = [
        {"key": "another"},
        {"tree": blob.tree.replace(b"\x01", b"\x02", 1)},
        {"buffers": (Buffer(memoryview(changed), **array), second)},  # type: ignore[arg-type]
        {"buffers": (second, first)},
        {"buffers": (Buffer(first.data, "<u8", first.shape), second)},
        {"buffers": (Buffer(first.data, "<i8", (1, 3)), second)},
        {"nickname": "m"},
        {"nickname": None},
        {"meta": (*blob._meta[:4], None)},
        {"signature": (key_id, mac[:-1])},
        {"signature": (key_id, mac[:-1] + bytes([mac[-1] ^ 1]))},
        {"signature": ("0" * 16, mac)},
        {"signature": None},
    ]
    for changes in variants:
        with pytest.raises((UntrustedPayloadError, CorruptEntryError)):
            decode(variant(**changes))


def test_verified_before_any_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """A blob whose signature fails builds nothing at all, not even what would be allowed without one."""
    blob = encode([Point(1), (1, 2)], key=KEY)
    assert blob.signature is not None
    built: list[Any] = []
    original = registry.DECODERS[tags.TUPLE]

    def spy(row: list[object], decoder: Any) -> object:
        built.append(row)
        return original(row, decoder)

    monkeypatch.setitem(registry.DECODERS, tags.TUPLE, spy)
    decode(blob)
    assert built
    built.clear()
    with pytest.raises(UntrustedPayloadError, match="does not verify"):
        decode(Blob(KEY, blob.tree, signature=blob.signature, nickname="changed"))
    assert not built


def test_it_is_said_once_per_type(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "_told", set())
    caplog.set_level(logging.INFO, "laila.codec")
    for _ in range(3):
        encode([Point(1), Colour.RED], key=KEY)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert sum("Point" in line for line in told) == 1


def test_first_key_is_made_when_needed(home: Path) -> None:
    secrets = home / "one" / "secrets"
    encode({"a": (1, np.zeros(3))}, key=KEY)
    assert not secrets.exists()
    encode(Point(1), key=KEY)
    (file,) = (secrets / "keys").glob("*.key")
    assert file.stat().st_mode & 0o777 == 0o600
    assert (secrets / "keys").stat().st_mode & 0o777 == 0o700
    assert not [name for name in os.listdir(secrets / "keys") if name.startswith(".")]
    (entry,) = list_keys()
    assert entry["id"] == file.stem
    assert entry["active"] is True
    text = file.read_text().strip()
    assert text not in json.dumps(list_keys())
    assert text not in repr(signing_keys)


def test_two_processes_make_one_first_key(home: Path) -> None:
    root = home / "race"
    code = (
        "import sys, time; from laila.codec.trust import signing_keys\n"
        "sys.stdin.readline()\n"
        "print(signing_keys.current()[0])"
    )
    environment = {**os.environ, "LAILA_HOME": str(root)}
    processes = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdin=-1, stdout=-1, text=True)
        for _ in range(6)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    found = {process.communicate(timeout=200)[0].strip() for process in processes}
    assert len(found) == 1
    assert len(found.pop()) == 16
    assert len(list((root / "secrets" / "keys").glob("*.key"))) == 1


def test_two_threads_make_one_first_key() -> None:
    from concurrent.futures import ThreadPoolExecutor

    ring = Keyring("threads", "LAILA_TEST_NO_SUCH_KEY", b"test")
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: ring.current()[0], range(32)))) == 1


def test_new_export_import(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = new_key()
    blob = encode(Point(1), key=KEY)
    second = new_key("laptop")
    assert {entry["id"]: entry["active"] for entry in list_keys()} == {first: False, second: True}
    assert {entry["name"] for entry in list_keys()} == {None, "laptop"}
    again = encode(Point(1), key=KEY)
    assert again.signature is not None
    assert again.signature[0] == second
    decode(blob)
    text = export_key(first)
    use(home / "two", monkeypatch)
    third = new_key()
    assert import_key(f"  {text}\n") == first
    third_blob = encode(Point(1), key=KEY)
    assert (third_blob.signature or ("",))[0] == third, "an imported key verifies, it does not sign"
    decode(blob)
    with pytest.raises(SecretError, match="known: "):
        export_key(second)
    with pytest.raises(SecretError):
        import_key("too short")
    for odd in ("../../etc/passwd", "", "x" * 16, "0" * 15):
        with pytest.raises(SecretError):
            export_key(odd)


def test_key_from_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAILA_SECRET_KEY", "a text of at least thirty-two characters")
    blob = encode(Point(1), key=KEY)
    decode(blob)
    monkeypatch.setenv("LAILA_SECRET_KEY", "another text of at least thirty-two characters")
    with pytest.raises(UntrustedPayloadError):
        decode(blob)
    monkeypatch.setenv("LAILA_SECRET_KEY", "hunter2hunter2")
    with pytest.raises(SecretError, match="LAILA_SECRET_KEY") as caught:
        encode(Point(1), key=KEY)
    assert "hunter2" not in str(caught.value)
    assert not list((home / "one").rglob("*.key"))


def test_forms_of_a_key() -> None:
    import base64

    raw = bytes(range(32))
    assert parse_key(raw.hex()) == parse_key(raw.hex().upper() + "\n") == raw
    assert (
        parse_key(base64.b64encode(raw).decode()) == parse_key(base64.urlsafe_b64encode(raw).decode()) == raw
    )
    assert parse_key("x" * 32) == b"x" * 32
    for short in ("", "x" * 31, raw.hex()[:20]):
        with pytest.raises(SecretError):
            parse_key(short)


def test_damaged_key_files(home: Path) -> None:
    key_id = new_key()
    folder = home / "one" / "secrets" / "keys"
    fresh = Keyring("keys", "LAILA_SECRET_KEY", b"laila signing key")
    (folder / f"{key_id}.key").write_text("00" * 32)
    with pytest.raises(SecretError, match="does not hold that key"):
        fresh.current()
    (folder / f"{key_id}.key").unlink()
    with pytest.raises(SecretError, match="laila keys"):
        fresh.current()
    (folder / "active").write_text("nonsense\n")
    with pytest.raises(SecretError, match="does not name a key"):
        fresh.current()


def test_unwritable_secrets_refuse_before_anything_is_made(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "file").write_text("in the way")
    monkeypatch.setattr(
        laila.directories,
        "LAILA_DEFAULT_DIRECTORIES",
        {"root": str(home / "file"), "secrets": str(home / "file" / "secrets")},
    )
    with pytest.raises(OSError, match="directory"):
        encode(Point(1), key=KEY)
    assert decode(encode([1, (2,)], key=KEY)) == [1, (2,)]


def test_class_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules[__name__]
    for name, payload in (("Point", Point(1)), ("Colour", Colour.RED), ("Pair", Pair(1, 2))):
        blob = encode(payload, key=KEY)
        with monkeypatch.context() as gone:
            gone.delattr(module, name)
            with pytest.raises(PayloadError, match=r"not there any more.*register.*old name"):
                decode(blob)
        with monkeypatch.context() as changed:
            changed.setattr(module, name, 3)
            with pytest.raises(PayloadError, match="none"):
                decode(blob)
    blob = encode(Pair(1, 2), key=KEY)
    monkeypatch.setattr(module, "Pair", NamedTuple("Pair", [("a", int), ("c", int)]))
    with pytest.raises(PayloadError, match="is no field"):
        decode(blob)
    blob = encode(Colour.RED, key=KEY)
    monkeypatch.setattr(module, "Colour", enum.Enum("Colour", "BLUE"))
    with pytest.raises(PayloadError, match="RED"):
        decode(blob)


@pytest.mark.parametrize(
    "text",
    [
        "a text of more than thirty-two characters, as any file holds",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
        "0" * 64 + "  file.tar.gz",
        "laila-key " + "0" * 16 + " " + "ab" * 32,
        "laila-key " + "0" * 16,
        "A" * 43 + "=",
        "",
    ],
)
def test_what_is_no_key_is_not_imported(text: str) -> None:
    before = signing_keys.list()
    with pytest.raises(SecretError, match="Nothing was imported") as caught:
        import_key(text)
    assert "more than thirty" not in str(caught.value)
    assert signing_keys.list() == before


def test_a_key_that_was_taken_away_is_trusted_no_longer() -> None:
    """Also in a process that has used it: whoever revokes a key need not find out who runs."""
    key_id = signing_keys.new()
    path = signing_keys._folder() / f"{key_id}.key"
    assert signing_keys.find(key_id) is not None
    text = path.read_text()
    path.unlink()
    assert signing_keys.find(key_id) is None
    signing_keys.import_text(text)
    assert signing_keys.find(key_id) is not None
    path.write_text("00" * 32 + "\n")
    with pytest.raises(SecretError, match="does not hold that key"):
        signing_keys.find(key_id)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["active", "key"])
def test_what_is_no_file_of_a_key_is_not_waited_for(name: str) -> None:
    key_id = signing_keys.new()
    place = signing_keys._folder() / ("active" if name == "active" else f"{key_id}.key")
    for put in (os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)):
        place.unlink()
        put(place)
        with pytest.raises(SecretError):
            signing_keys.current()
        if place.is_dir():
            place.rmdir()
            place.touch()


def access_list(*rights: tuple[int, int, int]) -> bytes:
    """A POSIX access list as Linux keeps it: kind, rights and user of each line."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *line) for line in rights)


def test_an_access_list_opens_no_key() -> None:
    key_id = signing_keys.new()
    folder = signing_keys._folder()
    nobody = 2**32 - 1
    places = [(folder, 7), (folder / f"{key_id}.key", 4)]
    for path, more in places:
        rights = access_list(
            (1, 7, nobody), (2, more, 65534), (4, 0, nobody), (16, more, nobody), (32, 0, nobody)
        )
        try:
            os.setxattr(path, "system.posix_acl_access", rights)
        except (AttributeError, OSError):
            pytest.skip("no access lists here")
        with pytest.raises(SecretError, match="others may"):
            signing_keys.find(key_id)
        os.removexattr(path, "system.posix_acl_access")
        path.chmod(0o700 if path == folder else 0o600)
        assert signing_keys.find(key_id) is not None
    umask = os.umask(0)
    try:
        second = signing_keys.new()
    finally:
        os.umask(umask)
    assert stat.S_IMODE((folder / f"{second}.key").stat().st_mode) == 0o600


def test_a_signed_blob_is_of_one_id() -> None:
    blob = encode(Point(1), key=KEY)
    assert verify_blob(blob)
    other = KEY.replace("3c78a603", "4c78a603")
    moved = Blob(other, blob.tree, blob.buffers, None, blob._meta, (), blob.signature)
    with pytest.raises(UntrustedPayloadError):
        verify_blob(Blob.from_bytes(bytes(moved), key=other))
    with pytest.raises(CorruptEntryError, match="bears the id"):
        Blob.from_bytes(bytes(blob), key=other)


def test_keys_that_others_may_write_to_are_not_trusted() -> None:
    key_id = signing_keys.new()
    folder = signing_keys._folder()
    places = [(folder.parent, 0o770), (folder, 0o702), (folder / f"{key_id}.key", 0o620)]
    places += [(folder / f"{key_id}.key", mode) for mode in (0o640, 0o604)]
    for path, mode in places:
        signing_keys._known.clear()
        kept = stat.S_IMODE(path.stat().st_mode)
        path.chmod(mode)
        with pytest.raises(SecretError, match=f"{path} has the mode {mode:04o}.*chmod go-"):
            signing_keys.find(key_id)
        path.chmod(kept)
        assert signing_keys.find(key_id) is not None
    if not os.getuid():
        for path in (folder.parent, folder, folder / f"{key_id}.key"):
            signing_keys._known.clear()
            os.chown(path, 65534, -1)
            with pytest.raises(SecretError, match="belongs to another user"):
                signing_keys.find(key_id)
            os.chown(path, 0, -1)
    link = folder / f"{'0' * 16}.key"
    link.symlink_to(folder / f"{key_id}.key")
    with pytest.raises(SecretError, match="cannot be read"):
        signing_keys.find("0" * 16)
