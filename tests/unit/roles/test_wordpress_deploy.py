"""What a WordPress is made of."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from inventories.model import Inventory, Service
from platforms.debian.steps import Step
from platforms.ops import File
from roles.wordpress import configuration, settings

LINE = st.text(
    # (what an inventory takes for a line: no separators of lines, nothing that turns a text)
    st.characters(exclude_categories=["Cs", "Cc", "Cf", "Zl", "Zp"]),
    min_size=1,
    max_size=80,
)


def inventory() -> Inventory:
    return Inventory.model_validate(
        {"schema": 1, "organisation": {"name": "L'Atelier", "contact": "a@atelier.example"}}
    )


def service(name: str = "site", **chosen: Any) -> Service:
    return Service(
        id=name,
        role="wordpress",
        host="one",
        url=f"https://{name}.atelier.example",
        settings=settings.WordPressSettings(**chosen),
    )


@given(LINE)
def test_a_title_arrives_whole_and_the_password_only_on_standard_input(title: str) -> None:
    import tempfile

    step = configuration.first_content(service(title=title), inventory())
    echo = "import sys,json; print(json.dumps([sys.argv[1:], sys.stdin.read()]))"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "releve" / "site.admin"
        real = Step(
            step.title,
            step.check,
            step.run,
            (str(file), step.arguments[1], sys.executable, "-c", echo),
        )
        done = subprocess.run(["sh", "-c", real.run_command()], capture_output=True, check=True)
        assert file.stat().st_mode & 0o777 == 0o600
        password = file.read_text()
    (verb, wanted), given_password = json.loads(done.stdout)
    assert verb == "install"
    assert json.loads(wanted)["title"] == title
    assert given_password == password
    assert len(password.strip()) >= 24
    assert password.strip() not in "".join((verb, wanted))


def test_two_sites_of_a_host_share_nothing_that_either_may_write() -> None:
    one, other = service("one"), service("other")
    for place in (
        settings.user,
        settings.database,
        settings.root,
        settings.config_file,
        settings.salts_file,
        settings.pool_file,
        settings.socket,
        settings.unit,
        settings.timer,
    ):
        assert place(one) != place(other)


def test_the_configuration_holds_no_secret_and_only_this_site_reads_it() -> None:
    config = next(
        f for f in configuration.files(service()) if f.path == "/etc/wordpress/config-site.php"
    )
    assert isinstance(config, File)
    text = config.content.decode()
    assert "define('DB_PASSWORD', '');" in text
    assert not re.search(r"_KEY'|_SALT'", text)
    assert (config.mode, config.group) == (0o640, "wp-site")


def test_nothing_that_members_send_is_run() -> None:
    text = configuration.site(service(upload_mb=7)).content.decode()
    assert "client_max_body_size 7m;" in text
    pattern = re.search(r"location ~ (\^/wp-content/\(uploads\S+) \{ return 403; \}", text)
    assert pattern
    for path in ("/wp-content/uploads/2026/11/x.php", "/wp-content/uploads/x.phtml"):
        assert re.match(pattern[1], path)
    # nginx takes the first expression that matches, so the refusal has to stand first.
    assert pattern.start() < text.index(r"location ~ \.php$", pattern.start())
