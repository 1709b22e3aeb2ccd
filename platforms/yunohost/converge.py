"""From what a server is to what it must be: the commands in between. Pure.

Nothing to do gives no step. What is there is changed or left; it goes only where the inventory
says `absent`. Members, their aliases and forwards, and every password that exists are untouched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from platforms.yunohost import commands
from platforms.yunohost.answers import Scalar, Setting, same_setting
from platforms.yunohost.arguments import Arguments, Manifest, checked, encoded
from platforms.yunohost.obstacles import in_order, is_secret, number_of, obstacles, source_of
from platforms.yunohost.server import (
    ADMINS,
    ALL_USERS,
    DOMAIN_SETTINGS,
    ORIGIN,
    SHOWN_BY,
    VISITORS,
    Account,
    Domain,
    Question,
    Server,
    bare,
    port_id,
)
from platforms.yunohost.steps import INSTALL, VALUES, CannotConverge, Obstacle, Step
from platforms.yunohost.wanted import Value, Wanted, WantedApp, WantedOperator, password_of


def converge(
    wanted: Wanted, server: Server, arguments: Mapping[str, Arguments] | None = None
) -> tuple[Step, ...]:
    """The steps that make `server` what is wanted, in the order in which they must be done.

    `arguments`: instance → what `install_arguments` says of an app that `to_install` names;
    without it what the inventory says is passed on unchecked, which is enough for a plan.
    Raise CannotConverge with everything that stands in the way.
    """
    if found := obstacles(wanted, server):
        raise CannotConverge(found)
    return steps_between(wanted, server, arguments)


def steps_between(
    wanted: Wanted, server: Server, arguments: Mapping[str, Arguments] | None = None
) -> tuple[Step, ...]:
    """As `converge`, for whoever knows the obstacles and that they are not in the way of those
    steps that will be done."""
    try:
        return (
            *_settings(wanted, server),
            *_domains(wanted, server),
            *_people(wanted, server),
            *_groups(wanted, server),
            *_apps(wanted, server, arguments or {}),
            *_permissions(wanted, server),
            *_firewall(wanted, server),
            *_removals(wanted, server),
            *_certificates(wanted, server),
        )
    except ValueError as error:  # a value that no command can carry
        remedy = "Change it in the inventory, or by hand on the server"
        raise CannotConverge([Obstacle(f"hosts.{wanted.host}", str(error), remedy)]) from None


def to_install(wanted: Wanted, server: Server) -> tuple[WantedApp, ...]:
    """The apps that are not there yet, in the order in which they are to be installed."""
    return tuple(app for app in in_order(wanted) if app.instance not in server.apps)


def manifest_question(app: WantedApp) -> Question:
    """What an app asks before it is installed. The same question for all that come from one
    place: two at a time stumble over each other's copy of its sources."""
    source = source_of(app)
    return Question(f"manifest:{source}", argv=commands.app_manifest(source))


def install_arguments(app: WantedApp, manifest: Manifest) -> Arguments:
    """The inventory's answers to an app's questions, checked. Raise ArgumentsError with every one
    that is missing, unknown or wrong."""
    asked = {question.id for question in manifest.questions}
    maybe = {**implied(app), **app.if_asked}
    given = {key: value for key, value in maybe.items() if key in asked}
    found = checked(app.instance, manifest.questions, {**given, **app.args})
    return replace(found, doubtful=not manifest.sound)


def unfit(app: WantedApp, manifest: Manifest) -> tuple[str, ...]:
    """Why a server cannot have this app, a line each; empty when it can."""
    if number_of(app.instance) > 1 and not manifest.multi_instance:
        return (
            *manifest.unmet,
            f"{app.id} can be there only once, and {app.instance} is not first",
        )
    return manifest.unmet


def implied(app: WantedApp) -> dict[str, str]:
    """Answers to the questions that most manifests ask, from what the inventory says anyway."""
    answers = {"domain": app.domain, "path": app.path}
    if app.access is not None:
        answers["init_main_permission"] = _first_group(app.access)
    return answers


