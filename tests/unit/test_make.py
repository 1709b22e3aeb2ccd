"""What the Makefile promises to somebody with a new machine."""

from __future__ import annotations

import shutil

import pytest

from tests import programs_here

INSTALLED = """\
bash|yes||, libc6 (>= 2.36), base-files | other
libc6|no||,
base-files|yes|base (= 1)|, awk
mawk|no|awk|, libc6
gawk|no|awk|,
rclone|no||, libc6, ca-certificates:any [amd64] | nothing
ca-certificates|no||, openssl
openssl|no||,
stranger|no||, libc6
"""


def test_packages_are_read_from_the_lines_that_install_them() -> None:
    text = 'a:\n\t@make/packages one "a b" \\\n\t\ttwo-2.0 "c"\n\techo "no" "x"\n'
    assert programs_here.asked_for(text) == {"one", "two-2.0"}
    assert programs_here.asked_for(programs_here.MAKEFILE.read_text()) >= {"rclone", "curl"}


def test_a_package_brings_what_it_depends_on_and_nothing_else() -> None:
    always = {"bash", "libc6", "base-files", "mawk", "gawk"}
    assert programs_here.brought([], INSTALLED) == always
    brought = programs_here.brought(["rclone", "not-installed"], INSTALLED)
    assert brought == always | {"rclone", "ca-certificates", "openssl"}


@pytest.mark.skipif(not shutil.which("dpkg-query"), reason="the packages are Debian's")
def test_a_program_of_no_package_is_not_found_by_tests() -> None:
    assert {"sh", "python3", "ssh-keygen", "mount"} <= programs_here.programs().keys()
    (folder,) = {str(shutil.which(name)).rpartition("/")[0] for name in ("sh", "python3")}
    assert "programs" in folder
