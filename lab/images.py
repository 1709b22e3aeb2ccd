"""The images that hosts are clones of: built once, shared by all labs, never changed after.

An image's name holds a digest of everything that went into it, so that another mirror, another
authority or another list of packages makes another image.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lab import disks, mirrors, processes
from lab.errors import Unknown
from lab.locks import alone

# What a hoster's fresh Debian has and our roles may count on; everything else is installed by a
# deploy, as on a real host.
BASE = (
    "systemd", "systemd-sysv", "dbus", "openssh-server", "cron", "python3", "ca-certificates",
    "nftables", "iproute2", "iputils-ping", "logrotate", "less",
)  # fmt: skip
INET = ("bind9", "bind9-utils", "pebble")

_AUTHORITIES = Path("/usr/local/share/ca-certificates")
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
CACHES = "/var/cache/releve-lab"  # where the shared caches are mounted in a host

# Not synchronising after each unpacked file changes the time of an installation, and of nothing
# else; whatever is compared in the lab runs on the same image, so ratios stay honest. Pages of
# manuals are never read here.
_DPKG = (
    "force-unsafe-io",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-include=/usr/share/doc/*/changelog*",  # where YunoHost reads its own version
)

Progress = Callable[[str], None]


def base(images: Path, release: str, progress: Progress) -> str:
    """Return the name of the image of a plain Debian `release`, building it when needed.

    Takes about half a minute once. Raise LabError.
    """
    if release not in mirrors.RELEASES:
        raise Unknown(f"The lab has no release {release!r}, only {', '.join(mirrors.RELEASES)}")
    sources = mirrors.debian_sources(mirrors.read_all(mirrors.source_files()), release)
    dump = processes.run(("apt-config", "dump"), check=False).stdout.decode(errors="replace")
    options = mirrors.apt_options(dump, dict(os.environ))
    registry = mirrors.npm_registry(
        mirrors.read_all((Path("~/.npmrc").expanduser(), Path("/etc/npmrc"))), dict(os.environ)
    )
    authorities = _authorities()
    recipe = [
        inspect.getsource(_finish),
        release,
        BASE,
        _DPKG,
        sources,
        options,
        registry,
        authorities,
    ]
    name = f"{release}-{_digest(recipe)}"

    def build(folder: Path) -> None:
        progress(f"building the image of Debian {release} (once, about half a minute)")
        argv = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(BASE)}"]
        argv += ["--skip=cleanup/apt/lists"]  # hosts can install at once
        argv += [f"--dpkgopt={option}" for option in _DPKG]
        argv += [f"--aptopt={option.rstrip(';')}" for option in options]
        argv += [release, str(folder), *sources]
        processes.run(argv, timeout=1800)
        _finish(folder, authorities, registry)

    _once(images, name, build)
    return name


def inet(images: Path, progress: Progress) -> tuple[str, ...]:
    """Return the names of the layers of the image with the DNS server and the ACME authority,
    lowest first. Raise LabError."""
    below = base(images, "bookworm", progress)
    name = f"inet-{_digest([below, INET])}"

    def build(folder: Path) -> None:
        progress("adding the DNS server and the ACME authority to it (once)")
        scratch = folder.with_name(folder.name + ".mount")
        with _overlay(images / below, folder, scratch) as root:
            script = (
                "set -eu; export DEBIAN_FRONTEND=noninteractive; apt-get -qq update; "
                'apt-get -qq install -y --no-install-recommends "$@"; '
                "apt-get clean; rm -rf /var/lib/apt/lists/*; rm -f /etc/resolv.conf"
            )
            processes.run(
                (
                    "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--settings=no",
                    "--pipe", "--resolv-conf=copy-host", "--timezone=off", f"--directory={root}",
                    "sh", "-c", script, "install", *INET,
                ),
                timeout=900,
            )  # fmt: skip

    _once(images, name, build)
    return (below, name)


def subject_hash(image: Path, certificate: bytes) -> str:
    """The name under which OpenSSL looks for this certificate (PEM) in a folder."""
    return (
        processes.run(
            ("chroot", str(image), "openssl", "x509", "-noout", "-subject_hash"), stdin=certificate
        )
        .stdout.decode()
        .strip()
    )


def sweep(images: Path, used: set[str], *, older_than: float = 7 * 86400) -> None:
    """Remove images that no lab uses and that were not used for `older_than` seconds."""
    mounted = Path("/proc/self/mounts").read_text(errors="replace")
    for image in images.iterdir() if images.is_dir() else ():
        idle = time.time() - image.stat().st_mtime > older_than
        if image.is_dir() and idle and image.name not in used and str(image) not in mounted:
            shutil.rmtree(image, ignore_errors=True)


def _digest(recipe: object) -> str:
    return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:12]


def _authorities() -> dict[str, str]:
    files = sorted(_AUTHORITIES.rglob("*.crt"))
    return {file.name: file.read_text(errors="replace") for file in files if file.is_file()}


def _once(images: Path, name: str, build: Callable[[Path], None]) -> None:
    """Call `build` with an empty folder unless the image is there; all or nothing."""
    if (images / name).is_dir():
        os.utime(images / name)
        return
    # Root only: apt's options may hold the password of a proxy.
    images.mkdir(parents=True, exist_ok=True, mode=0o700)
    with alone(images / "lock", "The folder of lab images", patience=3600):
        if (images / name).is_dir():
            return
        new = images / f"{name}.new"
        disks.unmount_below(images / f"{name}.new.mount")
        for left in (new, images / f"{name}.new.mount"):
            if left.exists():
                shutil.rmtree(left)
        new.mkdir()
        build(new)
        new.chmod(0o755)
        new.rename(images / name)


@contextlib.contextmanager
def _overlay(lower: Path, upper: Path, scratch: Path) -> Iterator[Path]:
    root, work = scratch / "root", scratch / "work"
    for folder in (root, work):
        folder.mkdir(parents=True)
    disks.mount_overlay((lower,), upper, work, root)
    try:
        yield root
    finally:
        disks.unmount_below(scratch)
        shutil.rmtree(scratch)


def _finish(root: Path, authorities: dict[str, str], registry: str | None) -> None:
    """What a host of ours has beyond its packages."""
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()  # each clone gets its own
    for file in ("etc/machine-id", "var/lib/dbus/machine-id", "etc/hostname", "etc/resolv.conf"):
        (root / file).unlink(missing_ok=True)
    for name, text in authorities.items():
        (root / "usr/local/share/ca-certificates" / name).write_text(text)
    processes.run(("chroot", str(root), "update-ca-certificates"))
    # Languages that bring a list of authorities of their own are told of the system's.
    variables = {
        "NODE_EXTRA_CA_CERTS": BUNDLE,
        "npm_config_cafile": BUNDLE,
        "npm_config_cache": f"{CACHES}/npm",
        "PIP_CERT": BUNDLE,
        "PIP_CACHE_DIR": f"{CACHES}/pip",
        "REQUESTS_CA_BUNDLE": BUNDLE,
    }
    if registry:
        variables["npm_config_registry"] = registry
    lines = [f"{name}={value}" for name, value in variables.items()]
    (root / "etc/environment").write_text("\n".join(lines) + "\n")
    folder = root / "etc/systemd/system.conf.d"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "50-lab.conf").write_text(
        "[Manager]\nDefaultTimeoutStopSec=20s\nDefaultEnvironment=" + " ".join(lines) + "\n"
    )
    (root / "etc/apt/apt.conf.d/50lab").write_text(
        'APT::Keep-Downloaded-Packages "true";\n'
        'Binary::apt::APT::Keep-Downloaded-Packages "true";\n'
    )
    # The network is set up from outside before the host boots; there is no console.
    system = root / "etc/systemd/system"
    for unit in ("console-getty.service", "getty@tty1.service", "systemd-firstboot.service",
                 "systemd-networkd.service", "systemd-networkd.socket", "systemd-pstore.service",
                 "e2scrub_reap.service", "e2scrub_all.timer", "fstrim.timer"):  # fmt: skip
        for link in (system / unit, *system.glob(f"*.wants/{unit}")):
            link.unlink(missing_ok=True)
        (system / unit).symlink_to("/dev/null")
    # Each `daemon-reload`, and an installation does dozens, starts them all: those for disks,
    # consoles and the kernel's words, which a container has not.
    masked = root / "etc/systemd/system-generators"
    masked.mkdir(exist_ok=True)
    for generator in (root / "usr/lib/systemd/system-generators").iterdir():
        if generator.name not in ("systemd-fstab-generator", "systemd-sysv-generator"):
            (masked / generator.name).symlink_to("/dev/null")
    # Nobody reads messages of the day, which three programs make for each login.
    login = root / "etc/pam.d/sshd"
    lines = [line for line in login.read_text().splitlines() if "pam_motd.so" not in line]
    login.write_text("\n".join(lines) + "\n")
    # Else the first installation on each host digests the lists of packages anew.
    processes.run(("chroot", str(root), "apt-cache", "gencaches"))
    # On version 1 of control groups, root's user manager takes 100 s to stop.
    manager = system / "user@.service.d"
    manager.mkdir(exist_ok=True)
    (manager / "50-lab.conf").write_text("[Service]\nTimeoutStopSec=3s\n")
