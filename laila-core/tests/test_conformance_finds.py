"""The suite finds what it is for: each of these pools breaks one promise, and is told so in words."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "wrong"

# Each pool of wrong_pools.py, the tests that are to find it, and what they are to say.
BROKEN = {
    "LosesAKey": (["a_large_batch", "listing_streams_and_may_be_left"], "reads a thousand keys"),
    "ServesStaleData": (["a_write_replaces"], "_write replaces what is there"),
    "MisplacesRanges": (["ranges_are_those_of_the_whole"], "_read_ranges gives the bytes of each range"),
    "MixesUpKeysOfRanges": (["ranges_of_many_keys_are_those_of_each"], "in the order of the keys"),
    "PadsRanges": (["ranges_beyond_the_end_are_refused"], "a range that ends beyond the end is refused"),
    "IgnoresCreateIfAbsent": (
        ["create_files_what_is_not_there"],
        "_create says False where the key is there",
    ),
    "CreatesInTwoSteps": (["one_of_many_threads_creates"], "exactly one is told True"),
    "ReturnsAnAlias": (["what_was_read_is_no_alias"], "_read gives no alias"),
    "SharesAScratchBuffer": (["what_was_read_does_not_change"], "changes no blob read before"),
    "BreaksOnLargeValues": (["a_blob_comes_back_byte_for_byte"], r"gives back a blob of 4194\d+ bytes"),
    "LeaksAThread": (["closing_gives_everything_back"], "leaves no thread behind"),
    "LeaksAFile": (["closing_gives_everything_back"], "leaves no file and socket behind"),
    "ConfusesKeys": (["a_key_is_any_text"], "no two keys share a place"),
    "AnswersOutOfOrder": (["batches_answer_in_order"], "in the order of the keys|one answer a key"),
    "SortsEvolutionsAsText": (["evolutions_are_found"], "_evolutions gives"),
    "DeletesByPrefix": (["a_key_is_any_text"], "deletes nothing but that key"),
    "ListsKeysTwice": (["listing_streams_and_may_be_left"], "_keys gives every key once"),
    "HidesAnOutage": (["an_outage_is_an_error"], "_read raises in an outage"),
    "TellsWhatPasses": (["an_outage_is_an_error"], "raises a LailaError in an outage"),
    "IsNotDurable": (["what_is_stored_stays"], "what is stored is there when it is opened again"),
    "TearsWrites": (["a_killed_writer_loses_nothing", "threads_see_whole_blobs"], "whole|is damaged"),
    "ClaimsWholeBatches": (["a_killed_writer_loses_nothing"], "batches is 'batch'"),
    "FilesWhatIsNew": (["together_files_all_or_nothing"], "files nothing, and changes nothing"),
    "TogetherInTwoSteps": (["one_of_many_threads_creates_together"], "exactly one is told True"),
    "TogetherBackToFront": (["one_of_many_threads_creates_together"], "sees one of _create_together"),
    "TogetherInPieces": (["a_killed_writer_loses_nothing"], "all that _create_together was given"),
    "LendsToEverybody": (
        ["a_record_changes_only_from_what_was_read"],
        "swap makes no record where one was expected",
    ),
    "ListsItsLeases": (["leases_are_no_entries"], "_keys gives no lease"),
    "LendsNothing": (["a_pool_of_one_process_lends"], "a pool whose store one process uses lends"),
    "StoresForAnybody": (["stores_for_the_holder_alone"], "raises LeaseLostError where one of its leases"),
    "StoresWhatIsNew": (["stores_for_the_holder_alone"], "and stores nothing then"),
    "FencesInTwoSteps": (["fences_in_one_step"], "is there when the next one has the lease, or never comes"),
    "ClaimsSortedKeys": (["a_key_is_any_text"], "listing is 'sorted'"),
    "WorksWhenClosed": (["a_closed_pool_says_so"], "of a closed pool raises PoolClosedError"),
    "ShowsItsSecret": (["options_build_it_again"], "the secret 'password' shows nowhere"),
}


def run(folder: Path, tests: Sequence[str]) -> str:
    """Run tests of wrong_pools.py in a pytest of its own and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-rf", "--tb=line", *tests],
        cwd=folder,
        env={**os.environ, "COLUMNS": "2000", "PYTHONPATH": str(FOLDER)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the suite said of all of them."""
    file = FOLDER / "wrong_pools.py"
    tests = [f"{file}::Test{name}::test_{test}" for name, (tests, _) in BROKEN.items() for test in tests]
    return run(tmp_path_factory.mktemp("wrong"), tests)


@pytest.mark.parametrize("name", BROKEN)
def test_a_wrong_pool_is_told_which_promise_it_breaks(name: str, told: str) -> None:
    said = re.findall(rf"^FAILED \S+::Test{name}::\S+ - Failed: promise broken: (.*)", told, re.MULTILINE)
    assert any(re.search(BROKEN[name][1], line) for line in said), (said, told[-3000:])


def test_the_summary_lists_each_promise_once(told: str) -> None:
    summary = told.partition("promises of laila's contract that are broken")[2]
    assert summary.count("- the secret 'password' shows nowhere\n") == 1
    assert "::TestShowsItsSecret::test_options_build_it_again" in summary


def test_every_wrong_pool_is_tried() -> None:
    defined = set(
        re.findall(r"^class (\w+)\((?:Right|OnDisk)\)", (FOLDER / "wrong_pools.py").read_text(), re.MULTILINE)
    )
    assert defined == set(BROKEN)


@pytest.mark.parametrize("name", ["Right"])
def test_what_they_are_made_from_keeps_every_promise(name: str, tmp_path: Path) -> None:
    printed = run(tmp_path, [f"{FOLDER / 'wrong_pools.py'}::Test{name}"])
    assert re.search(r"^\d+ passed", printed, re.MULTILINE), printed[-3000:]
    assert "failed" not in printed
