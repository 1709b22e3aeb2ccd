"""The notice by which a repository tells a machine that it has been replaced."""

from __future__ import annotations

import hashlib
import hmac
import json

from backup.errors import BackupError
from backup.repository import folder
from inventories.model import Repository
from tools.ssh import Connection

# Never backwards: a notice with a lower epoch than the one that lies there is not written.
_WRITE = (
    'set -eu; umask 022; f=$1/$2.epoch; t=$(mktemp -- "$f.XXXXXX"); trap \'rm -f -- "$t"\' EXIT; '
    'cat > "$t"; '
    'known=$(sed -n \'s/.*"epoch": *\\([0-9][0-9]*\\).*/\\1/p\' "$f" 2>/dev/null || :); '
    'if [ -n "$known" ] && [ "$known" -gt "$3" ]; then echo "epoch $known is there already" >&2; '
    'exit 3; fi; chmod 0644 -- "$t"; mv -- "$t" "$f"; trap - EXIT'
)


def notice(host: str, epoch: int, key: str) -> bytes:
    """The notice that `host` lives in `epoch` now, for the fence key `key` (HMAC-SHA256)."""
    text = f"releve-epoch\n{host}\n{epoch}\n".encode()
    mac = hmac.new(key.encode(), text, hashlib.sha256).hexdigest()
    # The gate reads the number with sed: one line, a space after the colon.
    return (json.dumps({"host": host, "epoch": epoch, "mac": mac}) + "\n").encode()


def write_epoch_notice(
    connection: Connection, repository: Repository, host: str, epoch: int, fence_key: str
) -> None:
    """Lay the notice beside the repository, over the session to the repository host.

    From then on the gate sends away who names a lower epoch, and the old machine's guard stops it.
    Raise BackupError when a higher epoch is there already, SshError.
    """
    argv = ("sh", "-c", _WRITE, "write", folder(repository), host, str(int(epoch)))
    done = connection.run(argv, stdin=notice(host, epoch, fence_key), check=False)
    if done.exit_code != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise BackupError(
            f"the notice that {host} lives in epoch {epoch} could not be laid beside its "
            f"repository on {connection.target.name}: {said}"
        )
