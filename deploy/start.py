"""`python -m deploy.start …` is `python -m pyinfra …` that starts and ends faster.

What it reads before its work stays to its end. To look for garbage among that takes a tenth of
the start, and as much again at the end.
"""

import gc

gc.disable()

# The first of these replaces Python's sockets and threads: nothing else may come before it.
from pyinfra_cli.main import main  # type: ignore[import-untyped] # noqa: E402

import deploy.connector  # noqa: E402, F401 (pyinfra loads it anyway, by its name)

gc.freeze()
gc.enable()

if __name__ == "__main__":
    main()
