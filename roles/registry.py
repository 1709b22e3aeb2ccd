"""Every role there is, in the one order in which they are deployed.

A new role is a folder and one line here.
"""

from __future__ import annotations

from collections.abc import Mapping

from roles.app import ROLE as APP
from roles.base import ROLE as BASE
from roles.cryptpad import ROLE as CRYPTPAD
from roles.discourse import ROLE as DISCOURSE
from roles.etherpad import ROLE as ETHERPAD
from roles.interface import HostRole, Role
from roles.mail import ROLE as MAIL
from roles.nextcloud import ROLE as NEXTCLOUD
from roles.repository import ROLE as REPOSITORY
from roles.watch import ROLE as WATCH
from roles.wordpress import ROLE as WORDPRESS

# Duties of hosts come before services. `base` is on every host without being written there.
HOSTS: Mapping[str, HostRole] = {role.name: role for role in (BASE, REPOSITORY, WATCH)}

# Mail first: others write and are written to by it.
SERVICES: Mapping[str, Role] = {
    role.name: role for role in (MAIL, WORDPRESS, ETHERPAD, NEXTCLOUD, DISCOURSE, CRYPTPAD, APP)
}
