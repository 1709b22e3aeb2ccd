"""Steps that are a question and a deed: fixed shell scripts, values only as "$1", "$2" … Pure.

`check` exits 0 when nothing is to be done. `run` does it and may be repeated. Neither changes
with a value, so nothing in an inventory can become shell text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from platforms.debian import names, web
from tools import words

MARIADB, POSTGRESQL = "mariadb.service", "postgresql.service"
# In a plan for a host where a server is stopped, what it holds is not known, and that it will be
# started is said; a deploy has started it before.
UNLESS_STOPPED = (
    'systemctl is-active -q "$1" || ! systemctl cat "$1" >/dev/null 2>&1 || exit 0; shift\n'
)


@dataclass(frozen=True)
class Step:
    title: str  # for people: what will be there afterwards
    check: str
    run: str
    arguments: tuple[str, ...] = ()
    unit: str = ""  # the systemd unit that is enabled and runs afterwards
    copies: tuple[tuple[str, str], ...] = ()  # (placed file, what is a copy of it afterwards)
    server: str = ""  # the unit of the server that the check asks

    def check_command(self) -> str:
        """The shell line that asks."""
        if self.server:
            return words.script(UNLESS_STOPPED + self.check, self.server, *self.arguments)
        return words.script(self.check, *self.arguments)

    def run_command(self) -> str:
        """The shell line that does it."""
        return words.script("set -eu\n" + self.run, *self.arguments)


def system_user(user: str, home: str) -> Step:
    """A Unix user without a password or a shell, and its group. `home` is not created."""
    return Step(
        f"user {user}",
        'id -u -- "$1"',
        'useradd --system --user-group --no-create-home --home-dir "$2" '
        '--shell /usr/sbin/nologin -- "$1"',
        (user, home),
    )


def mariadb(database: str, user: str) -> Step:
    """An empty MariaDB database, all of it open to the Unix user of the same name as `user`.

    The names are of `names.database_name` and `names.system_user`: [a-z0-9_-] only, hence safe
    inside the quotes of SQL. An underscore is a wildcard in GRANT and has to be escaped.
    """
    return Step(
        f"MariaDB database {database}, open to the user {user}",
        'n=$(mariadb -NBe "SELECT COUNT(*) FROM mysql.db JOIN information_schema.SCHEMATA '
        "ON SCHEMA_NAME = '$1' WHERE REPLACE(Db, CHAR(92), '') = '$1' AND User = '$2' "
        'AND Host = \'localhost\'") && [ "$n" = 1 ]',
        "escaped=$(printf %s \"$1\" | sed 's/_/\\\\_/g')\n"
        "printf 'CREATE DATABASE IF NOT EXISTS `%s` CHARACTER SET utf8mb4;\n"
        "CREATE USER IF NOT EXISTS `%s`@localhost IDENTIFIED VIA unix_socket;\n"
        "GRANT ALL PRIVILEGES ON `%s`.* TO `%s`@localhost;\n' "
        '"$1" "$2" "$escaped" "$2" | mariadb',
        (database, user),
        server=MARIADB,
    )


def postgresql(database: str, user: str) -> Step:
    """An empty PostgreSQL database owned by a role that logs in as the Unix user of its name."""
    return Step(
        f"PostgreSQL database {database}, owned by {user}",
        'cd / && n=$(runuser -u postgres -- psql -XtAc "SELECT 1 FROM pg_database d '
        "JOIN pg_roles r ON r.oid = d.datdba WHERE d.datname = '$1' AND r.rolname = '$2'\") "
        '&& [ "$n" = 1 ]',
        "cd /\n"
        'has() { [ "$(runuser -u postgres -- psql -XtAc "$1")" = 1 ]; }\n'
        "has \"SELECT 1 FROM pg_roles WHERE rolname = '$2'\" || "
        'runuser -u postgres -- createuser --no-createdb --no-createrole --no-superuser -- "$2"\n'
        "has \"SELECT 1 FROM pg_database WHERE datname = '$1'\" || "
        "runuser -u postgres -- createdb --template=template0 --encoding=UTF8 --locale=C.UTF-8 "
        '-- "$1"\n'
        'runuser -u postgres -- psql -Xqc "ALTER DATABASE \\"$1\\" OWNER TO \\"$2\\""',
        (database, user),
        server=POSTGRESQL,
    )


# Whether unit $1 is active, and was started after the files behind it were last changed.
_RUNS = (
    'unit=$1; shift; systemctl is-active -q -- "$unit" || exit 1; '
    'since=$(systemctl show -P ActiveEnterTimestamp --timestamp=unix -- "$unit"); '
    'for file; do changed=$(stat -c %Y -- "$file") && [ "$changed" -le "${since#@}" ] '
    "|| exit 1; done"
)


def running(unit: str, *files: str) -> Step:
    """`unit` is enabled and active, and was started after each of `files` was last changed.

    Compared by time rather than "has this run changed a file", so that a deploy that was cut off
    between the file and the restart is made good by the next one. What a restore has started with
    these files goes on: some take long to start.
    """
    return Step(
        f"{unit} runs, with its current files",
        f'systemctl is-enabled -q -- "$1" && {{ {_RUNS}; }}',
        f'systemctl daemon-reload; systemctl enable -q -- "$1"; ({_RUNS}) || '
        'systemctl restart -- "$1"',
        (unit, *files),
        unit,
    )


def known_packages(*names: str) -> Step:
    """Those of these Debian packages that this release knows, all at once; done when one is there,
    so that a deploy with nothing to do need not ask apt. Fails where none is known."""
    return Step(
        f"those of the packages {', '.join(names)} that there are",
        "dpkg-query -W -f '${db:Status-Status}\\n' -- \"$@\" 2>/dev/null | grep -qx installed",
        "export DEBIAN_FRONTEND=noninteractive\n"
        "for name; do shift\n"
        'if apt-cache show -- "$name" >/dev/null 2>&1; then set -- "$@" "$name"; fi\n'
        "done\n"
        '[ $# -gt 0 ] || { echo "no list of packages knows any of them" >&2; exit 1; }\n'
        "apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=600 "
        'install -- "$@" >/dev/null',
        names,
    )


def nginx_takes(*pairs: tuple[str, str]) -> Step:
    """The second file of each pair (as nginx reads it) is a copy of the first (as deployed).

    When nginx refuses the new files, the old ones come back: a wrong site never takes the others
    of its host along.
    """
    return Step(
        "nginx takes over " + ", ".join(live for _, live in pairs),
        'about() { stat -c %a:%u:%g -- "$1"; }; while [ $# -gt 0 ]; do cmp -s -- "$1" "$2" && '
        '[ "$(about "$1")" = "$(about "$2")" ] || exit 1; shift 2; done',
        """kept=$(mktemp -d); trap 'rm -rf -- "$kept"' EXIT
