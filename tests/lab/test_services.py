"""WordPress and Etherpad on a real host: what they show, whom they let in, what they keep."""

from __future__ import annotations

import json

import pytest

from roles.etherpad import settings as etherpad
from roles.wordpress import settings as wordpress
from tests.lab.house import MINUTES, House
from tools import ssh

pytestmark = pytest.mark.lab


def test_each_service_answers_under_its_name(house: House) -> None:
    for name, title in (
        ("site", "<title>L&#039;Atelier en Santé</title>"),
        ("blog", "d&#039;à côté &quot;$(id)&quot; `id`"),
        ("pad", "<title>Etherpad</title>"),
    ):
        status, body = house.visit(name)
        assert (status, title in body) == (200, True), body[:500]
    address = house.inventory.hosts["monts"].address
    for name, path in (("site", "/wp-admin/install.php"), ("pad", "/api/")):
        assert house.get(path, host=house.service(name).domain, address=address).status == 403


def test_two_sites_are_kept_apart_by_the_host(house: House) -> None:
    site, blog = house.service("site"), house.service("blog")
    for argv in (
        ("cat", wordpress.salts_file(blog)),
        ("touch", f"{wordpress.root(blog)}/wp-content/uploads/theirs"),
        ("mariadb", "-e", "SELECT 1", wordpress.database(blog)),
    ):
        tried = house.lab.run(
            "monts", ("runuser", "-u", wordpress.user(site), "--", *argv), check=False
        )
        assert tried.exit_code != 0, argv
    own = ("mariadb", "-e", "SELECT 1", wordpress.database(site))
    house.lab.run("monts", ("runuser", "-u", wordpress.user(site), "--", *own))


def test_marks_are_found_again_and_do_not_count_as_content(house: House) -> None:
    for name in ("site", "pad"):
        before = house.ask("monts", name, "counts")
        for second in range(7):
            at = f"2031-01-01T00:00:0{second}Z"
            house.ask("monts", name, "canary-plant", f"r-{second}", at)
        found = house.ask("monts", name, "canary-find")
        assert [mark["run"] for mark in found] == ["r-6", "r-5", "r-4", "r-3", "r-2"]
        assert found[0]["at"] == "2031-01-01T00:00:06Z"
        assert house.ask("monts", name, "counts") == before
        assert all(house.ask("monts", name, "versions").values())


def test_etherpad_is_told_its_plugins_and_installs_none(house: House) -> None:
    folder, user = etherpad.root(house.service("pad")), etherpad.user(house.service("pad"))
    house.sh("monts", f"mkdir {folder}/node_modules/ep_new; echo '{{}}' >{folder}/node_modules/x")
    ask = f"cd {folder} && runuser -u {user} -- /usr/local/lib/releve/etherpad/npm"
    told = json.loads(house.sh("monts", f"{ask} ls --long --json --depth=0"))["dependencies"]
    assert {name: one["path"] for name, one in told.items()} == {
        name: f"{folder}/node_modules/{name}" for name in ("ep_etherpad-lite", "ep_new")
    }
    assert "nothing is installed" in house.sh("monts", f"{ask} install ep_other", code=1)
    house.sh("monts", f"rm -r {folder}/node_modules/ep_new {folder}/node_modules/x")
    said = house.sh("monts", f"journalctl -b -u {etherpad.unit(house.service('pad'))}")
    assert "Loaded 1 plugins" in said


# As the plugin has it that YunoHost's package brings along.
_COMPANION = """CREATE TABLE {0}.wp_auto_updates (id INT, name VARCHAR(255), onoroff VARCHAR(99));
INSERT INTO {0}.wp_auto_updates VALUES (1,'plugins','on'), (2,'themes','on'), (3,'minor','on'),
(4,'major','')"""


