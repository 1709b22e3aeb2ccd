"""The page that tells a member how to read mail on a phone and in Thunderbird, with everything
filled in. Pure: no password is ever in it, and it can be mailed, printed and put on a wall."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from inventories.model import Inventory, Service
from roles.mail import places
from roles.mail import settings as mail
from tools import html

Language = Literal["fr", "en"]


@dataclass(frozen=True)
class Section:
    """A heading, and what stands below it in this order: sentences, a table, steps."""

    title: str
    text: tuple[str, ...] = ()
    rows: tuple[tuple[str, str], ...] = ()
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Guide:
    language: Language
    title: str
    lead: str
    sections: tuple[Section, ...]


def languages(inventory: Inventory) -> tuple[Language, Language]:
    """The organisation's own comes first."""
    return ("fr", "en") if inventory.organisation.locale == "fr" else ("en", "fr")


def guide(
    service: Service, inventory: Inventory, language: Language, address: str | None = None
) -> Guide:
    """What a member needs to know. `address`: whose guide it is; None: everybody's."""
    write = _french if language == "fr" else _english
    return write(_Facts(service, inventory, address, language))


def page(service: Service, inventory: Inventory, address: str | None = None) -> str:
    """One self-contained HTML page in both languages: no script, no request to anybody."""
    guides = [guide(service, inventory, one, address) for one in languages(inventory)]
    name = inventory.organisation.name
    return html.render("roles.mail", "guide.html.j2", guides=guides, organisation=name)


def markdown(service: Service, inventory: Inventory, address: str | None = None) -> str:
    """The same as Markdown."""
    guides = (guide(service, inventory, one, address) for one in languages(inventory))
    return "\n---\n\n".join("\n".join(_markdown(one)) for one in guides)


def welcome(service: Service, inventory: Inventory) -> tuple[str, str]:
    """The first mail of a new mailbox: subject and text, in the organisation's language."""
    known = _Facts(service, inventory, None, inventory.organisation.locale)
    if inventory.organisation.locale == "fr":
        return (
            f"Bienvenue dans votre boîte – {known.organisation}",
            "Bonjour,\n\nvotre boîte est prête, et ce message le prouve. Pour la lire sur un "
            f"téléphone ou avec Thunderbird, tout est expliqué ici :\n\n    {known.url}\n\n"
            f"En bref : serveur {known.server}, IMAP au port 993, SMTP au port 465, chiffrement "
            "SSL/TLS, et pour identifiant l’adresse entière.\n\nPersonne ne vous demandera jamais "
            f"votre mot de passe par courriel. Une question : {known.contact}\n",
        )
    return (
        f"Welcome to your mailbox – {known.organisation}",
        "Hello,\n\nyour mailbox is ready, and this message proves it. How to read it on a phone "
        f"or in Thunderbird is explained here:\n\n    {known.url}\n\n"
        f"In short: server {known.server}, IMAP at port 993, SMTP at port 465, encryption "
        "SSL/TLS, and the whole address as user name.\n\nNobody will ever ask you for your "
        f"password by mail. A question: {known.contact}\n",
    )


class _Facts:
    """What both languages say."""

    def __init__(
        self, service: Service, inventory: Inventory, address: str | None, language: Language
    ) -> None:
        chosen = mail.settings(service)
        you = {"fr": "vous", "en": "you"}[language]
        self.server, self.url = service.domain, f"{service.url}/"
        self.organisation = inventory.organisation.name
        self.contact = places.postmaster(service, inventory)
        self.address = address or f"{you}@{mail.domains(service, inventory)[0]}"
        self.domains = ", ".join(f"@{d}" for d in mail.domains(service, inventory))
        self.pop3, self.spam = bool(chosen.pop3), chosen.spam_filter
        self.quota = "" if chosen.quota == "0" else f"{chosen.quota[:-1]} {chosen.quota[-1]}"
        self.message_mb, self.per_hour = chosen.message_mb, chosen.per_hour


