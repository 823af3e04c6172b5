"""The command ``laila``, as a process: output, exit codes, hostile contents, closed pipes."""

from __future__ import annotations

import json
import os
import pty
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from laila.plugins.first_party import pip_line

FIXTURES = Path(__file__).parent / "plugin_fixtures"

# A pool on a file, for the command is a process of its own: the simplest that keeps anything.
POOL = '''
"""Blobs in a folder, one file each."""

from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from laila.contract import Pool


class FolderPool(Pool):
    def __init__(self, url, transformations=()):
        super().__init__(transformations=transformations)
        self.url = url
        self.folder = Path(urlsplit(url).path)
        self.folder.mkdir(exist_ok=True)

    def _path(self, key):
        return self.folder / quote(key, safe="")

    def _read(self, key):
        return self._path(key).read_bytes() if self._exists(key) else None

    def _write(self, key, blob):
        self._path(key).write_bytes(bytes(blob))

    def _delete(self, key):
        self._path(key).unlink(missing_ok=True)

    def _exists(self, key):
        return self._path(key).exists()

    def _keys(self):
        return (unquote(path.name) for path in self.folder.iterdir())

    def _empty(self):
        for path in self.folder.iterdir():
            path.unlink()
'''


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """A fresh home, and the folder pool installed."""
    plugin = tmp_path / "plugin"
    info = plugin / "folder_pool-1.0.dist-info"
    info.mkdir(parents=True)
    (plugin / "laila_fixture_folder.py").write_text(POOL)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: folder-pool\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[laila.pools]\nfolder = laila_fixture_folder:FolderPool\n")
    env = {name: value for name, value in os.environ.items() if not name.startswith("LAILA_")}
    return env | {"HOME": str(tmp_path / "home"), "PYTHONPATH": str(plugin), "TZ": "UTC"}


Done = subprocess.CompletedProcess[str]


