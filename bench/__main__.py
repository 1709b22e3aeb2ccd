"""All benches, one after the other: `python -m bench [NAME ...]`, or `make bench`.

Each measures both sides in one run and says whether its limit holds; bench/README.md says what
and how. Ends with code 1 when a limit was missed or a bench could not run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAMES = ("checks", "backup", "deploy", "yunohost", "mail")


def main() -> None:
    """Run the benches named, or all of them."""
    wanted = sys.argv[1:] or list(NAMES)
    if unknown := set(wanted) - set(NAMES):
        sys.exit(f"no bench is called {', '.join(sorted(unknown))}; there is {', '.join(NAMES)}")
    missed = []
    for name in wanted:
        # What else the machine does changes times; much more than that of its processors, and
        # not even ratios can be trusted.
        load, cpus = os.getloadavg()[0], os.cpu_count() or 1
        print(f"\n{name}: {cpus} processors, load {load:.1f} before", flush=True)
        began = time.monotonic()
        done = subprocess.run([sys.executable, str(HERE / name / "run.py")], check=False)
        said = "holds" if done.returncode == 0 else "MISSED"
        seconds, load = time.monotonic() - began, os.getloadavg()[0]
        print(f"{name}: {said}, {seconds:.0f} s, load {load:.1f} after", flush=True)
        if done.returncode != 0:
            missed.append(name)
    sys.exit(f"missed: {', '.join(missed)}" if missed else 0)


if __name__ == "__main__":
    main()
