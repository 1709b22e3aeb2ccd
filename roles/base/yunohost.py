"""What every YunoHost server gets, by pyinfra: our way in, YunoHost itself, and all that the
inventory says of the server but for its apps, which are their services'. SSH, firewall and updates
are YunoHost's own business."""

from __future__ import annotations

from collections.abc import Iterable

from pyinfra.context import host as target

from inventories.access import watch_user
from inventories.model import Host, Inventory, YunohostHost
from platforms import ops
from platforms.yunohost import ops as yunohost
from platforms.yunohost.steps import Stage
from platforms.yunohost.wanted import password_of
from roles import apps
from roles.base import keys, server

# Not sudo: YunoHost brings another one, and the two exclude each other.
_PACKAGES = ("ca-certificates", "cron", "openssh-server", "python3")
_SUDO = "security.password.passwordless_sudo"
_ROOT_KEYS = "/root/.ssh/authorized_keys"

# $1 a home that was there before its account, $2 the account: from here on it is its own.
_HAND_OVER = """set -eu
cp -rn /etc/skel/. "$1"; chmod 0700 -- "$1/.ssh"; chmod 0600 -- "$1/.ssh/authorized_keys"
chown -R -- "$2:" "$1"
"""

# $1 the account of the watch, $2 its home. YunoHost lets the group in that it keeps for apps.
_WATCHER_IS = 'id -nG -- "$1" | tr " " "\\n" | grep -qx ssh.app'
_WATCHER = """set -eu
id -u -- "$1" >/dev/null 2>&1 || useradd --system --user-group --no-create-home \\
    --home-dir "$2" --shell /bin/sh -- "$1"
groupadd -f ssh.app; usermod -aG ssh.app -- "$1"
"""

# $1 YunoHost's settings, the password of a mail relay among them, which it writes for everybody
# to read and then leaves as they are; $2 the group of its portal, which looks there how strong a
# password must be and would take any if it could not.
_SETTINGS = "/etc/yunohost/settings.yml"
_PORTAL = "ynh-portal"
_PRIVATE_IS = """getent group "$2" >/dev/null || exit 0
test "$(stat -c '%a %U %G' -- "$1" 2>/dev/null)" = "640 root $2"
"""
_PRIVATE = """set -eu
umask 077; test -e "$1" || printf '{}\\n' > "$1"
chown "root:$2" -- "$1"; chmod 0640 -- "$1"
"""


def install(host: Host, inventory: Inventory) -> None:
    """Queue our programs, our keys, and YunoHost's packages; nothing is set up yet."""
    described = host.yunohost or YunohostHost()
    fresh = not target.get_fact(yunohost.Installed)
    if fresh:
        # Once it runs, packages are YunoHost's business: all of these are there then.
        ops.packages(names=_PACKAGES, name="Packages of every host")
    ops.place(
        items=(
            ops.Folder("/etc/releve"),
            ops.Folder("/usr/local/lib/releve"),
            ops.Folder("/var/lib/releve", mode=0o700),
            *yunohost.programs(),
        ),
        name="Folders and programs of Relève",
    )
    yunohost.settled(name="No step of an earlier deploy is under way")
    ops.place(items=_root(inventory), name="Operators may log in as root, where root may")
    yunohost.installed(wanted=host, installer=described.installer, name="YunoHost")


def configure(host: Host, inventory: Inventory) -> None:
    """Queue the set-up of a blank server, then all that the inventory says."""
    if not target.get_fact(yunohost.SetUp):
        _set_up(host, inventory)
    _watchers(host, inventory)
    yunohost.ensured(
        check=_PRIVATE_IS,
        run=_PRIVATE,
        arguments=(_SETTINGS, _PORTAL),
        text=f"{_SETTINGS} is no longer readable by everybody: it can hold a relay's password",
        name="YunoHost's settings are private",
    )
    yunohost.steps(
        wanted=apps.asked_of(inventory, host.id),
        whole=apps.wanted_of(inventory, host.id),
        stage="configure",
        first=True,
        name="The server as the inventory says",
    )


