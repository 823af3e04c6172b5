"""The page "Your data in S3" works as it stands, twice in a row, in a bucket of a real server."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from test_docs import run_page
from workspace import ROOT

if TYPE_CHECKING:
    from servers.s3 import S3Server

PAGE = ROOT / "docs" / "tutorials" / "your-data-in-s3.md"


def test_the_page_works_in_a_bucket(server: S3Server, bucket: str) -> None:
    text = (
        PAGE.read_text()
        .replace("s3://my-bucket", f"s3://{bucket}")
        .replace("file:store", f"s3://{bucket}/photos")
    )
    text, count = re.subn(r"<!-- not run: it needs a bucket -->\n", "", text)
    assert count == 4
    with tempfile.TemporaryDirectory(prefix="laila-page-") as folder:
        again = Path(folder)
        for turn in range(2):
            done = run_page(text, str(PAGE), Path(folder), **server.variables())
            assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
            again = Path(folder, "cwd", "again").rename(Path(folder, f"copy {turn}"))
        cwd = Path(folder, "cwd")
        files = sorted(path.relative_to(cwd / "photos") for path in cwd.glob("photos/*/*"))
        assert len(files) == 40
        assert all((again / file).read_bytes() == (cwd / "photos" / file).read_bytes() for file in files)
