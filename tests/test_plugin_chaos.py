"""Plugins that are bad in every way, all at once: the policy starts, each is named once, the rest works."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from workspace import CORE, ROOT, Distribution, Environment

BAD = {
    "raising": "RuntimeError: this plugin is broken on purpose",
    "hanging": "was still being imported after 4 s",
    "newer": "was built for version 99 of laila's plugin contract",
    "s3": "belongs to laila-pool-s3",
    "lacking": "LackingPool lacks _empty",
}
HOOKS = {
    "a_hanging": "was still being imported after 4 s",
    "b_raising": "laila_fixture_that_is_not_there",
    "h_future": "was built for version 2 of laila's plugin contract",
}


@pytest.fixture(scope="module")
def environment(
    wheels: dict[str, Path],
    shelf_wheel: Path,
    make_environment: Callable[[Sequence[Path | Distribution]], Environment],
) -> Environment:
    """The core, threads and a good plugin as wheels; the bad ones as pip would have left them."""
    made = make_environment([wheels[CORE], wheels["laila-taskforce-threads"], shelf_wheel])
    site_packages = made.check("import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    for bad in ("chaos", "badhooks"):
        shutil.copytree(ROOT / CORE / "tests" / "plugin_fixtures" / bad, site_packages, dirs_exist_ok=True)
    return made


CHAOS = """
import json, os, sys, time
os.environ["LAILA_PLUGINS_DEADLINE"] = "4"
import logging
records = []
class Keep(logging.Handler):
    def emit(self, record):
        records.append(record.getMessage())
logging.getLogger("laila").addHandler(Keep())

started = time.monotonic()
import laila
policy = laila.active_policy
shown = {"start": time.monotonic() - started}

# The rest works: memory, a good plugin, threads.
import threading
from laila.plugins import pools
assert laila.command.submit(threading.get_ident, wait=True) != threading.get_ident()
laila.memory.extend("shelf:notes", pool_nickname="notes")
entries = [laila.constant({"n": n}) for n in range(50)]
for nickname in (None, "notes"):
    ids = laila.memorize(entries, pool_nickname=nickname).wait(150)
    assert laila.remember(ids, pool_nickname=nickname).wait(150)[7].data == {"n": 7}

# Each bad one is refused where it is used, again and again, and that is said once.
refused = shown["refused"] = {}
for name in sys.argv[1:]:
    for turn in range(2):
        started = time.monotonic()
        try:
            laila.memory.extend(f"{name}:x")
        except laila.errors.PluginError as error:
            refused[name] = [str(error), time.monotonic() - started]
assert laila.remember(ids, pool_nickname="notes").wait(150)[8].data == {"n": 8}
import laila.plugins
shown["log"] = records
shown["report"] = [row._asdict() for row in laila.plugins.report()]
laila.terminate()
print(json.dumps(shown))
"""


def test_the_policy_starts_each_is_named_once_and_the_rest_works(environment: Environment) -> None:
    """With a deadline of some seconds for each of the two that hang."""
    shown = json.loads(environment.check(CHAOS, *BAD))
    assert shown["start"] < 100
    assert set(shown["refused"]) == set(BAD)
    for name, reason in BAD.items():
        message, seconds = shown["refused"][name]
        assert reason in message, name
        assert seconds < 3.9, "the second use is refused at once"
        logged = [line for line in shown["log"] if f"the pool plugin {name!r}" in line]
        assert len(logged) == 1, (name, shown["log"])
        assert reason in logged[0]
    for name, reason in HOOKS.items():
        (line,) = (line for line in shown["log"] if f"the hooks plugin {name!r}" in line)
        assert reason in line
    rows = {(row["kind"], row["name"]): row for row in shown["report"]}
    assert len(rows) == len(shown["report"])
    assert {rows["pool", name]["status"] for name in BAD} == {"failed", "conflict"}
    assert {rows["hooks", name]["status"] for name in HOOKS} == {"failed"}
    assert rows["pool", "shelf"]["status"] == rows["task force", "threads"]["status"] == "loaded"


def test_laila_plugins_names_each_once(environment: Environment) -> None:
    """`--check` takes the time of those that hang, and says of each what is wrong."""
    code = (
        "import os, sys; os.environ['LAILA_PLUGINS_DEADLINE'] = '4'\n"
        "from laila.cli import main; sys.exit(main(['plugins', '--check']))"
    )
    done = environment.run(code)
    assert (done.returncode, done.stderr) == (1, "")
    for kind, bad in (("pool", BAD), ("hooks", HOOKS)):
        for name, reason in bad.items():
            assert len(re.findall(rf"^{kind} +{name} .*(?:failed|conflict)$", done.stdout, re.MULTILINE)) == 1
            (line,) = re.findall(rf"^{kind} {name} of .*$", done.stdout, re.MULTILINE)
            assert reason in line
    assert re.search(r"^pool +shelf .* 1 +loaded$", done.stdout, re.MULTILINE)
    assert re.search(r"^pool +newer .* 99 +failed$", done.stdout, re.MULTILINE)
    assert re.search(r"^task force +threads .* loaded$", done.stdout, re.MULTILINE)