def activate(host: Host, inventory: Inventory) -> None:
    """Queue certificates, and what goes last. What is refused is told and tried again by the next
    deploy; it holds nothing else up."""
    wanted, whole = apps.asked_of(inventory, host.id), apps.wanted_of(inventory, host.id)
    parts: tuple[tuple[Stage, str], ...]
    parts = (("activate", "Certificates"), ("last", "What must not stay"))
    for stage, name in parts:
        yunohost.steps(
            wanted=wanted,
            whole=whole,
            stage=stage,
            first=True,
            name=name,
            _ignore_errors=True,
            _continue_on_error=True,
        )


def _root(inventory: Inventory) -> tuple[ops.Item, ...]:
    """root's list of keys with those of the operators; keys of others stay."""
    old = target.get_fact(ops.Text, path=_ROOT_KEYS)
    return (
        ops.Folder("/root/.ssh", mode=0o700),
        ops.File(_ROOT_KEYS, keys.with_lines(old, keys.operators(inventory)), mode=0o600),
    )


def _set_up(host: Host, inventory: Inventory) -> None:
    described = host.yunohost or YunohostHost()
    user = server.first_operator(host, inventory)
    if described.main_domain is None or user is None:
        raise ops.RefusedError(
            f"{host.id} is not set up yet. Write its main_domain, and at least one of its "
            f"operators with an SSH key, below [hosts.{host.id}.yunohost]."
        )
    operator = described.operators[user]
    lines = inventory.people[operator.person].ssh_keys
    own = getattr(getattr(target.connector, "connection", None), "own_key", None)
    if problem := server.shut_out(host, inventory, own):
        raise ops.RefusedError(problem)
    home = f"/home/{user}"
    ops.place(
        items=(
            # root's until the account exists; whoever it is may read it.
            ops.Folder(home),
            ops.Folder(f"{home}/.ssh"),
            ops.File(f"{home}/.ssh/authorized_keys", keys.authorized_keys(lines), given=True),
        ),
        name=f"Keys of {user}, before root's door is closed",
    )
    sudo = described.settings.get(_SUDO)
    yunohost.set_up(
        domain=described.main_domain,
        user=user,
        fullname=operator.fullname or user,
        secret=password_of(host.id, user),
        settings={_SUDO: "yes"} if sudo is True else {},
        home=("sh", "-c", _HAND_OVER, "home", home, user),
        name="YunoHost is set up",
    )


def _watchers(host: Host, inventory: Inventory) -> None:
    """The watch's own account, which may ask for the agent's status and nothing else."""
    user = watch_user(host)
    home = f"/var/lib/{user}"
    lines = list(_watch_lines(inventory))
    if not lines:
        ops.place(items=(ops.Gone(f"{home}/.ssh/authorized_keys"),), name="No watch")
        return
    yunohost.ensured(
        check=_WATCHER_IS,
        run=_WATCHER,
        arguments=(user, home),
        text=f"account {user}",
        name="Account of the watch",
    )
    ops.place(
        items=(
            ops.Folder(home),
            ops.Folder(f"{home}/.ssh"),
            ops.File(f"{home}/.ssh/authorized_keys", keys.authorized_keys(lines)),
            ops.File(
                f"/etc/sudoers.d/{user}",
                f"{user} ALL=(root) NOPASSWD: {keys.WATCH_COMMAND}\n".encode(),
                mode=0o440,
            ),
        ),
        name="What the watch may do",
    )


def _watch_lines(inventory: Inventory) -> Iterable[str]:
    kept = ops.secrets()
    return keys.watchers(
        (
            (name, keys.public_half(kept.get(f"host.{name}.watch")))
            for name, other in inventory.hosts.items()
            if "watch" in other.roles
        ),
        sudo=True,
    )
