"""Debian packages that a bench needs on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping


def need(packages: Mapping[str, str]) -> None:
    """Given which package brings which program (program -> package), install what is missing,
    saying so; without root, end by saying what to install."""
    missing = [package for program, package in packages.items() if not shutil.which(program)]
    if not missing:
        return
    if os.geteuid() != 0:
        sys.exit(f"install first: apt install {' '.join(missing)}")
    print(f"installing {', '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    argv = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
    subprocess.run(argv, check=True, env=environment, stdout=subprocess.DEVNULL)