def laila(env: dict[str, str], *words: str, text: str | None = None) -> Done:
    return subprocess.run(
        [sys.executable, "-m", "laila", *words],
        env=env, input=text, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip


def fill(env: dict[str, str], code: str, folder: Path) -> None:
    head = (
        f"import laila\nfrom laila_fixture_folder import FolderPool\npool = FolderPool('folder://{folder}')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", head + code], env=env, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr


def put(entry: str) -> str:
    return f"e = {entry}\npool[e.global_id] = e\n"


# -- the command itself ----------------------------------------------------------------------------------


def test_help_and_version(home: dict[str, str]) -> None:
    done = laila(home, "--help")
    assert done.returncode == 0
    assert {"keys", "new-pool", "plugins", "show"} <= set(
        re.findall(r"^    ([\w-]+) ", done.stdout, re.MULTILINE)
    )
    assert re.fullmatch(r"laila-core \d+\.\d+\S*\n", laila(home, "--version").stdout)
    for command in ("keys", "new-pool", "plugins", "show"):
        assert laila(home, command, "--help").returncode == 0
    assert not Path(home["HOME"]).exists()


@pytest.mark.parametrize(
    "words", [(), ("nonsense",), ("show",), ("keys",), ("show", "memory://", "--limit", "x")]
)
def test_wrong_usage_is_2(words: tuple[str, ...], home: dict[str, str]) -> None:
    done = laila(home, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: laila")


def test_the_installed_script_is_the_same_command(home: dict[str, str]) -> None:
    script = Path(sys.executable).with_name("laila")
    done = subprocess.run([script, "--version"], env=home, capture_output=True, text=True, check=True)
    assert done.stdout == laila(home, "--version").stdout


def test_a_command_is_one_file(home: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "say_hello.py").write_text(
        '"""Say hello.\n\nAt length."""\n\ndef configure(parser):\n    parser.add_argument("name")\n\n'
        'def run(options):\n    print("hello", options.name)\n    return 5\n'
    )
    code = f"""
import sys
from laila.cli import commands, main
commands.__path__.append({str(tmp_path)!r})
sys.exit(main(["say-hello", "you"]))
"""
    done = subprocess.run([sys.executable, "-c", code], env=home, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("hello you\n", 5)


def test_a_closed_pipe_is_no_complaint(home: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "pool"
    fill(home, "for i in range(3000):\n    e = laila.constant(i)\n    pool[e.global_id] = e\n", folder)
    command = f"{sys.executable} -m laila show folder://{folder} --limit 0 | head -1"
    done = subprocess.run(command, shell=True, env=home, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("KEY")
    assert done.stderr == ""


# -- laila plugins ---------------------------------------------------------------------------------------


def test_plugins_lists_what_is_installed_and_imports_nothing(home: dict[str, str]) -> None:
    env = home | {
        "PYTHONPATH": os.pathsep.join([home["PYTHONPATH"], str(FIXTURES / "broken"), str(FIXTURES / "hooks")])
    }
    done = laila(env, "plugins")
    assert done.returncode == 0
    assert re.search(r"^pool +folder +folder:// +folder-pool +1\.0 +- +available$", done.stdout, re.MULTILINE)
    assert re.search(r"^pool +memory +memory:// +laila-core .* 1 +available$", done.stdout, re.MULTILINE)
    assert re.search(r"^hooks +observer +hook-plugins +2\.0 +- +available$", done.stdout, re.MULTILINE)
    assert re.search(r"^pool +raising .* available$", done.stdout, re.MULTILINE)
    assert "laila plugins --check" in done.stdout.splitlines()[-1]
    assert "distribution broken-plugins" in done.stdout
    assert done.stderr == ""


def test_plugins_check_imports_them_and_says_what_is_wrong(home: dict[str, str]) -> None:
    env = home | {"PYTHONPATH": os.pathsep.join([home["PYTHONPATH"], str(FIXTURES / "broken")])}
    done = laila(env, "plugins", "--check")
    assert done.returncode == 1
    assert re.search(r"^pool +folder +folder:// +folder-pool +1\.0 +1 +loaded$", done.stdout, re.MULTILINE)
    assert re.search(r"^pool +raising .* failed$", done.stdout, re.MULTILINE)
    assert re.search(r"^pool +future .* 99 +failed$", done.stdout, re.MULTILINE)
    reason = "cannot be imported: RuntimeError: this plugin is broken on purpose"
    assert done.stdout.count(f"\npool raising of broken-plugins: {reason}\n") == 1
    assert "lacks _delete, _empty, _keys, _read, _write" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_plugins_as_json(home: dict[str, str]) -> None:
    done = laila(home, "plugins", "--json")
    rows = {(row["kind"], row["name"]): row for row in json.loads(done.stdout)}
    assert rows["pool", "folder"] == {
        "kind": "pool", "name": "folder", "schemes": ["folder"], "distribution": "folder-pool",
        "version": "1.0", "contract": None, "status": "available", "reason": "",
    }  # fmt: skip
    assert (done.returncode, rows["pool", "memory"]["contract"]) == (0, 1)


def test_plugins_all_names_the_pip_lines(home: dict[str, str]) -> None:
    done = laila(home, "plugins", "--all")
    assert re.search(r"^task force +dask .* (not installed|available)$", done.stdout, re.MULTILINE)
    for line in done.stdout.splitlines():
        if line.endswith("not installed"):
            assert pip_line(line.split()[-3]) in done.stdout


# -- laila keys ------------------------------------------------------------------------------------------


def test_keys_from_new_to_another_machine(home: dict[str, str], tmp_path: Path) -> None:
    assert laila(home, "keys", "list").stdout.startswith("no keys yet")
    made = laila(home, "keys", "new", "for tests")
    key_id = made.stdout.strip()
    assert re.fullmatch(r"[0-9a-f]{16}", key_id)
    (file,) = Path(home["HOME"]).glob(".laila/secrets/keys/*.key")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.parent.stat().st_mode) == 0o700
    listed = laila(home, "keys", "list").stdout
    assert re.search(rf"^{key_id} +yes +for tests +{re.escape(str(file))}$", listed, re.MULTILINE)
    secret = laila(home, "keys", "export", key_id).stdout
    assert secret.strip() not in listed
    exported = tmp_path / "exported"
    assert laila(home, "keys", "export", key_id, "--output", str(exported)).returncode == 0
    assert (exported.read_text(), stat.S_IMODE(exported.stat().st_mode)) == (secret, 0o600)
    assert laila(home, "keys", "export", key_id, "--output", str(exported)).returncode == 0  # it is there
    taken = tmp_path / "taken"
    taken.write_text("something else")
    again = laila(home, "keys", "export", key_id, "--output", str(taken))
    assert (again.returncode, "is there already" in again.stderr) == (1, True)
    assert taken.read_text() == "something else"
    for number, arguments in enumerate(([str(exported)], ["-"], [])):
        other = home | {"HOME": str(tmp_path / f"other{number}")}
        done = laila(other, "keys", "import", *arguments, text=secret)
        assert done.stdout.strip() == key_id
        assert laila(other, "keys", "export", key_id).stdout == secret


def test_keys_says_what_is_wrong(home: dict[str, str], tmp_path: Path) -> None:
    done = laila(home, "keys", "export", "0" * 16)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"laila: there is no key .*\n", done.stderr)
    done = laila(home, "keys", "import", text="hunter2")
    assert done.returncode == 1
    assert "hunter2" not in done.stderr
    assert "no key of laila" in done.stderr
    done = laila(home, "keys", "import", str(tmp_path / "none"))
    assert (done.returncode, "No such file" in done.stderr) == (1, True)
    done = laila(home | {"HOME": "/dev/null"}, "keys", "new")
    assert done.returncode == 1
    assert "LAILA_HOME" in done.stderr
    assert "Traceback" not in done.stderr


# -- laila show ------------------------------------------------------------------------------------------


def test_show_lists_a_pool(home: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "pool"
    code = (
        put("laila.constant({'lr': 0.1}, nickname='settings')")
        + put("laila.variable([1, 2], nickname='counter')")
        + put("laila.constant('x' * 5000)")
    )
    fill(home, code, folder)
    done = laila(home, "show", f"folder://{folder}")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["KEY", "KIND", "TYPE", "SIZE", "CREATED", "NICKNAME"]
    time = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+00:00"
    assert re.search(
        rf"ENTRY:GLOBAL_ID:\S+ +constant +dict +\d+ B +{time} +settings$", done.stdout, re.MULTILINE
    )
    assert re.search(
        rf"ENTRY:GLOBAL_ID:\S+-0 +variable +list +\d+ B +{time} +counter$", done.stdout, re.MULTILINE
    )
    assert re.search(r" constant +str +4\.9 KiB ", done.stdout)
    assert lines[-1] == "3 entries"
    assert (
        laila(home, "show", f"folder://{folder}", "--limit", "2")
        .stdout.splitlines()[-1]
        .startswith("the first 2")
    )


def test_show_one_entry_by_id_and_nickname(home: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "pool"
    fill(home, put("laila.constant({'lr': 0.1}, nickname='settings', metadata={'who': 'me'})"), folder)
    done = laila(home, "show", f"folder://{folder}", "settings")
    assert (done.returncode, done.stderr) == (0, "")
    key = re.search(r"^id +(\S+)$", done.stdout, re.MULTILINE)
    assert key is not None
    for line in (
        r"kind +constant",
        r"nickname +settings",
        r"type +dict",
        r"metadata +\{'who': 'me'\}",
        r"value +\{'lr': 0\.1\}",
    ):
        assert re.search(rf"^{line}$", done.stdout, re.MULTILINE), line
    assert laila(home, "show", f"folder://{folder}", key[1]).stdout == done.stdout


def test_show_gives_the_newest_evolution(home: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "pool"
    fill(home, put("laila.variable(1, nickname='v')") + "e.evolve(data=22)\npool[e.global_id] = e\n", folder)
    done = laila(home, "show", f"folder://{folder}", "v")
    assert re.search(r"^evolutions +0 1$", done.stdout, re.MULTILINE)
    assert re.search(r"^value +22$", done.stdout, re.MULTILINE)
    key = re.search(r"^id +(\S+)-1$", done.stdout, re.MULTILINE)
    assert key is not None
    assert "value  1\n" in laila(home, "show", f"folder://{folder}", f"{key[1]}-0").stdout


def test_show_finds_a_manifest_by_nickname(home: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "pool"
    code = "m = laila.Manifest({'a': laila.constant(1)}, nickname='run')\npool[m.global_id] = m\n"
    fill(home, code, folder)
    done = laila(home, "show", f"folder://{folder}", "run")
    assert re.search(r"^kind +manifest$", done.stdout, re.MULTILINE)
    assert re.search(r"^value +\{'a': 'LAILA:ENTRY:", done.stdout, re.MULTILINE)


def test_show_of_arrays_names_their_buffers(home: dict[str, str], tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    folder = tmp_path / "pool"
    fill(home, "import numpy\n" + put("laila.constant(numpy.zeros((40, 50), '>f4'), nickname='a')"), folder)
    done = laila(home, "show", f"folder://{folder}", "a")
    assert re.search(r"^buffer +>f4 40×50 C, 7\.8 KiB$", done.stdout, re.MULTILINE)


def test_show_does_not_run_what_it_must_not_trust(home: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "pool"
    code = "import dataclasses\n@dataclasses.dataclass\nclass Mine:\n    x: int\n" + put(
        "laila.constant(Mine(3), nickname='u')"
    )
    fill(home, code, folder)
    stranger = home | {"HOME": str(tmp_path / "stranger")}
    done = laila(stranger, "show", f"folder://{folder}", "u")
    assert done.returncode == 0
    assert re.search(r"^signed by +[0-9a-f]{16}$", done.stdout, re.MULTILINE)
    assert re.search(r"^value +not shown: ", done.stdout, re.MULTILINE)


def test_show_of_an_encrypted_entry_needs_the_key(home: dict[str, str], tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    folder = tmp_path / "pool"
    code = f"pool = FolderPool('folder://{folder}', transformations=['zlib', 'aes-gcm'])\n"
    fill(home, code + put("laila.constant('plaintext-4711', nickname='e')"), folder)
    listed = laila(home, "show", f"folder://{folder}")
    assert "zlib + aes-gcm" in listed.stdout
    assert "plaintext-4711" in laila(home, "show", f"folder://{folder}", "e").stdout
    stranger = home | {"HOME": str(tmp_path / "stranger")}
    done = laila(stranger, "show", f"folder://{folder}", "e")
    assert done.returncode == 0
    assert "not shown: " in done.stdout
    assert "plaintext-4711" not in done.stdout


def test_show_reports_damage_and_fails(home: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "pool"
    fill(home, put("laila.constant(1, nickname='good')") + put("laila.constant(2, nickname='bad')"), folder)
    damaged = next(path for path in folder.iterdir() if b"bad" in path.read_bytes())
    damaged.write_bytes(damaged.read_bytes()[:-20])
    done = laila(home, "show", f"folder://{folder}")
    assert done.returncode == 1
    assert "damaged" in done.stdout
    assert "good" in done.stdout
    done = laila(home, "show", f"folder://{folder}", "bad")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("laila: ")
    assert "Traceback" not in done.stderr


def test_hostile_names_do_not_reach_the_terminal(home: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "pool"
    fill(home, put("laila.constant('a\\x1b[2Jb', nickname='\\x1b]0;owned\\x07 [red]x\\n')"), folder)
    done = laila(home, "show", f"folder://{folder}")
    assert "\x1b" not in done.stdout
    assert r"\x1b]0;owned\x07 [red]x\n" in done.stdout
    ascii_only = home | {"PYTHONIOENCODING": "ascii"}
    fill(home, put("laila.constant('é', nickname='naïve')"), folder)
    done = laila(ascii_only, "show", f"folder://{folder}")
    assert (done.returncode, r"na\xefve" in done.stdout) == (0, True)


def test_on_a_terminal_rich_makes_the_table(home: dict[str, str], tmp_path: Path) -> None:
    pytest.importorskip("rich")
    folder = tmp_path / "pool"
    fill(home, put("laila.constant(1, nickname='[bold]n[/bold]')"), folder)
    leader, follower = pty.openpty()
    env = home | {"TERM": "xterm-256color", "COLUMNS": "160"}
    with subprocess.Popen(
        [sys.executable, "-m", "laila", "show", f"folder://{folder}"],
        env=env,
        stdout=follower,
        stderr=follower,
    ) as process:
        os.close(follower)
        output = b""
        try:
            while piece := os.read(leader, 65536):
                output += piece
        except OSError:  # how Linux says that the other end is closed
            pass
        os.close(leader)
    assert process.returncode == 0
    text = output.decode()
    assert "\x1b[1m" in text  # the titles are bold
    assert "[bold]n[/bold]" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("show", "nonsense"), "no pool URL"),
        (("show", "nope://x"), "there is no pool 'nope'"),
        (("show", "memory://", "run-7"), "no entry 'run-7'"),
        (("show", "memory://", "LAILA:ENTRY:GLOBAL_ID:3c78a603-2d6f-58e2-a9f1-3c235d037ee7"), "no entry"),
        (("show", "hdf5:///no/such/file.h5"), "/no/such/file.h5 does not exist"),
        (("show", "raising://x"), "this plugin is broken on purpose"),
    ],
)
def test_errors_are_one_line_and_1(words: tuple[str, ...], message: str, home: dict[str, str]) -> None:
    env = home | {"PYTHONPATH": str(FIXTURES / "broken")}
    done = laila(env, *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert done.stderr.startswith("laila: ")
    assert done.stderr.count("\n") == 1
    traced = laila(env, "--traceback", *words)
    assert traced.returncode == 1
    assert "Traceback" in traced.stderr


def test_looking_makes_no_file(home: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "typo.h5"
    assert laila(home, "show", f"hdf5://{path}").returncode == 1
    assert not path.exists()
    assert not Path(home["HOME"]).exists()


# -- laila doctor ----------------------------------------------------------------------------------------


def test_the_doctor_finds_nothing_wrong_and_makes_nothing(home: dict[str, str], tmp_path: Path) -> None:
    done = laila(home, "doctor", "--pool", "memory://")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^ok +laila-core +\d", done.stdout, re.MULTILINE)
    assert re.search(r"^ok +pool folder +1\.0$", done.stdout, re.MULTILINE)
    assert re.search(r"^ok +'memory:///?' +it can be read, and is empty$", done.stdout, re.MULTILINE)
    assert not Path(home["HOME"]).exists()


def test_the_doctor_names_what_is_wrong(home: dict[str, str], tmp_path: Path) -> None:
    secrets = tmp_path / "laila" / "secrets"
    secrets.mkdir(parents=True)
    secrets.chmod(0o755)
    (tmp_path / "laila" / "logs").write_text("no folder")
    wrong = home | {
        "LAILA_HOME": str(tmp_path / "laila"),
        "LAILA_HDF5_PTH": "x",
        "LAILA_POOL": "redis://user:hunter2@127.0.0.1:1/",
    }
    done = laila(wrong, "doctor")
    assert done.returncode == 1
    for finding in (r"secrets +others can look", r"logs +.* is no folder", "settings +.*HDF5_PATH", "redis"):
        assert re.search(rf"^wrong +.*{finding}", done.stdout, re.MULTILINE), (finding, done.stdout)
    assert "hunter2" not in done.stdout + done.stderr
