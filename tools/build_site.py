"""Build the documentation as a site: the pages of docs/, the README, and a reference made of the docstrings.

usage: python tools/build_site.py FOLDER

The order of the pages is that of docs/index.md, so a page that the index lacks fails the build. What a page
links to outside docs/ becomes a page, too. ``llms.txt`` lists all pages for programs that read.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
LINK = re.compile(r"\[([^\[\]]*)\]\(([^)#\s:]+)((?:#[^)]*)?)\)")
ITEM = re.compile(r"\[([^\]]+)\]\(([^)#:]+\.md)\)")
# The public packages, by the page that shows them.
PACKAGES = [
    "laila",
    "laila.contract",
    "laila.errors",
    "laila.exchange",
    "laila.pool.memory",
    "laila.pool.files",
    "laila.pool.hdf5",
    "laila.pool.redis",
    "laila.pool.s3",
    "laila.pool.sqlite",
    "laila.taskforce.threads",
    "laila.taskforce.processes",
    "laila.taskforce.dask",
    "laila.comm.tcpip",
    "laila.testing",
]


def target_of(link: str, page: Path) -> Path:
    """The file that a link on a page means."""
    return Path(os.path.normpath(page.parent / link))


def staged_name(file: Path) -> str:
    """The path of a file in the site: that in docs/, or below ``project/``."""
    if file.is_relative_to(DOCS):
        return file.relative_to(DOCS).as_posix()
    name = "project/" + file.relative_to(ROOT).as_posix()
    return name if name.endswith(".md") else f"{name}.md"


def stage(folder: Path) -> list[str]:
    """Write all pages to the folder, with links that are right there. Return the names of those outside."""
    pending = [*DOCS.rglob("*.md"), ROOT / "README.md"]
    done: set[Path] = set()
    others = []
    while pending:
        page = pending.pop()
        if page in done:
            continue
        done.add(page)
        name = staged_name(page)
        if not page.is_relative_to(DOCS):
            others.append(name)
        text = page.read_text("utf-8")
        if page.suffix != ".md":
            text = f"# {page.name}\n\n```python\n{text}\n```\n"
        else:
            text, linked = relink(text, page, name)
            pending += [file for file in linked if file not in done]
        destination = folder / name
        destination.parent.mkdir(parents=True, exist_ok=True)
        destination.write_text(text, "utf-8")
    for picture in DOCS.rglob("*.png"):
        shutil.copy(picture, folder / staged_name(picture))
    return sorted(others)


def relink(text: str, page: Path, name: str) -> tuple[str, list[Path]]:
    """Point the links of a page to where their targets are in the site; list the files that become pages."""
    linked: list[Path] = []
    deep = not page.is_relative_to(DOCS) and page != ROOT / "README.md"

    def new(match: re.Match[str]) -> str:
        words, link, anchor = match.groups()
        file = target_of(link, page)
        if not file.exists():
            raise SystemExit(f"{page.relative_to(ROOT)}: there is no {link}")
        if not file.is_relative_to(DOCS):
            if deep or file.is_dir() or file.suffix not in {".md", ".py", ".toml"}:
                return words  # of the repository alone
            linked.append(file)
        return f"[{words}]({os.path.relpath(staged_name(file), os.path.dirname(name) or '.')}{anchor})"

    parts = re.split(r"(^```.*?^```$)", text, flags=re.DOTALL | re.MULTILINE)  # code stays as it is
    return "".join(part if part.startswith("```") else LINK.sub(new, part) for part in parts), linked


def python_pages(folder: Path) -> list[dict[str, str]]:
    """Write a page for each public package, and return the items of the navigation."""
    items = []
    for package in PACKAGES:
        name = f"python/{package}.md"
        (folder / "python").mkdir(exist_ok=True)
        (folder / name).write_text(
            f"# {package}\n\n::: {package}\n    options: {{show_root_heading: false}}\n"
        )
        items.append({package: name})
    return items


def merge_sources(folder: Path) -> None:
    """Put all distributions into one folder: what reads docstrings looks for a package in one place."""
    for source in sorted(ROOT.glob("laila-*/src/laila")):
        shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))


def navigation(others: list[str], python: list[dict[str, str]]) -> list[object]:
    """The navigation, in the order of docs/index.md."""
    sections: list[object] = ["index.md", {"README": staged_name(ROOT / "README.md")}]
    listed = {"index.md"}
    for section in re.split(r"^## ", (DOCS / "index.md").read_text("utf-8"), flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        items: list[object] = []
        for item, link in ITEM.findall(body):
            if (DOCS / link).is_file():
                items.append({re.sub(r"[`*]", "", item): link})
                listed.add(link)
        if title == "Reference":
            items.append({"Python": python})
        sections.append({title: items})
    missing = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")} - listed
    if missing:
        raise SystemExit(f"docs/index.md does not list {', '.join(sorted(missing))}")
    sections.append({"Project": [name for name in others if name != staged_name(ROOT / "README.md")]})
    return sections


def llms(site: Path, folder: Path) -> None:
    """Write ``llms.txt``: one line for each page, and the pages themselves beside it as Markdown."""
    lines = ["# laila", "", "> One home for Python objects, wherever they live.", ""]
    for page in sorted(folder.rglob("*.md")):
        name = page.relative_to(folder).as_posix()
        title = next(
            (line[2:] for line in page.read_text("utf-8").splitlines() if line.startswith("# ")), name
        )
        lines.append(f"- [{title}]({name})")
        destination = site / name
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(page, destination)
    (site / "llms.txt").write_text("\n".join(lines) + "\n", "utf-8")


def main() -> int:
    """Build the site; 1 where mkdocs warns of anything."""
    build = Path(sys.argv[1]).resolve()
    shutil.rmtree(build, ignore_errors=True)
    pages, site = build / "pages", build / "site"
    pages.mkdir(parents=True)
    merge_sources(build / "laila")
    others = stage(pages)
    nav = navigation(others, python_pages(pages))
    config = {
        "INHERIT": str(ROOT / "mkdocs.yml"),
        "docs_dir": str(pages),
        "site_dir": str(site),
        "nav": nav,
    }
    (build / "mkdocs.yml").write_text(json.dumps(config), "utf-8")  # JSON is YAML
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "-f", str(build / "mkdocs.yml")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    status = subprocess.run(command, env=environment, check=False).returncode
    if status == 0:
        llms(site, pages)
        print(f"{site / 'index.html'}: {sum(1 for _ in site.rglob('*.html'))} pages")
    return status


if __name__ == "__main__":
    sys.exit(main())
