"""What an Etherpad is made of."""

import json
from typing import Any

from inventories.model import Inventory, Service
from roles.etherpad import configuration, settings


def inventory(*names: str) -> Inventory:
    services: dict[str, Any] = {
        name: {
            "role": "etherpad",
            "host": "one",
            "url": f"https://{name}.atelier.example",
            "settings": settings.EtherpadSettings(title='P "$(id)" \\'),
        }
        for name in names
    }
    return Inventory.model_validate(
        {
            "schema": 1,
            "organisation": {"name": "L'Atelier", "contact": "a@atelier.example"},
            "services": services,
        }
    )


def test_each_etherpad_has_its_port_wherever_it_runs() -> None:
    found = inventory("pads", "notes", "agenda")
    ports = {s.id: settings.port(s, found) for s in found.services.values()}
    assert len(set(ports.values())) == 3
    turned = inventory("agenda", "notes", "pads")
    assert ports == {s.id: settings.port(s, turned) for s in turned.services.values()}


def test_the_settings_listen_at_home_only_and_hold_no_password() -> None:
    found = inventory("pads")
    text = configuration.settings_text(found.services["pads"], found)
    values = json.loads(text)
    assert values["title"] == 'P "$(id)" \\'
    assert values["ip"] == "127.0.0.1"
    assert values["dbSettings"]["host"].startswith("/")
    assert "password" not in text
    assert values["users"] == {}


def test_a_release_elsewhere_is_named_by_its_checksum() -> None:
    source = {"url": "https://releases.example/etherpad.tar.gz", "sha256": "0" * 64}
    service = Service(
        id="pads",
        role="etherpad",
        host="one",
        url="https://pads.atelier.example",
        settings=settings.EtherpadSettings.model_validate({"source": source}),
    )
    assert configuration.code(service).arguments[2:] == (source["url"], "0" * 64)


def test_the_unit_waits_for_code_that_a_restore_brings() -> None:
    service = inventory("pads").services["pads"]
    unit = configuration.unit_text(service)
    assert "ConditionPathExists=/srv/etherpad/pads/src/node/server.js" in unit
    assert "User=ep-pads" in unit
