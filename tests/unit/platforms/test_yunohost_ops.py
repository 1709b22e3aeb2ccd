"""What operations decide before anything is sent."""

from __future__ import annotations

import subprocess
from pathlib import Path

from platforms.yunohost import ops
from platforms.yunohost.answers import Setting
from platforms.yunohost.commands import app_install, ssh_key_remove, user_create
from platforms.yunohost.ops import Installed
from platforms.yunohost.server import Server
from platforms.yunohost.steps import Step

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "KEY0" * 10 + "aaa"


def test_a_deploy_does_not_take_away_the_key_it_came_in_by() -> None:
    line = f"{KEY} laptop"
    step = Step(f"no key of ada {line}", "- SSH key of ada", ssh_key_remove("ada", line), "people")
    assert KEY in ops.shut_out([step], "ada", KEY)
    assert ops.shut_out([step], "bea", KEY) == ""
    assert ops.shut_out([step], "ada", KEY[:-1] + "b") == ""


def test_an_installation_that_was_cut_off_is_none() -> None:
    assert Installed().process(["installed"])
    assert not Installed().process(["half-configured"])
    assert not Installed().process([])


def test_who_holds_the_lock_is_named_without_values(tmp_path: Path) -> None:
    lock = tmp_path / "lock"

    def said() -> str:
        return subprocess.run(
            ops.holder(str(lock)), capture_output=True, text=True, check=True
        ).stdout

    assert said() == ""
    words = ["sleep", "0.0", "9", "0.1", "0.02"]
    with subprocess.Popen(words) as process:
        lock.write_text(str(process.pid))
        assert said() == f"{process.pid} 9 0.1\n"
        process.kill()
    # Left by a process that is gone.
    assert not Path(f"/proc/{process.pid}").exists()
    assert said() == ""


class Kept(dict[str, str]):
    def get(self, name: str, /) -> str:  # type: ignore[override]
        return self[name]


def test_passwords_that_yunohost_would_refuse_are_named_beforehand() -> None:
    app = Step("app pad", "+ app pad", app_install("pad", args=""), "apps", prompts=("pad.admin",))
    secret = "host.monts.ynh.ada"
    account = Step(
        "account ada", "+ account ada", user_create("ada", "A", "a.test"), "people",
        prompts=(secret, secret),
    )  # fmt: skip
    key = "security.password.user_strength"
    server = Server(installed=True, settings={key: Setting(key, "2", "")})
    assert ops.unmet([app, account], server, Kept({"pad.admin": "Good-One-42"})) == ()
    (said,) = ops.unmet([app], server, Kept({"pad.admin": "abc"}))
    assert (
        said
        == "+ app pad: YunoHost would not take the secret pad.admin: it has fewer than 8 "
        + ("characters")
    )
    (said,) = ops.unmet([app], server, Kept({"pad.admin": "Good-One-{42}"}))
    assert "it has { or } in it" in said
    (said,) = ops.unmet([account], server, Kept({secret: "no-capitals-42"}))
    assert f"the secret {secret}: it lacks an upper-case letter" in said
    assert ops.unmet([account], server, Kept({secret: "Good-One-{42}"})) == ()
    (said,) = ops.unmet([app], server, Kept())
    assert "there is no secret pad.admin" in said
