"""The bench's state in pyinfra's stock operations, one per file, folder and unit."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from pyinfra.operations import apt, files, systemd

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from bench.deploy.bench_state import FILES, FOLDERS, PACKAGES, UNITS

for path in FOLDERS:
    files.directory(name=f"folder {path}", path=path, mode="755", user="root", group="root")
for path, text in FILES.items():
    files.put(
        name=f"file {path}", src=io.StringIO(text), dest=path,
        mode="644", user="root", group="root",
    )  # fmt: skip
apt.packages(name="packages", packages=PACKAGES)
for unit in UNITS:
    systemd.service(name=f"unit {unit}", service=unit, running=True)
