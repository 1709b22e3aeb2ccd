"""What a check is about, for members of a team who know services and not the ids of checks.

What was found is said in English, by whoever found it; what it is about, in either language.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from inventories.model import Inventory
from roles.interface import Role, Text

Locale = Literal["fr", "en"]

_HOST = Text("Host {name}", "Machine {name}")

# Checks that mean the same of every host or service. Of others, the service says enough.
PARTS: Mapping[str, Text] = {
    "dns": Text("its name in DNS", "son nom dans le DNS"),
    "tls": Text("its certificate", "son certificat"),
    "https": Text("its page", "sa page"),
    "ssh": Text("whether it answers", "si elle répond"),
    "disk": Text("the space on its disks", "la place sur ses disques"),
    "disk-trend": Text("how fast its disks fill", "à quelle vitesse ses disques se remplissent"),
    "memory": Text("its memory", "sa mémoire"),
    "load": Text("how busy it is", "sa charge de travail"),
    "units": Text("programs that failed", "des programmes qui ont échoué"),
    "updates": Text("security updates", "les mises à jour de sécurité"),
    "reboot": Text("a restart that is due", "un redémarrage à faire"),
    "clock": Text("its clock", "son horloge"),
    "agent": Text("its agent", "son agent"),
    "epoch": Text("whether it may serve", "si elle a le droit de servir"),
    "inventory": Text("what was deployed on it", "ce qui y a été déployé"),
    "schedule": Text("what runs by itself", "ce qui se fait tout seul"),
    "backup": Text("its copies", "ses sauvegardes"),
}  # fmt: skip

_WHOLE: Mapping[str, Text] = {
    "organisation.drill": Text("The last rehearsal", "La dernière répétition"),
    "watch.sight": Text("The watch itself", "La vigie elle-même"),
}


def about(check: str, inventory: Inventory, services: Mapping[str, Role], locale: Locale) -> str:
    """Given the id of a check, return what it looks at: "Website (WordPress), its certificate".

    `services`: the roles by name. A check of nothing that the inventory names is called by its id.
    """
    if check in _WHOLE:
        return _in(locale, _WHOLE[check])
    subject, _, part = check.partition(".")
    if subject in inventory.hosts:
        whose = _in(locale, _HOST).format(name=subject)
    elif subject in inventory.external:
        whose = inventory.external[subject].name
    elif subject in inventory.services and inventory.services[subject].role in services:
        whose = _in(locale, services[inventory.services[subject].role].title)
    else:
        return check
    return f"{whose}, {_in(locale, PARTS[part])}" if part in PARTS else whose


def _in(locale: Locale, text: Text) -> str:
    return text.fr if locale == "fr" else text.en