def _french(know: _Facts) -> Guide:
    server = know.server
    quota = f"{know.quota}o" if know.quota else ""
    rows = [
        ("Adresse", know.address),
        ("Identifiant", f"{know.address} (l’adresse entière)"),
        ("Mot de passe", "celui qui vous a été remis, jamais par courriel"),
        ("Réception (IMAP)", f"{server}, port 993, SSL/TLS"),
        ("Envoi (SMTP)", f"{server}, port 465, SSL/TLS (ou 587, STARTTLS)"),
        ("Authentification", "mot de passe normal"),
    ]
    if know.pop3:
        rows.insert(4, ("Réception (POP3)", f"{server}, port 995, SSL/TLS"))
    space = f"Votre boîte contient {quota}. " if quota else ""
    junk = (
        "Ce qui arrive par erreur dans « Junk » (indésirables), déplacez-le dans la boîte de "
        "réception ; ce qui n’a rien à faire dans celle-ci, déplacez-le dans « Junk ». Le filtre "
        "apprend de ces gestes. Jetez un œil dans « Junk » de temps en temps.",
    )
    return Guide(
        "fr",
        "Votre courriel",
        "Tout ce qu’il faut pour lire et écrire depuis un ordinateur ou un téléphone.",
        (
            Section("L’essentiel", rows=tuple(rows)),
            Section(
                "Sur un ordinateur, avec Thunderbird",
                steps=(
                    "Ouvrez Thunderbird, puis Nouveau compte → Courrier électronique.",
                    f"Écrivez votre nom, votre adresse ({know.address}) et votre mot de passe, "
                    "puis Continuer : les serveurs sont trouvés tout seuls.",
                    "Vérifiez que IMAP est choisi, puis Terminé.",
                    "Si rien n’est trouvé : Configuration manuelle, avec le tableau ci-dessus.",
                ),
            ),
            Section(
                "Sur un téléphone Android",
                steps=(
                    "Installez Thunderbird (ou K-9 Mail), logiciels libres.",
                    f"Écrivez votre adresse, {know.address}, puis votre mot de passe : les "
                    "serveurs sont trouvés tout seuls.",
                    f"Sinon : IMAP, {server}, port 993, SSL/TLS ; SMTP, {server}, port 465, "
                    "SSL/TLS ; identifiant : l’adresse entière.",
                ),
            ),
            Section(
                "Sur un iPhone ou un iPad",
                steps=(
                    "Réglages → Apps → Mail → Comptes → Ajouter un compte → Autre → Ajouter un "
                    "compte Mail.",
                    "Écrivez votre nom, votre adresse et votre mot de passe, puis Suivant.",
                    f"Choisissez IMAP. Serveur de réception et serveur d’envoi : {server} ; nom "
                    "d’utilisateur : l’adresse entière ; le mot de passe dans les deux cadres, "
                    "même si l’envoi le dit facultatif.",
                    "Suivant, puis Enregistrer.",
                ),
            ),
            Section(
                "Le premier message",
                (
                    "Un message de bienvenue vous attend : s’il est là, la réception marche.",
                    "Écrivez-vous un message à vous-même : s’il arrive, l’envoi marche aussi.",
                ),
            ),
            *((Section("Indésirables", junk),) if know.spam else ()),
            Section(
                "Boîtes partagées",
                (
                    "Si l’on vous a ouvert une boîte comme contact@, elle est parmi vos dossiers, "
                    "sous « Shared ». Ce que vous y lisez, y rangez ou y jetez l’est pour toutes "
                    "et tous.",
                    "Pour répondre en son nom : dans Thunderbird, Paramètres du compte → Gérer les "
                    "identités → Ajouter, avec son adresse.",
                ),
            ),
            Section(
                "Règles et absence",
                (
                    f"Des règles de tri et un message d’absence restent sur le serveur ({server}, "
                    "ManageSieve, port 4190, STARTTLS). K-9 et Thunderbird n’en écrivent pas "
                    "eux-mêmes : il faut un logiciel Sieve, ou demander.",
                ),
            ),
            Section(
                "Ce que la boîte accepte",
                (
                    f"{space}Un message pèse au plus {know.message_mb} Mo, pièces jointes "
                    "comprises (un quart de moins en pratique), et un compte écrit à "
                    f"{know.per_hour} personnes au plus par heure.",
                ),
            ),
            Section(
                "Mot de passe",
                (
                    f"Pour le changer, ou s’il est perdu : {know.contact}, de vive voix si "
                    "possible. Les appareils demandent alors le nouveau.",
                    "Personne ne vous le demandera jamais par courriel. Un message qui le demande "
                    "est une tromperie, même s’il semble venir de nous.",
                ),
            ),
        ),
    )


