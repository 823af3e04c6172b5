"""Every example in README.md and docs/ runs as a newcomer runs it: in a fresh process, with an empty HOME.

The Python blocks of a page run in order, in one namespace. In blocks marked `console` the lines that begin
with `$ laila` run; the other commands must be among those of `OTHER_COMMANDS`. A block whose first line is
`# file: PATH` is written to that file, and one with `# add to: PATH` to its end. A block stays unrun only
where the line before it is a comment that gives the reason:

    <!-- not run: needs a server -->
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from workspace import DISTRIBUTIONS, ROOT, clean_environment

OTHER_COMMANDS = {
    "make": "it is what runs this test",
    "pip": "it installs from a registry",
    "uv": "it installs from a registry",
    "git": "it fetches from a host",
    "cd": "it goes where the commands above have made a folder",
    "pytest": "it runs tests, which run elsewhere",
    "python": "it is what runs this test",
    "source": "it is about the reader's own shell",
    "twine": "it publishes",
    "h5dump": "a program that comes with HDF5, not with laila",
    "h5ls": "a program that comes with HDF5, not with laila",
}
LANGUAGES_THAT_ARE_NOT_RUN = {"", "text", "toml", "json", "xml", "ini", "env", "mermaid", "html", "sql"}

FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w-]*)[^\n]*\n(?P<body>.*?)^(?P=indent)```\s*$",
    re.MULTILINE | re.DOTALL,
)
FILE = re.compile(r"# (?P<how>file|add to): (?P<path>\S+)\n")
OPT_OUT = re.compile(r"<!--\s*not run:\s*(?P<reason>\S.*?)\s*-->\s*\Z", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    language: str
    body: str
    line: int
    """Of its first line within the page."""
    reason: str | None
    """Why it is not run, if it is not."""


NO_DATA = re.compile(r"__pycache__|\.pytest_cache|\.mypy_cache|secrets/|\.log$")
"""Files that may be more after a second run: of tools and logs, and keys that a page makes on purpose."""
ONCE = {
    "docs/how-to/write-a-pool.md": "it runs the conformance suite, and stores nothing outside of it",
    "docs/reference/testing.md": "the same",
}
MAY_GROW = 64 << 10  # bytes, and a tenth: a log that appends, what was forgotten and stored again


def blocks_of(text: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found = []
    for match in FENCE.finditer(text):
        opt_out = OPT_OUT.search(text, 0, match.start())
        indent = len(match["indent"])
        body = "".join(
            line[indent:] if line.strip() else line for line in match["body"].splitlines(keepends=True)
        )
        line = text.count("\n", 0, match.start()) + 2
        found.append(Block(match["language"], body, line, opt_out["reason"] if opt_out else None))
    return found


def pages() -> list[Path]:
    """The READMEs and every page of docs/."""
    readmes = [ROOT / "README.md", *(distribution.folder / "README.md" for distribution in DISTRIBUTIONS)]
    return [*readmes, *sorted((ROOT / "docs").rglob("*.md"))]


def _is_for_beginners(page: Path) -> bool:
    """Whether a page is a README or a tutorial, which are run again by `make test` too."""
    return page.name == "README.md" or page.parent.name == "tutorials"


def script_of(text: str, page: str) -> str:
    """A program that runs the page in order: Python blocks as they stand, commands in processes."""
    steps: list[tuple[str, str, int]] = []
    for block in blocks_of(text):
        if block.reason is not None:
            continue
        file = FILE.match(block.body)
        if file is not None:
            steps.append((file["how"], f"{file['path']}\n{block.body[file.end() :]}", block.line))
        elif block.language in {"python", "py"}:
            steps.append(("python", block.body, block.line))
        elif block.language == "console":
            for number, line in enumerate(block.body.splitlines(), block.line):
                if line.startswith("$ "):
                    program = line[2:].split()[0]
                    if program == "laila":
                        steps.append(("command", line[2:], number))
                    else:
                        assert program in OTHER_COMMANDS, (
                            f"{page}:{number}: {program!r} is neither run nor excused"
                        )
        else:
            assert block.language in LANGUAGES_THAT_ARE_NOT_RUN, (
                f"{page}:{block.line}: a block of {block.language!r} is not run: "
                "mark it python or console, or say before it why not: <!-- not run: … -->"
            )
    # Blank lines before a block make the line numbers of a traceback those of the page.
    return f"""
import linecache, pathlib, subprocess, sys
steps = {steps!r}
page = {page!r}
namespace = {{"__name__": "__main__"}}
sys.modules["__main__"].__dict__.update(namespace)
namespace = sys.modules["__main__"].__dict__
for kind, text, line in steps:
    if kind == "python":
        source = "\\n" * (line - 1) + text
        linecache.cache[page] = (len(source), None, source.splitlines(keepends=True), page)
        exec(compile(source, page, "exec"), namespace)
    elif kind != "command":
        path, _, text = text.partition("\\n")
        pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w" if kind == "file" else "a") as file:
            file.write(text)
    else:
        done = subprocess.run(text, shell=True, executable="/bin/sh", capture_output=True, text=True)
        assert done.returncode == 0, f"{{page}}:{{line}}: $ {{text}}\\n{{done.stdout}}{{done.stderr}}"
