"""For test_services.py: only the services of the inventory's hosts, as `pyinfra` runs it.

RELEVE_STAGES=install,configure pyinfra @releve/INVENTORY tests/lab/services_site.py
"""

import importlib
import os
from typing import Any

from pyinfra.context import host as _host

from deploy.connector import inventory_of
from roles import registry

host: Any = _host
inventory = inventory_of(host.data.releve_inventory)
for stage in os.environ["RELEVE_STAGES"].split(","):
    for role in host.loop(registry.SERVICES.values()):
        for service in host.loop([s for s in inventory.services.values() if s.role == role.name]):
            if service.host == host.name.rpartition("/")[2]:
                module: Any = importlib.import_module(role.on["debian"].deploy)
                getattr(module, stage)(service, inventory)
