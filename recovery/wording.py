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
    "rpo-help": (
        "what had been written after the last copy that came back",
        "ce qui avait été écrit après la dernière copie revenue",
    ),
    "what-happened": ("What happened, minute by minute", "Ce qui s’est passé, minute par minute"),
    "counted": ("members wait", "les membres attendent"),
    "not-counted": ("before or after", "avant ou après"),
    "services": ("What came back", "Ce qui est revenu"),
    "service": ("Service", "Service"),
    "saved": ("in the copy", "dans la copie"),
    "back": ("came back", "revenus"),
    "last-mark": ("last writing found", "dernier écrit retrouvé"),
    "checks": ("Checks after", "Contrôles après"),
    "version": ("Version", "Version"),
    "all-well": ("all well", "tout va bien"),
    "problems": ("What is wrong", "Ce qui ne va pas"),
    "where": ("From {} to {}", "De {} à {}"),
    "who": ("Run by", "Mené par"),
    "when": ("on", "le"),
    "snapshot": ("Copy used:", "Copie utilisée :"),
    "seconds": ("seconds", "secondes"),
    "none": ("none", "aucun"),
}

FAILURES: Mapping[str, tuple[str, str]] = {
    "problem": ("{text}", "{text}"),
    "nothing": (
        "No service was restored, so nothing was proved.",
        "Aucun service n’a été restauré : rien n’est prouvé.",
    ),
    "never": (
        "The services did not all come back.",
        "Les services ne sont pas tous revenus.",
    ),
    "no-mark": (
        "{service}: no mark of a user came back; the loss is unknown.",
        "{service} : aucun écrit témoin n’est revenu ; la perte est inconnue.",
    ),
    "missing": (
        "{service}: {before} {count} were in the copy, {after} came back.",
        "{service} : la copie contenait {before} {count}, {after} sont revenus.",
    ),
    "not-well": (
        "{service}: not well after the restore: {checks}.",
        "{service} : ne va pas bien après la restauration : {checks}.",
    ),
    "not-checked": (
        "{service}: nothing was checked after the restore.",
        "{service} : rien n’a été contrôlé après la restauration.",
    ),
    "rpo": (
        "{span} of work was lost; at most {target} is promised.",
        "{span} de travail ont été perdus ; au plus {target} sont promis.",
    ),
    "rto": (
        "It took {span}; at most {target} is promised.",
        "Il a fallu {span} ; au plus {target} sont promis.",
    ),
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