def test_options_of_a_site_are_set_and_what_cannot_be_holds_up_no_other(house: House) -> None:
    kinds = ("minor", "major", "plugins", "themes")
    names = (*(f"updates:{kind}" for kind in kinds), "admin_email", "locale")

    def now() -> dict[str, object]:
        return dict(house.ask("monts", "blog", "get", json.dumps(names), "[]"))

    def put(**wanted: object) -> ssh.Result:
        given = json.dumps({name.replace("__", ":"): value for name, value in wanted.items()})
        argv = house.program("blog", "set", "[]")
        return house.lab.run("monts", argv, stdin=given.encode(), check=False, timeout=120)

    before = now()
    try:
        # No such language is here, and a lab fetches nothing: all the rest is set.
        done = put(locale="tlh", admin_email="web@atelier.example", updates__minor=False)
        assert done.exit_code == 1
        assert b"the language tlh is not here and could not be fetched" in done.stderr
        # At once, without a mail to the new address that somebody must answer first.
        assert now() == before | {"admin_email": "web@atelier.example", "updates:minor": False}
        everything = {f"updates__{kind}": True for kind in kinds}
        assert put(**everything).exit_code == 0
        assert [now()[f"updates:{kind}"] for kind in kinds] == [True] * 4
        assert json.loads(put(**everything).stdout) == {"changed": []}
        database = wordpress.database(house.service("blog"))
        house.lab.run("monts", ("mariadb", "-e", _COMPANION.format(database)))
        try:
            assert [now()[f"updates:{kind}"] for kind in kinds] == [True, False, True, True]
            none = {f"updates__{kind}": False for kind in kinds}
            assert put(**{**none, "updates__minor": True}).exit_code == 0
            assert [now()[f"updates:{kind}"] for kind in kinds] == [True, False, False, False]
        finally:
            drop = f"DROP TABLE {database}.wp_auto_updates"
            house.lab.run("monts", ("mariadb", "-e", drop))
    finally:
        assert put(**{n.replace(":", "__"): v for n, v in before.items()}).exit_code == 0
    assert now() == before


def test_a_pad_outlives_a_restart_of_etherpad(house: House) -> None:
    def pad(*words: str) -> str:
        done = house.lab.run("monts", house.program("pad", *words), timeout=90)
        return done.stdout.decode().strip()

    house.on("monts", "systemctl", "restart", etherpad.unit(house.service("pad")))
    pad("wait")
    # Neither its installation nor a restore needs npm.
    assert house.lab.run("monts", ("sh", "-c", "command -v npm"), check=False).exit_code != 0
    assert pad("read", "reunion") == MINUTES
    assert house.ask("monts", "pad", "counts")["pads"] == 1


def test_secrets_are_for_their_owner_alone(house: House) -> None:
    site, pads = house.service("site"), house.service("pad")
    for path, mode in (
        (wordpress.admin_file(site), "600"),
        (wordpress.salts_file(site), "640"),
        (etherpad.api_key_file(pads), "600"),
        (etherpad.certificate_paths(pads)[1], "600"),
    ):
        said = house.lab.run("monts", ("stat", "-L", "-c", "%a", path)).stdout.decode().strip()
        assert said == mode, path


def test_a_site_that_nginx_refuses_is_taken_back(house: House) -> None:
    from platforms.debian import steps

    broken = "/etc/nginx/releve/broken"
    house.lab.run("monts", ("sh", "-c", 'echo "server {" > "$1"', "sh", broken))
    live = wordpress.nginx_site(house.service("site"))
    before = house.lab.run("monts", ("sha256sum", live)).stdout
    step = steps.nginx_takes((broken, live))
    tried = house.lab.run(
        "monts", ("sh", "-c", "set -eu\n" + step.run, "run", *step.arguments), check=False
    )
    assert tried.exit_code == 1
    assert b"put back" in tried.stderr
    assert house.lab.run("monts", ("sha256sum", live)).stdout == before
    house.lab.run("monts", ("rm", broken))
    house.lab.run("monts", ("nginx", "-q", "-t"))
