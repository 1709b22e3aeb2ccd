"""What a server has when nobody chose otherwise (seen: recordings 160 and 211, of 12.1.25).

Only `adopt` reads this, to leave out what says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from platforms.yunohost.answers import Scalar

SETTINGS: Mapping[str, Scalar] = {
    "security.password.admin_strength": "1",
    "security.password.user_strength": "1",
    "security.password.passwordless_sudo": False,
    "security.ssh.ssh_compatibility": "modern",
    "security.ssh.ssh_port": 22,
    "security.ssh.ssh_password_authentication": True,
    "security.nginx.nginx_redirect_to_https": True,
    "security.nginx.nginx_compatibility": "intermediate",
    "security.postfix.postfix_compatibility": "intermediate",
    "security.webadmin.webadmin_allowlist_enabled": False,
    "security.webadmin.webadmin_allowlist": "",
    "security.portal.portal_allow_edit_email": False,
    "security.portal.portal_allow_edit_email_alias": True,
    "security.portal.portal_allow_edit_email_forward": True,
    "security.experimental.security_experimental_enabled": False,
    "email.pop3.pop3_enabled": False,
    "email.smtp.smtp_allow_ipv6": True,
    "email.smtp.smtp_relay_enabled": False,
    "email.smtp.smtp_relay_host": "",
    "email.smtp.smtp_relay_port": 587,
    "email.smtp.smtp_relay_user": "",
    "email.smtp.smtp_backup_mx_domains": "",
    "email.smtp.smtp_backup_mx_emails_whitelisted": "",
    "email.antispam.enable_blocklists": True,
    "misc.backup.backup_compress_tar_archives": False,
    "misc.network.dns_exposure": "both",
    "misc.tls_passthrough.tls_passthrough_enabled": False,
    "misc.tls_passthrough.tls_passthrough_list": "",
}

OPEN_PORTS = frozenset(
    ("22/tcp", "25/tcp", "80/tcp", "443/tcp", "587/tcp", "993/tcp",
     "53/udp", "1900/udp", "5353/udp", "55354/udp")
)  # fmt: skip

PERMISSIONS: Mapping[str, frozenset[str]] = {
    "mail.main": frozenset(("all_users",)),
    "sftp.main": frozenset(),
    "ssh.main": frozenset(("admins",)),
}
