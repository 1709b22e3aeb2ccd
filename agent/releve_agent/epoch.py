"""Which generation of a host may serve and save: one that was replaced stops for good."""

from __future__ import annotations

import contextlib
import json
import os

from .common import Failed, Root, iso, read_json, read_text, remove_tree, say, write, write_json
from .processes import run
from .repository import gate, own_epoch

TYPE_CHECKING = False  # typing's own would have it loaded
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def refuse_when_fenced(at: Root) -> None:
    notice = read_json(at.v("fenced"))
    if notice is not None or os.path.exists(at.v("fenced")):
        raise Failed(
            "this host has been replaced by another machine (epoch "
            f"{(notice or {}).get('epoch', '?')}) and must neither serve nor save. What was "
            "written here since then is in no copy: fetch it by hand if it matters."
        )


def take_up(at: Root, plan: Mapping[str, Any]) -> None:
    """Be the machine that data comes back to. Raise Failed when this one was replaced."""
    refuse_when_fenced(at)
    if not os.path.exists(at.v("epoch")):
        # A blank host that takes over: `init` comes with `configure`, after the data.
        write(at.v("epoch"), f"{int(plan['epoch'])}\n".encode())


def mark_serving(at: Root, service: str) -> None:
    """From now on a restore takes what lies here for somebody's work, countable or not."""
    if not os.path.exists(at.v("serving", service)):
        os.makedirs(at.v("serving"), mode=0o700, exist_ok=True)
        write(at.v("serving", service), f"{iso()}\n".encode())


def verified(at: Root, plan: Mapping[str, Any], data: bytes) -> int | None:
    """The epoch in a notice, or None unless it is about this host and its MAC is right."""
    import hashlib
    import hmac

    key = read_text(f"{at.etc}/fence-key").strip()
    try:
        notice = json.loads(data)
        epoch, host = int(notice["epoch"]), str(notice["host"])
        mac = str(notice["mac"])
    except (ValueError, KeyError, TypeError):
        return None
    text = f"releve-epoch\n{host}\n{epoch}\n".encode()
    right = hmac.new(key.encode(), text, hashlib.sha256).hexdigest()
    if not key or host != plan["host"] or not hmac.compare_digest(mac.encode(), right.encode()):
        return None
    return epoch


def guard(at: Root, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Has this host been replaced? If that is certain, stop serving; in doubt do nothing."""
    source = plan.get("repository")
    mine = own_epoch(at)
    answer: dict[str, Any] = {"epoch": mine, "noticed": None, "fenced": False}
    if os.path.exists(at.v("fenced")):
        fence(at, plan, read_json(at.v("fenced")) or {})
        return {**answer, "fenced": True}
    if not source:
        return answer
    try:
        data = gate(source, "epoch")
    except Failed as error:
        say(f"whether this host has been replaced cannot be asked now: {error}")
        return {**answer, "unknown": str(error)}
    if not data.strip() or data.strip() == b"{}":
        return answer
    epoch = verified(at, plan, data)
    if epoch is None:
        say("the repository's epoch notice for this host does not verify and is not obeyed")
        return {**answer, "unknown": "the notice does not verify"}
    answer["noticed"] = epoch
    if epoch > mine:
        fence(at, plan, {"host": plan["host"], "epoch": epoch, "at": iso()})
        answer["fenced"] = True
    return answer


def fence(at: Root, plan: Mapping[str, Any], notice: Mapping[str, Any]) -> dict[str, Any]:
    """Stop serving, saving and sending, for good: units cannot start while the file is there."""
    first = not os.path.exists(at.v("fenced"))
    if first:
        write_json(at.v("fenced"), dict(notice))
    units = sorted({u for s in plan["services"].values() for u in s.get("units", ())})
    for unit in units:
        folder = f"{at.units}/{unit}.d"
        os.makedirs(folder, exist_ok=True)
        text = f"[Unit]\nConditionPathExists=!{at.v('fenced')}\n"
        if read_text(f"{folder}/releve-fenced.conf") != text:
            write(f"{folder}/releve-fenced.conf", text.encode(), 0o644)
    held = at.v("cron-held")
    os.makedirs(held, mode=0o700, exist_ok=True)
    for name in os.listdir(at.cron) if os.path.isdir(at.cron) else ():
        if name.startswith("releve-") and name != "releve-guard":
            import shutil

            shutil.move(f"{at.cron}/{name}", f"{held}/{name}")
    run(["systemctl", "daemon-reload"])
    failed = []
    for unit in units:
        done = run(["systemctl", "stop", "--", unit], timeout=180)
        if done.code != 0 and b"not loaded" not in done.err:
            failed.append(f"{unit}: {done.said()}")
    if os.path.exists("/usr/sbin/postsuper"):
        # The first is what runs on Debian 12, and is not there on later ones.
        run(["systemctl", "stop", "postfix@-.service", "postfix.service"], timeout=180)
        run(["/usr/sbin/postsuper", "-h", "ALL"])
    if first:
        say(
            f"this host has been replaced (epoch {notice.get('epoch')} is elsewhere, this is "
            f"{own_epoch(at)}): services, cron jobs and outgoing mail are stopped. Nothing was "
            "deleted."
        )
    if failed:
        raise Failed("this host must not serve, but: " + "; ".join(failed))
    return {"fenced": True, "units": units, "epoch": notice.get("epoch")}


def _unfence(at: Root) -> None:
    """An operator has deployed this host with the newest epoch: it may serve again."""
    for name in os.listdir(at.units) if os.path.isdir(at.units) else ():
        drop = f"{at.units}/{name}/releve-fenced.conf"
        if os.path.exists(drop):
            os.unlink(drop)
            with contextlib.suppress(OSError):
                os.rmdir(f"{at.units}/{name}")
    remove_tree(at.v("cron-held"))
    os.unlink(at.v("fenced"))
    run(["systemctl", "daemon-reload"])
