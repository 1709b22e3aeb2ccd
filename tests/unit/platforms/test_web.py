"""nginx sites and the ACME client's settings."""

import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventories.model import Inventory, Service
from platforms.debian import steps, web


def inventory(directory: str = "https://acme.example/directory") -> Inventory:
    return Inventory.model_validate(
        {
            "schema": 1,
            "organisation": {"name": "A", "contact": "a@atelier.example"},
            "certificates": {"directory": directory},
        }
    )


def service(**more: Any) -> Service:
    values = {"id": "site", "role": "wordpress", "host": "one", "url": "https://atelier.example"}
    return Service.model_validate(values | more)


def test_a_site_goes_to_https_but_for_the_acme_challenge() -> None:
    text = web.site(service(), "location / { return 200; }").content.decode()
    plain, _, tls = text.partition("listen 443")
    assert "return 301 https://$host$request_uri;" in plain
    assert "alias /var/lib/dehydrated/acme-challenges/;" in plain
    assert "/var/lib/dehydrated/certs/atelier.example/fullchain.pem" in tls
    assert "location / { return 200; }" in tls
    assert "Strict-Transport-Security" in tls
    assert "X-Frame-Options" in tls
    assert "X-Frame-Options" not in web.site(service(), "", framed=True).content.decode()


def test_an_address_with_a_path_is_refused_with_what_to_write() -> None:
    with pytest.raises(web.NotAtRoot, match=r"services\.site\.url.*https://atelier\.example "):
        web.site(service(url="https://atelier.example/blog"), "")


def test_dehydrated_reads_back_its_settings() -> None:
    directory = "https://acme.example:14000/dir"
    text = web.dehydrated_config(inventory(directory), authority="PEM")
    said = subprocess.run(
        ["sh", "-c", 'eval "$1"; printf "%s|%s" "$CA" "$CURL_OPTS"', "sh", text],
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    assert said == f"{directory}|--cacert {web.TRUST_FILE} --capath /etc/ssl/certs"


VALUE = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=80)


@given(st.lists(VALUE, max_size=4))
def test_values_reach_a_step_as_arguments_and_never_as_shell_text(values: list[str]) -> None:
    step = steps.Step("t", "true", "printf '%s\\0' \"$@\"", tuple(values))
    done = subprocess.run(["sh", "-c", step.run_command()], capture_output=True, check=True)
    assert done.stdout == b"".join(v.encode() + b"\0" for v in values or [""])


def test_no_step_writes_a_value_into_its_script() -> None:
    strange = "zzzvalue"
    for step in (
        steps.system_user(strange, strange),
        steps.mariadb(strange, strange),
        steps.postgresql(strange, strange),
        steps.running(strange, strange),
        steps.nginx_takes((strange, strange)),
        steps.nginx_loaded([strange]),
        steps.placeholder(strange),
        steps.certificate(strange),
        steps.known_packages(strange),
    ):
        assert strange not in step.check + step.run
        assert any(strange in argument for argument in step.arguments)
