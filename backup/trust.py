"""Which keys a host's receipts are verified with: those kept among the secrets. A host's own word
counts once, when it is first asked."""

from __future__ import annotations

from dataclasses import dataclass

from agent import receipt_key
from agent.receipt_key import ChangedKeyError, Known
from backup.receipts import Receipt, is_signed
from inventories.access import ssh_target
from inventories.model import Host
from inventories.secrets import Secrets
from tools import ssh

_PUBLIC = "/etc/releve/receipt-key.pub"


@dataclass(frozen=True)
class Trust:
    """The receipt keys of one host. `problem`: what it shows now is not among them."""

    known: tuple[Known, ...]
    problem: str = ""

    def knows(self, receipt: Receipt) -> bool:
        """Whether a signature can be judged: no key was ever noted of epochs before the first."""
        epochs = [one.epoch or 0 for one in self.known]
        epoch = receipt.body.get("epoch")
        return bool(epochs) and not (isinstance(epoch, int) and epoch < min(epochs))

    def accepts(self, receipt: Receipt) -> bool:
        """Whether the key of the receipt's own epoch signed it."""
        epoch = receipt.body.get("epoch")
        keys = receipt_key.of_epoch(self.known, epoch) if isinstance(epoch, int) else ()
        return is_signed(receipt, keys)


def noted(host_id: str, secrets: Secrets) -> Trust:
    """The receipt keys of a host as they are kept, asking nobody: none when it was never seen."""
    name = receipt_key.secret(host_id)
    return Trust(receipt_key.parse(secrets.get(name)) if name in secrets else ())


def look(host: Host, secrets: Secrets) -> Trust:
    """Ask the host which key it signs with, and compare that with what is kept. Seen for the first
    time in this epoch, it is kept, and the secrets are saved. A host that does not answer changes
    nothing. Raise what `Secrets.save` raises."""
    known = noted(host.id, secrets).known
    shown = _shown(host)
    if not shown:
        return Trust(known)
    try:
        now = receipt_key.seen(known, host.id, host.epoch, shown)
    except ChangedKeyError as error:
        return Trust(known, str(error))
    if now is not known:
        keep(secrets, host.id, now)
        secrets.save()
    return Trust(now)


def keep(secrets: Secrets, host: str, known: tuple[Known, ...]) -> None:
    """Write them among the secrets, in memory."""
    secrets.set(receipt_key.secret(host), receipt_key.render(known))


def _shown(host: Host) -> str:
    try:
        with ssh.session(ssh_target(host)) as session:
            return session.run(("cat", _PUBLIC)).stdout.decode(errors="replace").strip()
    except ssh.SshError:
        return ""
