"""Names and types of Discourse's site settings that the role sets, as its sources have them."""

from __future__ import annotations

from inventories.model import Inventory
from platforms.yunohost.app import Secret
from roles.discourse import yunohost
from roles.discourse.settings import DiscourseSettings

# config/site_settings.yml of 3.1.0.beta6; plugins/chat/config/settings.yml; default_locale is in
# lib/site_setting_extension.rb. The type is that of the default, which is what Discourse keeps.
SETTINGS: dict[str, type] = {
    "title": str,
    "default_locale": str,
    "contact_email": str,
    "notification_email": str,
    "reply_by_email_enabled": bool,
    "reply_by_email_address": str,
    "pop3_polling_enabled": bool,
    "pop3_polling_ssl": bool,
    "pop3_polling_period_mins": int,
    "pop3_polling_host": str,
    "pop3_polling_port": int,
    "pop3_polling_username": str,
    "pop3_polling_password": str,
    "email_in": bool,
    "default_email_mailing_list_mode": bool,
    "disable_mailing_list_mode": bool,
    "chat_enabled": bool,
}
# db/schema: categories.email_in, categories.email_in_allow_strangers
CATEGORY = {"category_mail": str, "category_strangers": bool}


def test_what_is_set_is_there_and_of_its_type() -> None:
    said = Inventory.model_validate(
        {
            "schema": 1,
            "organisation": {"name": "Atelier", "contact": "c@test.example"},
            "hosts": {
                "monts": {
                    "platform": "yunohost", "address": "192.0.2.1", "provider": "p",
                    "datacenter": "d",
                    "yunohost": {"main_domain": "test.example", "mailboxes": {"forum": {}}},
                }
            },
            "services": {
                "forum": {
                    "role": "discourse", "host": "monts", "url": "https://forum.test.example",
                    "settings": DiscourseSettings(
                        mailbox="forum", new_topics={"general": "forum+g@test.example"},
                        mailing_list=True, chat=True,
                    ),
                }
            },
        }
    )  # fmt: skip
    [one] = yunohost.settle(said.services["forum"], said)
    found = {
        name.partition(":")[0]: str if isinstance(value, Secret) else type(value)
        for name, value in one.wanted.items()
    }
    assert found == {**SETTINGS, **CATEGORY}
