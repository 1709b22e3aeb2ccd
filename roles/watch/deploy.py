"""The watch host, by pyinfra: the checks, their inventory, their cron entry."""

# ruff: noqa: ARG001 (the interface gives every function the same arguments)
from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from pathlib import Path

from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host as target

from inventories.model import Host, Inventory
from inventories.secrets import encode
from platforms import ops
from roles.watch import source
from tools import channels

HOME = "/usr/local/lib/releve/watch"
JITTER = 20  # seconds
_PROGRAM = Path(__file__).parent / "files" / "checks"

# $1 the archive, $2 the name of this version. The link is turned when all is there, so that a
# check that starts meanwhile finds either the old source or the new one.
_UNPACK = """set -eu; cd /usr/local/lib/releve/watch
rm -rf -- "source-$2.new"; mkdir -- "source-$2.new"
tar -xzf "$1" -C "source-$2.new" --no-same-owner
rm -rf -- "source-$2"; mv -T -- "source-$2.new" "source-$2"
ln -sfnT -- "source-$2" source
for old in source-*; do [ "$old" = "source-$2" ] || rm -rf -- "$old"; done"""

# $1 the requirements, $2 the name of this version. An environment cannot be moved, so it is
# made where it stays; it counts when the link names it. Python compiles what is used when it is
# used first, which is a part of all that is installed.
_INSTALL = """set -eu; cd /usr/local/lib/releve/watch
exec 9>/run/lock/releve-watch-venv; flock 9
[ "$(readlink venv || :)" != "venv-$2" ] || exit 0
rm -rf -- "venv-$2"; python3 -m venv "venv-$2"
"venv-$2/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
 --no-compile --no-deps --require-hashes -r "$1"
ln -sfnT -- "venv-$2" venv
for old in venv-*; do [ "$old" = "venv-$2" ] || rm -rf -- "$old"; done"""

# $3 the script that does it, once: begun here, waited for or done again by whoever runs it next.
_BEGIN = """systemctl is-active -q releve-watch-venv || \\
 systemd-run --quiet --collect -E HOME -p EnvironmentFile=-/etc/environment \\
 --unit=releve-watch-venv -- sh -c "$3" version "$1" "$2\""""


def install(host: Host, inventory: Inventory) -> None:
    """Queue packages, our source and its dependencies."""
    archive, pinned = source.archive(), source.requirements().encode()
    ops.packages(names=("python3", "python3-venv", "ca-certificates"), name="Packages of the watch")
    ops.place(
        items=(
            ops.Folder(HOME),
            ops.File(f"{HOME}/source.tar.gz", archive),
            ops.File(f"{HOME}/requirements.txt", pinned),
        ),
        name="Source of the checks",
    )
    _version(
        kind="source", script=_UNPACK, file="source.tar.gz", digest=_short(archive),
        name="Unpack the checks",
    )  # fmt: skip
    # It takes a while, and nothing needs it before the first check.
    _version(
        kind="venv", script=_BEGIN, file="requirements.txt", digest=_short(pinned),
        name="Dependencies of the checks, begun", more=(_INSTALL,),
    )  # fmt: skip


def configure(host: Host, inventory: Inventory) -> None:
    """Queue what the checks read: the inventory, the secrets of the alerts, a key of their own."""
    path = Path(target.data.releve_inventory)
    secrets = ops.secrets()
    wanted = [alert.url for alert in inventory.alerts.values()]
    wanted += [inventory.watch.ping] if inventory.watch.ping else []
    names = [text.removeprefix("secret:") for text in wanted if text.startswith("secret:")]
    items: list[ops.Item] = [
        # An alert's address may stand in it in plain text.
        ops.File("/etc/releve/inventory.toml", path.read_bytes(), mode=0o600, secret=True),
        ops.File(
            "/etc/releve/watch-secrets.toml",
            encode({name: secrets.get(name) for name in names}),
            mode=0o600,
            secret=True,
        ),
        ops.File(
            "/etc/releve/watch-key",
            secrets.get(f"host.{host.id}.watch").encode(),
            mode=0o600,
            secret=True,
        ),
        ops.Folder("/var/lib/releve/checks", mode=0o700),
        ops.File(f"{HOME}/checks", _PROGRAM.read_bytes(), mode=0o755),
    ]
    trust = inventory.certificates.trust
    if trust:
        # Beside the inventory there as here, under the same relative name.
        items.append(
            ops.File(f"/etc/releve/{Path(trust).name}", (path.parent / trust).read_bytes())
        )
    ops.place(items=items, name="What the checks read")
    for alert in inventory.alerts.values():
        name = alert.url.removeprefix("secret:")
        if name != alert.url and not channels.understood(secrets.get(name)):
            ops.warn(
                message=f"the secret {name}, which alerts.{alert.id} names, is no address that the "
                "apprise library understands: nobody is told over it",
                name=f"The channel {alert.id}",
            )


def activate(host: Host, inventory: Inventory) -> None:
    """Queue the end of the installation, and the cron entry."""
    _version(
        kind="venv", script=_INSTALL, file="requirements.txt",
        digest=_short(source.requirements().encode()), name="Dependencies of the checks",
    )  # fmt: skip
    ops.place(
        items=[ops.File("/etc/cron.d/releve-checks", cron(host, inventory))],
        name="The checks, regularly",
    )


def cron(host: Host, inventory: Inventory) -> bytes:
    """The cron entry: every few minutes, at a minute that depends on the host's name.

    The jitter keeps watches of several organisations from knocking at the same second.
    """
    every = int(inventory.watch.every.total_seconds()) // 60
    first = int.from_bytes(hashlib.sha256(host.id.encode()).digest()[:4]) % every
    minutes = ",".join(str(minute) for minute in range(first, 60, every))
    return (
        f"# Written by Releve.\n{minutes} * * * * root {HOME}/checks --jitter {JITTER}\n".encode()
    )


def _short(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


@operation()
def _version(
    kind: str, script: str, file: str, digest: str, more: Sequence[str] = ()
) -> Generator[StringCommand, None, None]:
    """Run `script` unless the link `kind` names this version already."""
    link = f"{HOME}/{kind}"
    now = target.get_fact(ops.Paths, paths=[link]).get(link)
    if now is not None and now.target == f"{kind}-{digest}":
        return
    ops.note("diff", path="", text=f"{kind} of the checks: version {digest}")
    yield StringCommand(
        "sh -c", QuoteString(script), "version", QuoteString(f"{HOME}/{file}"), digest,
        *map(QuoteString, more), _timeout=900,
    )  # fmt: skip
