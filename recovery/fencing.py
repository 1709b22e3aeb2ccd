"""Keeping a lost host that comes back from the dead from serving or saving.

It may have been away only from the network. Its append key is gone already (`deploy.keys.retire`),
so it cannot save; a signed notice at the repository makes its own guard stop it as soon as it can
reach anything; and if it can be reached from here, it is told at once.
"""

from __future__ import annotations

from backup.epoch import write_epoch_notice
from inventories.access import ssh_target
from inventories.model import Host, Inventory
from inventories.secrets import Secrets
from recovery.errors import RecoveryError
from tools import ssh

AGENT = "/usr/local/lib/releve/agent.py"


def publish(inventory: Inventory, host: Host, keeper: Host, secrets: Secrets) -> None:
    """Lay the notice of the host's new epoch beside its repository on `keeper`.

    Raise BackupError when a higher epoch is there already: then somebody rebuilt it elsewhere.
    """
    repository = inventory.repositories[host.repository or ""]
    with ssh.session(ssh_target(keeper)) as session:
        write_epoch_notice(
            session, repository, host.id, host.epoch, secrets.get(f"host.{host.id}.fence").strip()
        )


def stop_old(host: Host, new_address: str) -> str:
    """Tell the machine at the old address of `host` to stop serving. Return what to tell people.

    `host` is the host as it was. A machine that cannot be reached, or shows another host key, is
    no fault: that is what the notice is for. Raise RecoveryError when it answers and goes on.
    """
    if str(host.address) == new_address:
        return ""
    try:
        with ssh.session(ssh_target(host), timeout=5) as session:
            session.run((AGENT, "fence", "--yes"), timeout=300)
    except ssh.SshError as error:
        return (
            f"the old {host.id} at {host.address} cannot be told to stop now ({error}). If it "
            "comes back, its guard reads the notice at the repository and stops it."
        )
    except ssh.CommandError as error:
        raise RecoveryError(
            f"the old {host.id} at {host.address} answered, but did not stop ({error}). Stop it "
            f"there: {AGENT} fence --yes."
        ) from error
    return f"the old {host.id} at {host.address} was still running and has been stopped."
