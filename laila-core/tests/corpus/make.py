"""Write the golden blobs that are not there yet; see README.md. Never overwrites one."""

from __future__ import annotations

import importlib.util
from pathlib import Path

here = Path(__file__).parent
spec = importlib.util.spec_from_file_location("test_codec_corpus", here.parent / "test_codec_corpus.py")
assert spec is not None
assert spec.loader is not None
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)

for name in [*module.values(), *module.SEQUENCES, *module.NOTED]:
    path = here / f"{name}.laila"
    if not path.exists():
        path.write_bytes(module.make(name))
        print(path.name)
