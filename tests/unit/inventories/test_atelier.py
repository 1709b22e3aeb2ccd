"""The inventory to start from: the health centre's story, whole and usable."""

from __future__ import annotations

from pathlib import Path

import roles
from agent.plan import render
from backup.repository import target
from deploy.refusal import misplaced
from recovery import rebuild

INVENTORY = roles.load(Path("inventories/atelier.toml"))


def test_all_that_the_story_names_is_there() -> None:
    assert {service.role for service in INVENTORY.services.values()} >= {
        "wordpress", "mail", "nextcloud", "discourse", "cryptpad", "etherpad"
    }  # fmt: skip
    assert {external.name for external in INVENTORY.external.values()} == {
        "Signal", "MSSanté", "Mailbox at OVH", "Framapad", "Toobib", "Goupile"
    }  # fmt: skip
    site = INVENTORY.hosts[INVENTORY.services["site"].host]
    assert (site.platform, site.provider) == ("yunohost", "OVH")


def test_every_host_can_be_set_up_saved_listed_and_rebuilt() -> None:
    assert [host.id for host in INVENTORY.hosts.values() if misplaced(host, INVENTORY)] == []
    saved = [host for host in INVENTORY.hosts.values() if INVENTORY.services_on(host.id)]
    assert len(saved) == 2
    for host in saved:
        assert rebuild.lost_host(INVENTORY, host.id) == host
        assert render(INVENTORY, host.id)["repository"]["name"] == host.repository
        repository = INVENTORY.repositories[str(host.repository)]
        keeper = INVENTORY.hosts[repository.host]
        assert target(INVENTORY, repository).address == str(keeper.address)
        assert keeper.provider != host.provider
        assert keeper.datacenter != host.datacenter