"""


# A page that runs a whole suite is spared what takes long: the suites themselves have tests. The last run of
# docs/how-to/write-a-pool.md says itself what it leaves out, and is of the whole.
SPARED = "-k 'not a_killed_writer and not what_a_dict_would_be'"


def run_page(text: str, page: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a page in a fresh process, with its HOME and working directory below ``folder``."""
    home, cwd = folder / "home", folder / "cwd"
    home.mkdir(exist_ok=True)
    cwd.mkdir(exist_ok=True)
    program = folder / "page.py"
    program.write_text(script_of(text, page))
    search = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    return subprocess.run(
        [sys.executable, "-W", "error", str(program)],
        cwd=cwd,
        env=clean_environment(home, PATH=search, MPLBACKEND="agg", PYTEST_ADDOPTS=SPARED, **variables),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def bytes_of_data(folder: Path) -> int:
    """How much the files below ``folder`` hold, but for those that are no data."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum(path.stat().st_size for path in files if not NO_DATA.search(str(path.relative_to(folder))))


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=str(page.relative_to(ROOT)))
        for page in pages()
        if str(page.relative_to(ROOT)) in ONCE or not _is_for_beginners(page)
    ],
)
def test_every_example_of_a_page_runs(page: Path) -> None:
    """In order, without an error or a warning; what is not run says why."""
    run_again_and_again(page, 1)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(
            page,
            id=str(page.relative_to(ROOT)),
            marks=[] if _is_for_beginners(page) else [pytest.mark.long],
        )
        for page in pages()
        if str(page.relative_to(ROOT)) not in ONCE
    ],
)
def test_every_example_of_a_page_runs_again(page: Path) -> None:
    """In the same folder, as a program or notebook is run again: then its data does not grow."""
    run_again_and_again(page, 2)


def run_again_and_again(page: Path, times: int) -> None:
    """Run a page some times in the same folder."""
    text = page.read_text()
    for block in blocks_of(text):
        if block.reason is not None:
            print(f"{page.relative_to(ROOT)}:{block.line}: not run: {block.reason}")
    # The name of a Unix socket in the page's HOME may have 107 bytes: pytest's own folders have longer names.
    with tempfile.TemporaryDirectory(prefix="laila-page-") as folder:
        sizes = []
        for again in range(times):
            done = run_page(text, str(page), Path(folder))
            assert done.returncode == 0, f"run {again + 1}: {done.stdout}\n{done.stderr}"
            sizes.append(bytes_of_data(Path(folder)))
        assert sizes[-1] <= sizes[0] * 1.1 + MAY_GROW, sizes


def test_every_page_is_reached_from_the_index() -> None:
    """By a link of the index, or of a page to which that leads."""
    docs = ROOT / "docs"
    reached, ahead = set(), [docs / "index.md"]
    while ahead:
        page = ahead.pop()
        if page in reached:
            continue
        reached.add(page)
        for link in re.findall(r"\]\(([^)#\s]+\.md)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in link:
                ahead.append((page.parent / link).resolve())
    assert all(page.is_file() for page in reached), [str(page) for page in reached if not page.is_file()]
    assert set(docs.rglob("*.md")) <= reached
    index = (docs / "index.md").read_text()
    missing = [page for page in docs.rglob("*.md") if f"({page.relative_to(docs)}" not in index]
    assert missing == [docs / "index.md"], "docs/index.md names every page"


def test_blocks_that_are_not_run_are_few() -> None:
    """They are listed by `pytest -rP tests/test_docs.py`; each has a reason, and most blocks have none."""
    blocks = [
        block
        for page in pages()
        for block in blocks_of(page.read_text())
        if block.language in {"python", "py"}
    ]
    assert len([block for block in blocks if block.reason]) <= max(3, len(blocks) // 10)


PAGE = """
```python
x = 1
```
text
  ```python
  def f():

      return x + 1
  ```
<!-- not run: it would
     fail -->
```python
raise SystemExit(7)
```

```console
$ make test
$ laila --help
usage
```
"""


def test_a_page_runs_in_order_in_one_namespace(tmp_path: Path) -> None:
    """Blocks share names; an indented block is dedented; one with a reason is left out; a command runs."""
    page = PAGE + "```python\nimport sys\nassert f() == 2\nprint('ran', sys.argv)\n```\n"
    done = run_page(page, "page.md", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ran ")


def test_a_block_may_be_a_file(tmp_path: Path) -> None:
    """In place of being run; another block may add to it."""
    page = (
        "```python\n# file: sub/made.py\ndef f():\n    x = 1\n```\n"
        "```python\n# add to: sub/made.py\n    return x + 1\n```\n"
        "```python\nimport sys\nsys.path.insert(0, 'sub')\nimport made\nprint(made.f())\n```\n"
    )
    done = run_page(page, "page.md", tmp_path)
    assert (done.stdout, done.stderr) == ("2\n", "")


@pytest.mark.parametrize(
    ("block", "where"),
    [
        ("```python\n\nx.missing\n```\n", 'page.md", line 24'),
        ("```python\nimport warnings\nwarnings.warn('deprecated')\n```\n", "deprecated"),
        ("```console\n$ laila no-such-command\n```\n", "no-such-command"),
    ],
    ids=["python", "warning", "command"],
)
def test_an_example_that_fails_is_found(block: str, where: str, tmp_path: Path) -> None:
    """With the line of the page."""
    done = run_page(PAGE + block, "page.md", tmp_path)
    assert done.returncode != 0
    assert where in done.stderr


@pytest.mark.parametrize(
    "block", ["```console\n$ rm -rf x\n```\n", "```bash\nls\n```\n"], ids=["console", "language"]
)
def test_a_block_is_run_or_excused(block: str) -> None:
    """An unknown command or language is not passed over."""
    with pytest.raises(AssertionError, match=r"not run|neither run"):
        script_of(block, "page.md")