def as_text(value: Scalar | Value) -> str:
    """A value as YunoHost's command line takes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def _secret_of(value: Value) -> str:
    return str(value).removeprefix("secret:")


# --- settings ---------------------------------------------------------------------------------


def _changed(
    asked: Mapping[str, Value], known: Mapping[str, Setting]
) -> Iterator[tuple[str, Value, str]]:
    """(key, value, what it was) of each setting that must change.

    A password that is there is shown as stars and cannot be compared: it is set together with
    the first of its neighbours that changes.
    """
    plain = {k: v for k, v in asked.items() if not is_secret(v)}
    changed = [
        (key, value, known[key].value if key in known else "")
        for key, value in plain.items()
        if key not in known or not same_setting(value, known[key].value)
    ]
    sections = {key.rpartition(".")[0] for key, _, _ in changed}
    secret = [
        (key, value, "")
        for key, value in asked.items()
        if is_secret(value) and (key not in known or key.rpartition(".")[0] in sections)
    ]
    yield from (*secret, *changed)


def _settings(wanted: Wanted, server: Server) -> Iterator[Step]:
    # The port of SSH last: what follows would still come by the old one.
    ordered = sorted(_changed(wanted.settings, server.settings), key=lambda c: "ssh_port" in c[0])
    for key, value, before in ordered:
        secret = is_secret(value)
        yield Step(
            f"setting {key}",
            f"~ setting {key}: set to a secret"
            if secret
            else f"~ setting {key}: {before or '(empty)'} → {as_text(value) or '(empty)'}"
            + _port_too(wanted, key, value),
            _setting(key, value, wanted, server),
            "settings",
            prompts=(_secret_of(value),) if secret else (),
        )


def _port_too(wanted: Wanted, key: str, value: Value) -> str:
    """What to say of another port of SSH: the next session would come by the old one."""
    if key != "security.ssh.ssh_port" or as_text(value) == str(wanted.port):
        return ""
    return f" (after this deploy write port = {as_text(value)} in [hosts.{wanted.host}])"


def _setting(key: str, value: Value, wanted: Wanted, server: Server) -> tuple[str, ...]:
    """The command for one setting, along with those that it cannot be set without."""
    switch = SHOWN_BY.get(key)
    if switch is None:
        return commands.settings_ask(key) if is_secret(value) else (
            commands.settings_set(key, as_text(value))
        )  # fmt: skip
    part = _part(key)
    if is_secret(value):
        # All the others of the part, so that it is the only one that is asked for.
        along = [k for k, s in server.settings.items() if _part(k) == part and not s.masked]
    else:
        along = [switch]
    values = {
        **{k: server.settings[k].value for k in along if k in server.settings},
        **{k: as_text(v) for k, v in wanted.settings.items() if k in along and not is_secret(v)},
        **({} if is_secret(value) else {key: as_text(value)}),
    }
    return commands.settings_set_part(part, encoded([(_last(k), v) for k, v in values.items()]))


def _part(key: str) -> str:
    return key.rpartition(".")[0]


def _last(key: str) -> str:
    return key.rpartition(".")[2]


# --- domains ----------------------------------------------------------------------------------


def _domains(wanted: Wanted, server: Server) -> Iterator[Step]:
    for name, domain in wanted.domains.items():
        if not domain.absent and name not in server.domains:
            yield Step(f"domain {name}", f"+ domain {name}", commands.domain_add(name), "domains")
    if wanted.main_domain and wanted.main_domain != server.main_domain:
        yield Step(
            "main domain",
            f"~ main domain: {server.main_domain} → {wanted.main_domain}",
            commands.domain_make_main(wanted.main_domain),
            "domains",
        )
    for name, domain in wanted.domains.items():
        if domain.absent:
            continue
        for key, value in domain.settings.items():
            known = server.domains.get(name)
            before = known.setting(key) if known else None
            if known is None or not same_setting(value, before):
                yield Step(
                    f"domain {name} {key}",
                    f"~ domain {name}: {key}: {_like(value, before)} → {as_text(value)}",
                    _domain_setting(name, key, value, domain.settings, known),
                    "domains",
                )


def _like(value: Value, before: Scalar) -> str:
    """What a setting was, in the words of what it shall be: YunoHost keeps 1 for yes."""
    if isinstance(value, bool) and before is not None:
        return as_text(same_setting(before, True))
    return as_text(before) or "(default)"


def _domain_setting(
    name: str, key: str, value: Value, asked: Mapping[str, Value], known: Domain | None
) -> tuple[str, ...]:
    switch = SHOWN_BY.get(key)
    if switch is None:
        return commands.domain_config_set(name, key, as_text(value))
    other = asked.get(switch, known.setting(switch) if known else DOMAIN_SETTINGS[switch])
    pairs = [(_last(switch), as_text(other)), (_last(key), as_text(value))]
    return commands.domain_config_set_part(name, _part(key), encoded(pairs))


def _certificates(wanted: Wanted, server: Server) -> Iterator[Step]:
    asked: dict[str, str] = {}
    for name, domain in wanted.domains.items():
        known = server.domains.get(name)
        kind = known.certificate if known else "self-signed"  # `domain add` makes that
        if domain.absent:
            continue
        if domain.certificate == "letsencrypt" and kind in ("none", "self-signed"):
            asked[name] = "self-signed → Let's Encrypt"
        elif domain.certificate == kind == "letsencrypt" and (
            lacks := _lacking(wanted, server, name)
        ):
            asked[name] = f"+ {', '.join(lacks)}"
        elif domain.certificate == "self-signed" and kind not in ("self-signed",):
            yield Step(
                f"certificate {name}",
                f"~ certificate of {name}: {kind} → self-signed",
                commands.cert_install(name, self_signed=True, force=True),
                "domains",
            )
    if asked:
        # Let's Encrypt is refused without it, and that with exit code 0. It is refused itself where
        # the connection (ip) was never looked at or was bad then, as on a new server.
        yield Step(
            "diagnosis",
            f"  diagnosis of DNS and web for {', '.join(asked)}",
            commands.diagnosis_run(("ip", "dnsrecords", "web"), force=True),
            "domains",
            stage="activate",
        )
    for name, what in asked.items():
        yield Step(
            f"certificate {name}",
            f"~ certificate of {name}: {what}",
            commands.cert_install(name, force=what.startswith("+")),
            "domains",
            stage="activate",
        )


def _lacking(wanted: Wanted, server: Server, name: str) -> tuple[str, ...]:
    """The names that the certificate of a domain must hold as well, and does not. One that is a
    domain of the server itself, as older packages made it, has a certificate of its own."""
    has = server.domains[name].names
    return tuple(
        one for one in wanted.names.get(name, ()) if one not in has and one not in server.domains
    )


# --- people -----------------------------------------------------------------------------------


def _people(wanted: Wanted, server: Server) -> Iterator[Step]:
    main = wanted.main_domain or server.main_domain
    for name, operator in wanted.operators.items():
        if operator.absent:
            continue
        if name not in server.names:
            yield _create(wanted, name, operator.fullname, operator.domain or main, "0")
        else:
            account = server.accounts[name]
            yield from _update(account, operator.fullname, operator.domain)
        if name not in server.admins:
            yield Step(
                f"admin {name}",
                f"+ {name} ({operator.person}) is an admin",
                commands.group_add(ADMINS, (name,)),
                "people",
            )
        yield from _keys(operator, server.accounts.get(name))
    for name, mailbox in wanted.mailboxes.items():
        if mailbox.absent:
            continue
        if name not in server.names:
            domain = mailbox.domain or main
            yield _create(wanted, name, mailbox.fullname, domain, mailbox.quota or "0")
            account = Account(name, mail=f"{name}@{domain}", quota=mailbox.quota or "0")
            yield from _update(account, None, None, mailbox.aliases, mailbox.forward)
        else:
            yield from _update(
                server.accounts[name],
                mailbox.fullname,
                mailbox.domain,
                mailbox.aliases,
                mailbox.forward,
                mailbox.quota,
            )


def _create(wanted: Wanted, name: str, fullname: str | None, domain: str, quota: str) -> Step:
    secret = password_of(wanted.host, name)
    return Step(
        f"account {name}",
        f"+ account {name} ({name}@{domain})",
        commands.user_create(
            name, fullname or name.replace("_", " ").strip() or "account", domain, quota=quota
        ),
        "people",
        prompts=(secret,) * commands.PASSWORD_PROMPTS,
    )


def _update(
    account: Account,
    fullname: str | None = None,
    domain: str | None = None,
    aliases: Iterable[str] | None = None,
    forward: Iterable[str] | None = None,
    quota: str | None = None,
) -> Iterator[Step]:
    """None: as it is. Taking away and adding are two commands: YunoHost forgets what is added to
    forwards when some are taken away in the same one (src/user.py of 12.1.25)."""
    mail = f"{account.name}@{domain}" if domain else account.mail
    # A mail address that was an alias stops being one by itself.
    has = [alias for alias in account.aliases if alias != mail]
    lists = {}
    for what, before, after in (
        ("alias", has, aliases),
        ("forward", account.forward, forward),
    ):
        now = list(before if after is None else after)
        lists[what] = (
            [a for a in before if a not in now],
            [a for a in dict.fromkeys(now) if a not in before],
        )
    gone, new = ({what: both[side] for what, both in lists.items()} for side in (0, 1))
    told = [
        *(
            [f"name: {account.fullname} → {fullname}"]
            if _differs(fullname, account.fullname)
            else []
        ),
        *([f"mail: {account.mail} → {mail}"] if mail != account.mail else []),
        *(f"+ {what} {a}" for what, addresses in new.items() for a in addresses),
        *([f"quota: {account.quota} → {quota}"] if _differs(quota, account.quota) else []),
    ]
    if told:
        yield Step(
            f"account {account.name} is",
            f"~ account {account.name}: {', '.join(told)}",
            commands.user_update(
                account.name,
                fullname=fullname if _differs(fullname, account.fullname) else None,
                mail=mail if mail != account.mail else None,
                add_aliases=new["alias"],
                add_forwards=new["forward"],
                quota=quota if _differs(quota, account.quota) else None,
            ),
            "people",
        )
    if gone["alias"] or gone["forward"]:
        told = [f"- {what} {a}" for what, addresses in gone.items() for a in addresses]
        yield Step(
            f"account {account.name} is not",
            f"~ account {account.name}: {', '.join(told)}",
            commands.user_update(
                account.name, remove_aliases=gone["alias"], remove_forwards=gone["forward"]
            ),
            "people",
        )


def _differs(after: str | None, before: str) -> bool:
    return after is not None and after != before


def _keys(operator: WantedOperator, account: Account | None) -> Iterator[Step]:
    has = account.keys if account else ()
    there = {bare(line) for line in has}
    for line in operator.keys:
        if bare(line) not in there:
            yield Step(
                f"key of {operator.name} {bare(line)}",
                f"+ SSH key of {operator.name}: {_short(line)}",
                commands.ssh_key_add(operator.name, f"{bare(line)} {operator.person}"),
                "people",
            )
    # Without a key of its own in the inventory, whatever lets the person in stays.
    if operator.keys:
        yield from _forget_keys(operator.name, has, operator.keys)


def _forget_keys(name: str, has: Iterable[str], but: Iterable[str]) -> Iterator[Step]:
    kept = {bare(line) for line in but}
    # The longest first: YunoHost takes a text out, wherever it stands.
    for line in sorted((line for line in has if bare(line) not in kept), key=len, reverse=True):
        yield Step(
            f"no key of {name} {line}",
            f"- SSH key of {name}: {_short(line)}",
            commands.ssh_key_remove(name, line),
            "people",
        )


def _short(line: str) -> str:
    kind, body, *comment = line.split(maxsplit=2)
    return " ".join((kind, f"…{body[-12:]}", *comment))


def _groups(wanted: Wanted, server: Server) -> Iterator[Step]:
    for name, group in wanted.groups.items():
        if group.absent:
            continue
        known = server.groups.get(name)
        if known is None:
            yield Step(f"group {name}", f"+ group {name}", commands.group_create(name), "people")
        has = known.members & wanted.accounts if known else frozenset()
        asked = frozenset(group.members if group.members is not None else has) - {
            name for name, mailbox in wanted.mailboxes.items() if mailbox.absent
        }
        if new := sorted(asked - has):
            yield Step(
                f"group {name} has",
                f"~ group {name}: + {', '.join(new)}",
                commands.group_add(name, new),
                "people",
            )
        if gone := sorted((has - asked) & server.names):
            yield Step(
                f"group {name} has not",
                f"~ group {name}: - {', '.join(gone)}",
                commands.group_remove(name, gone),
                "people",
            )


# --- apps -------------------------------------------------------------------------------------


def _first_group(access: Iterable[str]) -> str:
    chosen = list(access)
    return next((g for g in (VISITORS, ALL_USERS) if g in chosen), chosen[0] if chosen else ADMINS)


def _apps(wanted: Wanted, server: Server, arguments: Mapping[str, Arguments]) -> Iterator[Step]:
    for app in in_order(wanted):
        found = server.apps.get(app.instance)
        if found is None:
            yield _install(app, arguments.get(app.instance))
        elif found.domain and (found.domain, found.path or "/") != (app.domain, app.path):
            yield Step(
                f"app {app.instance} url",
                f"~ app {app.instance}: {found.url} → https://{app.domain}{app.path.rstrip('/')}",
                commands.app_change_url(app.instance, app.domain, app.path),
                "apps",
                service=app.service,
            )
        label = (
            server.permissions[main].label
            if (main := f"{app.instance}.main") in (server.permissions)
            else ""
        )
        if found is not None and app.label is not None and app.label != label:
            yield Step(
                f"app {app.instance} label",
                f"~ app {app.instance}: label: {label} → {app.label}",
                commands.permission_update(main, label=app.label),
                "apps",
                service=app.service,
            )
        yield from _panel(app, server)


def _install(app: WantedApp, arguments: Arguments | None) -> Step:
    if arguments is None:
        plain = {key: as_text(value) for key, value in app.args.items() if not is_secret(value)}
        given = encoded(list({**implied(app), **plain}.items()))
        prompts = tuple(_secret_of(v) for v in app.args.values() if is_secret(v))
    else:
        given = arguments.args
        prompts = tuple(prompt.secret for prompt in arguments.prompts)
    # On a terminal YunoHost would also wait for somebody to have read the app's notices.
    doubtful = arguments is not None and arguments.doubtful and not app.source
    force = bool(app.source or prompts or doubtful)
    return Step(
        f"app {app.instance}",
        f"+ app {app.instance} at https://{app.domain}{app.path.rstrip('/')}"
        + (f", from {source_of(app)}" if app.source else "")
        + (" (the catalog does not say that it works well at present)" if doubtful else ""),
        commands.app_install(source_of(app), args=given, label=app.label, force=force),
        "apps",
        prompts=prompts,
        timeout=INSTALL,
        service=app.service,
        then=noted(app.instance, source_of(app)) if app.source else (),
    )


def noted(instance: str, source: str | None) -> tuple[str, ...]:
    """The command that notes where the package of an app came from; None: from the catalog."""
    if source is None:
        return commands.app_setting_delete(instance, ORIGIN)
    return commands.app_setting_set(instance, ORIGIN, source)


def _panel(app: WantedApp, server: Server) -> Iterator[Step]:
    known = server.panels.get(app.instance)
    if known is None:
        # Most options are kept under their own name among the app's settings.
        found = server.apps.get(app.instance)
        settings = found.settings if found else {}
        known = {
            key: Setting(key, as_text(settings[last]), "")
            for key in app.panel
            if (last := key.rpartition(".")[2]) in settings
        }
    changed: dict[str, list[tuple[str, Value, str]]] = {}
    for one in _changed(app.panel, known):
        changed.setdefault(one[0].partition(".")[0], []).append(one)
    for panel, values in changed.items():
        told = [
            f"{key}: "
            + ("set to a secret" if is_secret(v) else f"{before or '(unknown)'} → {as_text(v)}")
            for key, v, before in values
        ]
        secrets = {_last(key): _secret_of(v) for key, v, _ in values if is_secret(v)}
        plain = [(_last(key), as_text(v)) for key, v, _ in values if not is_secret(v)]
        yield Step(
            f"app {app.instance} {panel}",
            f"~ app {app.instance}: {', '.join(told)}",
            commands.app_config_set_panel(
                app.instance, panel, encoded(plain), VALUES if secrets else ""
            ),
            "apps",
            values=secrets,
            service=app.service,
        )


# --- who may, what is open, what goes -----------------------------------------------------------


def everybody(groups: Iterable[str]) -> frozenset[str]:
    """Groups, with what YunoHost understands by them: who lets visitors in lets users in."""
    chosen = frozenset(groups)
    return chosen | {ALL_USERS} if VISITORS in chosen else chosen


def _permissions(wanted: Wanted, server: Server) -> Iterator[Step]:
    new = {app.instance for app in to_install(wanted, server)}
    asked = {
        f"{app.instance}.main": app.access
        for app in wanted.apps
        if app.access is not None and not app.absent
    }
    asked |= {name: tuple(who) for name, who in wanted.permissions.items()}
    services = {app.instance: app.service for app in wanted.apps}
    for name, who in asked.items():
        service = services.get(name.partition(".")[0], "")
        known = server.permissions.get(name)
        if known is not None:
            has = known.allowed
        else:
            app = next((a for a in wanted.apps if f"{a.instance}.main" == name), None)
            first = app is not None and app.access is not None and app.instance in new
            has = everybody([_first_group(app.access or ())] if app and first else ())
        asked_for = everybody(who)
        # Users who came in with the visitors only, and shall stay when those go, must be added.
        if add := sorted(asked_for - (everybody(has) if VISITORS in asked_for else has)):
            yield Step(
                f"permission {name} allows",
                f"~ permission {name}: + {', '.join(add)}",
                commands.permission_add(name, add),
                "people",
                service=service,
            )
        if remove := sorted(has - asked_for):
            yield Step(
                f"permission {name} refuses",
                f"~ permission {name}: - {', '.join(remove)}",
                commands.permission_remove(name, remove),
                "people",
                service=service,
            )


def _firewall(wanted: Wanted, server: Server) -> Iterator[Step]:
    for name, port in wanted.firewall.items():
        number, _, protocol = name.partition("/")
        known = server.firewall.get(port_id(number, protocol))
        is_open = known is not None and known.open
        if port.absent and is_open:
            yield Step(
                f"port {name}",
                f"- port {name} is open",
                commands.firewall_close(number.replace("-", ":"), protocol),
                "system",
                stage="last",
            )
        elif not port.absent and not (
            is_open and known is not None and port.comment in (None, known.comment)
        ):
            comment = port.comment or (known.comment if known else "") or "Relève"
            yield Step(
                f"port {name}",
                f"{'~' if is_open else '+'} port {name} is open: {comment}",
                commands.firewall_open(number.replace("-", ":"), protocol, comment),
                "system",
            )


def _removals(wanted: Wanted, server: Server) -> Iterator[Step]:
    for app in wanted.apps:
        if app.absent and app.instance in server.apps:
            yield Step(
                f"no app {app.instance}",
                f"- app {app.instance}, with its data",
                commands.app_remove(app.instance),
                "apps",
                timeout=INSTALL,
                service=app.service,
            )
    for name, group in wanted.groups.items():
        if group.absent and name in server.groups:
            yield Step(f"no group {name}", f"- group {name}", commands.group_delete(name), "people")
    for name, operator in wanted.operators.items():
        if not operator.absent:
            continue
        if name in server.admins:
            yield Step(
                f"no admin {name}",
                f"- {name} ({operator.person}) is an admin",
                commands.group_remove(ADMINS, (name,)),
                "people",
            )
        if name in server.accounts:
            yield from _forget_keys(name, server.accounts[name].keys, ())
    for name, mailbox in wanted.mailboxes.items():
        if mailbox.absent and name in server.names:
            yield Step(
                f"no account {name}",
                f"- account {name}; its mail stays on the disk",
                commands.user_delete(name),
                "people",
            )
    for name, domain in wanted.domains.items():
        if domain.absent and name in server.domains:
            yield Step(
                f"no domain {name}",
                f"- domain {name}",
                commands.domain_remove(name),
                "domains",
                stage="last",
            )
