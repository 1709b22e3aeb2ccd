"""A small inventory that is right, to be spoilt by tests."""

from __future__ import annotations

import copy
import tomllib
from typing import Any

COORDINATION = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK3uMX1wH9PNeftBT1wPKMPtPY8R2wsSKlVxWm/vExaK coordination"
)
SECOND = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHu7KIPnHQ72cFCJBsGhmrUfO8paC26Wb+IzXjVr7XFB"

GOOD = f"""\
schema = 1
[organisation]
name = "L'Atelier"
contact = "contact@atelier.example"
[people.coordination]
mail = "coordination@atelier.example"
keys = ["{COORDINATION}"]
duties = ["restore"]
[people.secours]
mail = "secours@atelier.example"
keys = ["{SECOND}"]
duties = ["restore"]
[hosts.monts]
platform = "debian"
address = "198.51.100.10"
provider = "OVH"
datacenter = "GRA"
host_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICdCYcS/Uv018dRmEuAAH86xXq7aw42JQM9XZ0NQUPTC"
repository = "coffre"
[hosts.coffre]
platform = "debian"
address = "203.0.113.20"
provider = "Autre"
datacenter = "NTE"
host_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFHMg8eCWxY+TaFTGuDqm0gtlOY95DrMiFJsNprI9hOC"
roles = ["repository"]
[hosts.vigie]
platform = "debian"
address = "192.0.2.30"
provider = "Tiers"
datacenter = "PAR"
host_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKRxxLiBm6zyNxAOKv1TCDLPG8Da4RMvh7uqduyOorUY"
roles = ["watch"]
[repositories.coffre]
url = "ssh-append://releve@coffre.example/atelier"
host = "coffre"
provider = "Autre"
datacenter = "NTE"
[domains."atelier.example"]
dns = "manual"
[services.site]
role = "wordpress"
host = "monts"
url = "https://atelier.example"
"""


def good() -> dict[str, Any]:
    """The same as nested dicts, free to be changed."""
    return copy.deepcopy(tomllib.loads(GOOD))
