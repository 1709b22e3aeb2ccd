"""The words of the evidence page, in both languages. Plain words: a board member reads them."""

from __future__ import annotations

from collections.abc import Mapping

# Phases are named by these keys everywhere; people read the texts.
PHASES: Mapping[str, tuple[str, str]] = {
    "boot": ("Start the machines", "Démarrer les machines"),
    "deploy": ("Install the services", "Installer les services"),
    "check-before": ("Check that all is well", "Vérifier que tout va bien"),
    "write": ("Write as a member would", "Écrire comme le ferait un membre"),
    "backup": ("Save off site", "Sauvegarder ailleurs"),
    "destroy": ("Lose the datacenter", "Perdre le centre de données"),
    "blank": ("Get a blank machine elsewhere", "Obtenir une machine vide ailleurs"),
    "access": ("Change the locks", "Changer les serrures"),
    "install": ("Install the software", "Installer les logiciels"),
    "isolate": ("Shut the rehearsal in", "Isoler la répétition"),
    "restore": ("Bring the data back", "Ramener les données"),
    "configure": ("Set up", "Configurer"),
    "check-address": ("Check before switching", "Vérifier avant de basculer"),
    "activate": ("Point the names here", "Basculer les noms"),
    "fence": ("Keep the lost machine out", "Écarter la machine perdue"),
    "cut-off": ("Cut off, until it was run again", "Interrompu, jusqu’à la reprise"),
    "check-after": ("Check again", "Vérifier de nouveau"),
}

TEXTS: Mapping[str, tuple[str, str]] = {
    "title-disaster": (
        "Rehearsal of a lost datacenter",
        "Répétition : la perte d’un centre de données",
    ),
    "title-rehearsal": ("Rehearsal of a restore", "Répétition d’une restauration"),
    "title-rebuild": ("Rebuild after a loss", "Reconstruction après une perte"),
    "passed": ("It worked.", "Cela a fonctionné."),
    "failed": ("It did not work.", "Cela n’a pas fonctionné."),
    "passed-rehearsal": (
        "Every service came back on a blank machine, from the real copies, with what members had "
        "written.",
        "Tous les services sont revenus sur une machine vide, depuis les vraies copies, "
        "avec ce que les membres avaient écrit.",
    ),
    "passed-long": (
        "Every service came back at another provider, with what members had written.",
        "Tous les services sont revenus chez un autre hébergeur, "
        "avec ce que les membres avaient écrit.",
    ),
    "failed-long": (
        "Until this is put right, do not count on the copies.",
        "Tant que ce n’est pas réglé, ne comptez pas sur les copies.",
    ),
    "rto": ("Time without service", "Temps sans service"),
    "rpo": ("Work lost", "Travail perdu"),
    "unknown": ("unknown", "inconnu"),
    "at-most": ("promised: at most {}", "promis : {} au plus"),
    "rto-help": (
        "from the decision to rebuild until every service answered again",
        "de la décision de reconstruire jusqu’à ce que chaque service réponde de nouveau",
    ),
    "names-until": (
        "until {} some people may still be led to the lost machine: their providers remember the "
        "old address",
        "jusqu’à {}, certaines personnes peuvent encore être menées à la machine perdue : leurs "
        "fournisseurs gardent l’ancienne adresse en mémoire",
    ),
    "rpo-help": (
        "what had been written after the last copy that came back",
        "ce qui avait été écrit après la dernière copie revenue",
    ),
    "what-happened": ("What happened, minute by minute", "Ce qui s’est passé, minute par minute"),
    "counted": ("members wait", "les membres attendent"),
    "not-counted": ("before or after", "avant ou après"),
    "not-ok": ("failed", "a échoué"),
    "lost-at": ("Lost on {}", "Perdu le {}"),
    "services": ("What came back", "Ce qui est revenu"),
    "service": ("Service", "Service"),
    "saved": ("in the copy", "dans la copie"),
    "back": ("came back", "revenus"),
    "last-mark": ("last writing found", "dernier écrit retrouvé"),
    "checks": ("Checks after", "Contrôles après"),
    "version": ("Version", "Version"),
    "all-well": ("all well", "tout va bien"),
    "problems": ("What is wrong", "Ce qui ne va pas"),
    "raw": ("What the program said:", "Ce que le programme a dit, en anglais :"),
    "where": ("From {} to {}", "De {} à {}"),
    "who": ("Run by", "Mené par"),
    "when": ("on", "le"),
    "snapshot": ("Copy used:", "Copie utilisée :"),
    "seconds": ("seconds", "secondes"),
    "none": ("none", "aucun"),
}