swap() {
    n=0; verb=$1; shift
    while [ $# -gt 0 ]; do
        n=$((n + 1))
        case $verb in
            keep) [ ! -e "$2" ] || cp -a -- "$2" "$kept/$n" ;;
            take) cp --preserve=mode,ownership -- "$1" "$2" ;;
            undo) if [ -e "$kept/$n" ]; then cp -a -- "$kept/$n" "$2"; else rm -f -- "$2"; fi ;;
        esac
        shift 2
    done
}
swap keep "$@"; swap take "$@"
if ! said=$(nginx -q -t 2>&1); then
    swap undo "$@"
    printf '%s\\n' "nginx refused the new files, so the old ones were put back:" "$said" >&2
    exit 1
fi
""",
        tuple(path for pair in pairs for path in pair),
        copies=pairs,
    )


_LOADED = "/var/lib/releve/nginx.loaded"
_RELOAD = "/usr/local/lib/releve/debian/nginx-reload"


def nginx_loaded(domains: Iterable[str]) -> Step:
    """nginx runs with what lies in its folders now, certificates of `domains` included."""
    return Step(
        "nginx serves with its current files",
        "loaded=$1; shift; systemctl is-active -q nginx && systemctl is-enabled -q nginx "
        '&& [ -e "$loaded" ] || exit 1; '
        "new=$(find -L /etc/nginx/nginx.conf /etc/nginx/conf.d /etc/nginx/sites-enabled "
        '"$@" -newer "$loaded" -print -quit) && [ -z "$new" ]',
        'mkdir -p -m 0700 -- "${1%/*}"; nginx -q -t; : > "$1.now"; systemctl enable -q nginx; '
        f'{_RELOAD}; mv -- "$1.now" "$1"',
        (_LOADED, *(names.certificate_paths(d)[0] for d in domains)),
        "nginx.service",
    )


def sites_gone(*sites: str) -> Step:
    """nginx serves these sites (as deployed) no more, if it runs. The nightly run lets go of their
    certificates."""
    paths = (*sites, *map(web.live, sites))
    return Step(
        f"nginx without {', '.join(sites)}",
        'shift; for path; do [ ! -e "$path" ] || exit 1; done',
        'loaded=$1; shift; rm -f -- "$@"; systemctl is-active -q nginx || exit 0; nginx -q -t; '
        f': > "$loaded.now"; {_RELOAD}; mv -- "$loaded.now" "$loaded"',
        (_LOADED, *paths),
    )


def placeholder(domain: str) -> Step:
    """A self-signed certificate where there is none, so that nginx can start. dehydrated looks at
    cert.pem, which is left out, and so replaces it as soon as it may."""
    return Step(
        f"a self-signed certificate for {domain}, until there is a real one",
        '[ -s "$2" ] && [ -s "$3" ]',
        'umask 077; mkdir -p -- "${2%/*}"; openssl req -x509 -newkey ec '
        "-pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=placeholder "
        '-addext "subjectAltName=DNS:$1" -keyout "$3" -out "$2" 2>/dev/null',
        (domain, *names.certificate_paths(domain)),
    )


def certificate(domain: str) -> Step:
    """The real certificate, by ACME, renewed from then on. It has at least 30 days left."""
    return Step(
        f"a certificate for {domain} from the authority",
        '[ -e "/etc/dehydrated/releve/$1" ] && openssl x509 -noout -checkend 2592000 '
        '-in "/var/lib/dehydrated/certs/$1/cert.pem"',
        'mkdir -p /etc/dehydrated/releve; : > "/etc/dehydrated/releve/$1"; "$2/certificate" "$1"',
        (domain, names.PROGRAMS),
    )