def _english(know: _Facts) -> Guide:
    server = know.server
    quota = f"{know.quota}B" if know.quota else ""
    rows = [
        ("Address", know.address),
        ("User name", f"{know.address} (the whole address)"),
        ("Password", "the one you were given, never by mail"),
        ("Incoming (IMAP)", f"{server}, port 993, SSL/TLS"),
        ("Outgoing (SMTP)", f"{server}, port 465, SSL/TLS (or 587, STARTTLS)"),
        ("Authentication", "normal password"),
    ]
    if know.pop3:
        rows.insert(4, ("Incoming (POP3)", f"{server}, port 995, SSL/TLS"))
    space = f"Your mailbox holds {quota}. " if quota else ""
    junk = (
        "What lies in “Junk” by mistake, move to the inbox; what has no business in the inbox, "
        "move to “Junk”. The filter learns from that. Have a look into “Junk” from time to time.",
    )
    return Guide(
        "en",
        "Your mail",
        "All it takes to read and write, on a computer or a phone.",
        (
            Section("In short", rows=tuple(rows)),
            Section(
                "On a computer, with Thunderbird",
                steps=(
                    "Open Thunderbird, then New Account → Email.",
                    f"Enter your name, your address ({know.address}) and your password, then "
                    "Continue: the servers are found by themselves.",
                    "See that IMAP is chosen, then Done.",
                    "If nothing is found: Configure manually, with the table above.",
                ),
            ),
            Section(
                "On an Android phone",
                steps=(
                    "Install Thunderbird (or K-9 Mail), free software.",
                    f"Enter your address, {know.address}, then your password: the servers are "
                    "found by themselves.",
                    f"If not: IMAP, {server}, port 993, SSL/TLS; SMTP, {server}, port 465, "
                    "SSL/TLS; user name: the whole address.",
                ),
            ),
            Section(
                "On an iPhone or iPad",
                steps=(
                    "Settings → Apps → Mail → Accounts → Add Account → Other → Add Mail Account.",
                    "Enter your name, your address and your password, then Next.",
                    f"Choose IMAP. Incoming and outgoing mail server: {server}; user name: the "
                    "whole address; the password in both boxes, even where it is called optional.",
                    "Next, then Save.",
                ),
            ),
            Section(
                "The first message",
                (
                    "A message of welcome is waiting: if you see it, receiving works.",
                    "Write a message to yourself: if it arrives, sending works, too.",
                ),
            ),
            *((Section("Junk", junk),) if know.spam else ()),
            Section(
                "Shared mailboxes",
                (
                    "If a mailbox such as contact@ was opened to you, it is among your folders, "
                    "below “Shared”. What you read, file or throw away there is so for everybody.",
                    "To answer in its name: in Thunderbird, Account Settings → Manage Identities → "
                    "Add, with its address.",
                ),
            ),
            Section(
                "Rules and absence",
                (
                    f"Rules that sort and a message of absence stay on the server ({server}, "
                    "ManageSieve, port 4190, STARTTLS). K-9 and Thunderbird do not write them: "
                    "take a Sieve program, or ask.",
                ),
            ),
            Section(
                "What the mailbox takes",
                (
                    f"{space}A message has at most {know.message_mb} MB with its attachments (a "
                    f"quarter less in practice), and an account writes to at most {know.per_hour} "
                    "people an hour.",
                ),
            ),
            Section(
                "Password",
                (
                    f"To change it, or when it is lost: {know.contact}, by voice if you can. Your "
                    "devices ask for the new one then.",
                    "Nobody will ever ask you for it by mail. A message that does is a fraud, even "
                    "if it seems to come from us.",
                ),
            ),
        ),
    )


def _markdown(one: Guide) -> Iterable[str]:
    yield f"# {_plain(one.title)}\n\n{_plain(one.lead)}\n"
    for section in one.sections:
        yield f"## {_plain(section.title)}\n"
        for text in section.text:
            yield f"{_plain(text)}\n"
        if section.rows:
            yield "| | |\n| --- | --- |"
            for name, value in section.rows:
                yield f"| {_plain(name)} | {_plain(value)} |"
            yield ""
        for number, step in enumerate(section.steps, 1):
            yield f"{number}. {_plain(step)}"
        if section.steps:
            yield ""


def _plain(text: str) -> str:
    """Nothing in a value is Markdown."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|" else c for c in text)
