"""The state that every side of the bench brings about. Light, so that its import costs nothing."""

from __future__ import annotations

FOLDERS = ["/etc/releve-bench", *(f"/etc/releve-bench/{name}" for name in "abcd")]
FILES = {
    f"/etc/releve-bench/{name}/{number}.conf": f"key{number} = {name}\n" * 40
    for name in "abcd"
    for number in range(6)
}
PACKAGES = ["apt", "coreutils", "cron", "dbus", "dpkg", "iproute2", "openssh-server", "python3",
            "systemd", "util-linux"]  # fmt: skip
UNITS = ["ssh.service", "cron.service", "dbus.service"]