FAILURES: Mapping[str, tuple[str, str]] = {
    "phase": ("“{phase}” failed.", "« {phase} » a échoué."),
    "problem": ("Something went wrong.", "Quelque chose a échoué."),
    "not-back": ("Not back: {service}.", "Pas revenus : {service}."),
    "nothing": (
        "No service was restored, so nothing was proved.",
        "Aucun service n’a été restauré : rien n’est prouvé.",
    ),
    "never": (
        "The services did not all come back.",
        "Les services ne sont pas tous revenus.",
    ),
    "no-mark": (
        "No mark of a user came back, so the loss is unknown: {service}.",
        "Aucun écrit témoin n’est revenu, la perte est donc inconnue : {service}.",
    ),
    "missing": (
        "{service}: {before} {count} were in the copy, {after} came back.",
        "{service} : la copie contenait {before} {count}, {after} sont revenus.",
    ),
    "not-well": (
        "{service} is not well after the restore: {checks}.",
        "{service} ne va pas bien après la restauration : {checks}.",
    ),
    "not-checked": (
        "Nothing was checked after the restore: {service}.",
        "Rien n’a été contrôlé après la restauration : {service}.",
    ),
    "rpo": (
        "{span} of work was lost; at most {target} is promised.",
        "{span} de travail ont été perdus ; au plus {target} sont promis.",
    ),
    "rto": (
        "It took {span}; at most {target} is promised.",
        "Il a fallu {span} ; au plus {target} sont promis.",
    ),
    "rto-names": (
        "Every service was back after {span}, but some people are led to it only after {reach}; at "
        "most {target} is promised. A shorter TTL of the records helps.",
        "Chaque service était revenu après {span}, mais certaines personnes n’y sont menées "
        "qu’après {reach} ; au plus {target} sont promis. Un TTL plus court aide.",
    ),
}

# As checks call what they found.
LEVELS: Mapping[str, tuple[str, str]] = {
    "critical": ("does not work", "ne marche pas"),
    "unknown": ("could not be found out", "n’a pas pu être vérifié"),
    "warning": ("wants attention", "à surveiller"),
}

# Checks that a reader meets when something is wrong; one without an entry keeps its own name.
CHECKS: Mapping[str, tuple[str, str]] = {
    "https": ("web page", "page web"),
    "page": ("web page", "page web"),
    "site": ("content", "contenu"),
    "status": ("own report", "rapport interne"),
    "state": ("database and content", "base de données et contenu"),
    "api": ("programs’ access", "accès des programmes"),
    "dav": ("files and calendars", "fichiers et agendas"),
    "health": ("own report", "rapport interne"),
    "pad": ("a pad", "un pad"),
    "tls": ("certificate", "certificat"),
    "dns": ("name", "nom"),
    "files": ("program files", "fichiers du programme"),
    "unit": ("program", "programme"),
    "app": ("installation", "installation"),
    "postfix": ("mail delivery", "distribution du courrier"),
    "dovecot": ("mailboxes", "boîtes aux lettres"),
    "imap": ("reading mail", "lecture du courrier"),
    "smtp": ("receiving mail", "réception du courrier"),
    "submission": ("sending mail", "envoi du courrier"),
    "submissions": ("sending mail", "envoi du courrier"),
    "round-trip": ("a mail sent to itself", "un courriel envoyé à soi-même"),
    "queue": ("mails that wait", "courriels en attente"),
    "login": ("logging in", "connexion"),
    "records": ("names for mail", "noms pour le courrier"),
    "reverse": ("reverse name", "nom inverse"),
    "aliases": ("aliases", "alias"),
}

COUNTS: Mapping[str, tuple[str, str]] = {
    "posts": ("posts", "articles"),
    "pages": ("pages", "pages"),
    "comments": ("comments", "commentaires"),
    "attachments": ("pictures and files", "images et fichiers"),
    "media": ("pictures and files", "images et fichiers"),
    "users": ("accounts", "comptes"),
    "pads": ("pads", "pads"),
    "revisions": ("edits", "modifications"),
    "authors": ("authors", "auteurs"),
    "accounts": ("accounts", "comptes"),
    "mailboxes": ("mailboxes", "boîtes aux lettres"),
    "messages": ("mails", "courriels"),
    "rules": ("mail rules", "règles de tri"),
}


def word(table: Mapping[str, tuple[str, str]], key: str, locale: str) -> str:
    """The text for `key` in `locale` ("fr", else English); the key itself when none is known."""
    both = table.get(key)
    if both is None:
        return key
    return both[1] if locale == "fr" else both[0]
