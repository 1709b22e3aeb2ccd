"""The members' guide: filled in, in both languages, and never broken by a name."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from roles.mail import guide
from tests.unit.roles.test_mail_debian import made


def test_the_guide_says_what_to_type_in_both_languages() -> None:
    service, inventory = made(
        '[services.courriel.settings]\npop3 = true\nquota = "2G"\nmessage_mb = 25\n'
    )
    page = guide.page(service, inventory, "zoe@atelier.example")
    assert page.index('lang="fr"') < page.index('<main id="en" lang="en">')
    for language in ("fr", "en"):
        part = page.split(f'<main id="{language}"')[1].split("</main>")[0]
        for word in ("zoe@atelier.example", "mail.atelier.example, port 993", "port 465",
                     "port 995", "Thunderbird", "iPhone", "Android", "contact@atelier.example",
                     "Junk", "25 M", "2 G"):  # fmt: skip
            assert word in part, (language, word)
    # Nothing is fetched from anybody, and a name is only a name.
    assert not re.search(r"(?:src|href)=\"(?!#)|url\(|<script|@import", page)
    assert "L&#39;Atelier &lt;&amp;&gt; cie" in page
    seen: list[str] = []
    reader = HTMLParser()
    reader.handle_starttag = lambda tag, _: seen.append(tag)  # type: ignore[method-assign]
    reader.feed(page)
    assert seen.count("h2") == 2 * len(guide.guide(service, inventory, "fr").sections)


def test_the_guide_of_everybody_leaves_out_what_is_not_there() -> None:
    service, inventory = made('[services.courriel.settings]\nspam_filter = false\nquota = "0"\n')
    text = guide.markdown(service, inventory)
    assert "POP3" not in text
    assert "Junk" not in text
    assert "vous@atelier.example" in text
    assert "you@atelier.example" in text
    subject, first = guide.welcome(service, inventory)
    assert "Bienvenue" in subject
    assert "https://mail.atelier.example/" in first
