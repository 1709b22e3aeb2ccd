"""The bench's state in Relève's operations."""

from __future__ import annotations

import sys
from pathlib import Path

from pyinfra.context import ctx_state

from platforms import ops

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from bench.deploy.bench_state import FILES, FOLDERS, PACKAGES, UNITS

# As in deploy/site.py: predict changes first, so that nothing is asked twice.
ctx_state.get().check_for_changes = True  # type: ignore[no-untyped-call]

ops.place(
    items=[
        *(ops.Folder(path) for path in FOLDERS),
        *(ops.File(path, text.encode()) for path, text in FILES.items()),
    ],
    name="files and folders",
)
ops.packages(names=PACKAGES, name="packages")
ops.units(running=UNITS, name="units")
