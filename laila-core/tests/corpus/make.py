"""Write the golden blobs that are not there yet; see README.md. Never overwrites one."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import laila

here = Path(__file__).parent


def load(name: str) -> ModuleType:
    """Import a test module of the folder above, which is no package."""
    sys.path.insert(0, str(here.parent))
    spec = importlib.util.spec_from_file_location(name, here.parent / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


module = load("test_codec_corpus")

for name in [*module.values(), *module.SEQUENCES, *module.NOTED]:
    path = here / f"{name}.laila"
    if not path.exists():
        path.write_bytes(module.make(name))
        print(path.name)

packs = here / "packs"
if not packs.exists():
    packs.mkdir()
    pool = laila.memory.extend(laila.MemoryPool(), pool_nickname="golden")
    load("test_packs").golden().memorize(pack="64 KiB", pool_nickname="golden").wait()
    for key in pool:
        path = packs / f"{key.split(':')[1].lower()}.laila"
        path.write_bytes(bytes(pool[key]))
        print(path.name)
