"""500 HTTPS endpoints on this machine: `releve check` against monitoring-plugins' check_http.

    .venv/bin/python bench/checks/run.py [--endpoints 500] [--rounds 5]

Both ask the same nginx on loopback for the same pages, in turns, in one run. check_http looks at
one address per process, 20 at a time (`xargs -P20`), and does not verify certificates; Relève
verifies each. Measured is all of it: processes' starts, reading the inventory, the report.
Needs Debian's `nginx-light` and `monitoring-plugins-basic`; installs them when root.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench.packages import need  # noqa: E402

CHECK_HTTP = Path("/usr/lib/nagios/plugins/check_http")
FIRST_PORT = 21000
PACKAGES = {"nginx": "nginx-light", str(CHECK_HTTP): "monitoring-plugins-basic"}


def certificate(
    subject: str, issuer: tuple[x509.Name, ec.EllipticCurvePrivateKey] | None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A certificate for `subject`, by `issuer` or, without one, an authority by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
    if issuer is None:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer[0] if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=89))
        .add_extension(x509.BasicConstraints(issuer is None, None), True)
    )
    if issuer:
        names = x509.SubjectAlternativeName([x509.DNSName(subject)])
        builder = builder.add_extension(names, False)
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


def prepare(folder: Path, endpoints: int) -> None:
    """Write certificates, nginx's configuration, the inventory and check_http's work list."""
    authority, authority_key = certificate("Bench authority", None)
    leaf, key = certificate("*.bench.example", (authority.subject, authority_key))
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(authority.public_bytes(pem))
    (folder / "leaf.pem").write_bytes(leaf.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    servers, services, work = [], [], []
    for number in range(endpoints):
        name, port = f"s{number}.bench.example", FIRST_PORT + number
        servers.append(
            f"server {{ listen 127.0.0.1:{port} ssl; server_name {name}; default_type text/html;"
            f" location / {{ return 200 '<html><body>pad {number}</body></html>'; }} }}"
        )
        services.append(
            f'[services.s{number}]\nrole = "etherpad"\nhost = "bench"\n'
            f'url = "https://{name}:{port}"\n'
        )
        work.append(f"-H {name} -p {port} -s pad\n")
    paths = "\n".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/errors;\n"
        "events { worker_connections 4096; }\n"
        f"http {{ access_log off; ssl_certificate {folder}/leaf.pem;\n"
        f"ssl_certificate_key {folder}/key.pem;\n{paths}\n" + "\n".join(servers) + "\n}\n"
    )
    (folder / "bench.toml").write_text(
        'schema = 1\n[organisation]\nname = "Bench"\nlocale = "en"\n'
        'contact = "contact@bench.example"\n[certificates]\ntrust = "ca.pem"\n'
        '[hosts.bench]\nplatform = "debian"\naddress = "127.0.0.1"\nprovider = "none"\n'
        'datacenter = "none"\n' + "".join(services)
    )
    (folder / "work").write_text("".join(work))


def measure(argv: list[str], stdin: Path | None = None) -> tuple[float, float, int, bytes]:
    """Run `argv`; return its wall seconds, its processor seconds, the largest resident size in KiB
    of one process (children count in all of these) and its output. A code other than 0 ends the
    bench."""
    # As on anybody's machine: the first start of Python leaves compiled files for the next.
    usual = {key: text for key, text in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryFile() as out, (stdin or Path(os.devnull)).open("rb") as given:
        began = time.perf_counter()
        process = subprocess.Popen(argv, stdin=given, stdout=out, cwd=ROOT, env=usual)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        said = out.read()
    if process.returncode != 0:
        sys.exit(f"{argv[0]} ended with code {process.returncode}: {said[-500:].decode()}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, said


def main() -> None:
    """Run both sides in turns and print medians and ratios; exit 1 when a limit is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--endpoints", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    need(PACKAGES)
    with tempfile.TemporaryDirectory(prefix="releve-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's worker is another user
        prepare(folder, given.endpoints)
        server = subprocess.Popen(["nginx", "-c", str(folder / "nginx.conf")])
        try:
            _wait(FIRST_PORT + given.endpoints - 1)
            releve = [
                str(Path(sys.executable).with_name("releve")), "check", str(folder / "bench.toml"),
                "--only", "*.https", "--address", "bench=127.0.0.1",
            ]  # fmt: skip
            plugin = [
                "xargs", "-P20", "-L1", str(CHECK_HTTP), "-I", "127.0.0.1", "-S", "--sni",
            ]  # fmt: skip
            ours: list[float] = []
            theirs: list[float] = []
            work: list[tuple[float, float]] = []
            sizes: list[int] = []
            for turn in range(given.rounds + 1):
                seconds, cpu, resident, said = measure(releve)
                other, other_cpu, _, answers = measure(plugin, folder / "work")
                assert f"{given.endpoints} ok".encode() in said, said[:300]
                assert answers.count(b"HTTP OK") == given.endpoints, answers[:300]
                if turn:  # the first warms caches for both
                    ours.append(seconds)
                    theirs.append(other)
                    work.append((cpu, other_cpu))
                    sizes.append(resident)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(10)
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    size = max(sizes) / 1024
    print(
        f"{given.endpoints} endpoints, {given.rounds} rounds, {os.cpu_count()} processors, "
        f"Python {sys.version.split()[0]} of {sys.base_prefix}; medians"
    )
    print(f"  check_http, 20 at a time  {statistics.median(theirs):6.2f} s")
    print(f"  releve check              {statistics.median(ours):6.2f} s, at most {size:.0f} MiB")
    cpu, other_cpu = (statistics.median(column) for column in zip(*work, strict=True))
    print(
        f"  processor time            {cpu:6.2f} s against {other_cpu:.2f} s: {cpu / other_cpu:.2f}"
    )
    print(f"  ratio                     {ratio:6.2f}    (at most 0.33, under 80 MB)")
    sys.exit(0 if ratio <= 1 / 3 and size * 1.048576 < 80 else 1)


def _wait(port: int) -> None:
    for _ in range(100):
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit("nginx did not start")


if __name__ == "__main__":
    main()
