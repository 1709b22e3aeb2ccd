#!/usr/bin/env -S /usr/bin/python3 -IS -c 'import sys; del sys.argv[0]; sys.path.append(sys.argv[0].rpartition("/")[0]); from releve_agent.main import main; sys.exit(main())'
"""Start the agent, whose modules lie beside this file in `releve_agent/`.

Every verb prints JSON on stdout and messages for people on stderr.
Exit codes: 0 ok, 1 failed, 64 wrong usage, 75 busy (somebody else holds this host's lock).
"""

# The first line imports and does not even read this file: Python compiles modules once (into
# __pycache__ beside them, if it may write there). -I and -S: no one's environment, no site
# packages. `python3 -IS agent.py`, which comes here, does as well.
# ruff: noqa: E501, PTH100, PTH120
import os
import sys

sys.path.append(os.path.dirname(os.path.abspath(__file__)))

from releve_agent.main import main  # type: ignore[import-not-found]

if __name__ == "__main__":
    raise SystemExit(main())
