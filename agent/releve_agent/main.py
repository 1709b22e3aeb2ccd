"""The verbs: words in, one JSON object out, exit codes 0, 1, 64 and 75."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys

from .backup import backup
from .common import (
    VERSION,
    Busy,
    Failed,
    Root,
    iso,
    make_folders,
    parse_iso,
    read_json,
    say,
)
from .epoch import fence, guard
from .initialise import init
from .lock import locked
from .processes import json_of
from .quiesce import undo
from .repository import own_epoch
from .restore import restore, restored_before
from .restoring import find_canaries
from .status import status

TYPE_CHECKING = False  # typing's own would have it loaded
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, NoReturn


FAILED, USAGE, BUSY = 1, 64, 75


def load_plan(at: Root) -> dict[str, Any]:
    path = f"{at.etc}/plan.json"
    plan = read_json(path)
    if not isinstance(plan, dict):
        raise Failed(f"{path} is missing or cannot be read. Run `releve deploy` (as root here).")
    if plan.get("format") != 1:
        raise Failed(f"{path} is of another version than this agent ({VERSION}): deploy again")
    return plan


def load_source(path: str) -> dict[str, Any]:
    """A repository that was lent for one restore. Raise Failed."""
    found = read_json(path)
    if not isinstance(found, dict) or not {"host", "restic", "gate"} <= found.keys():
        raise Failed(f"{path} does not describe a repository")
    return found


def service_part(plan: Mapping[str, Any], name: str) -> dict[str, Any]:
    if name not in plan["services"]:
        raise Failed(f"{plan['host']} has no service {name}")
    return dict(plan["services"][name])


def arguments(words: Sequence[str] | None) -> Any:
    import argparse

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            self.print_usage(sys.stderr)
            say(message)
            raise SystemExit(USAGE)

    parser = Parser(prog="agent.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", default="", help=argparse.SUPPRESS)
    # The name of the program is given so that argparse need not work it out, with libraries that
    # nothing else here needs.
    verbs = parser.add_subparsers(dest="verb", required=True, parser_class=Parser, prog=parser.prog)
    verbs.add_parser("init")
    it = verbs.add_parser("backup")
    it.add_argument("--run")
    it = verbs.add_parser("restore")
    it.add_argument("--service", required=True)
    it.add_argument("--snapshot", default="latest")
    it.add_argument("--at")
    it.add_argument("--replace", action="store_true")
    it.add_argument("--no-snapshot", action="store_true")
    it.add_argument("--once", action="store_true", help="keep what a finished restore left")
    it.add_argument("--unless-live", action="store_true", help="keep what is in use")
    it.add_argument("--dry-run", action="store_true")
    it.add_argument("--source", help="a file that describes another host's repository")
    it = verbs.add_parser("together", help="what of several services can be restored at once")
    it.add_argument("--service", action="append", required=True, dest="services")
    it.add_argument("--snapshot", default="latest")
    it.add_argument("--at")
    it.add_argument("--once", action="store_true", help="leave out what came back already")
    it.add_argument("--source", help="a file that describes another host's repository")
    for name in ("canaries", "counts"):
        verbs.add_parser(name).add_argument("--service", required=True)
    it = verbs.add_parser("fence")
    it.add_argument("--yes", action="store_true", required=True)
    it = verbs.add_parser("status")
    it.add_argument("--services", action="store_true", help="of the host itself, only what is free")
    for name in ("undo", "guard", "version"):
        verbs.add_parser(name)
    args = parser.parse_args(words)
    # argparse of Python 3.11 turns the value "--" into an empty list.
    odd = [n for n, value in vars(args).items() if isinstance(value, list) and n != "services"]
    if odd:
        parser.error(f"-- is no value for --{odd[0]}")
    return args


def perform(at: Root, args: Any) -> tuple[Any, bool]:
    """Do what was asked. Return what to print, and whether all is well."""
    if args.verb == "version":
        return {"agent": VERSION}, True
    make_folders(at)
    if args.verb == "undo":
        return undo(at), True
    plan = load_plan(at)
    if args.verb == "status":
        return status(at, plan, services=args.services), True
    if args.verb == "counts":
        argv = service_part(plan, args.service)["counts"]
        return (json_of(argv, args.service) if argv else {}), True
    if args.verb == "canaries":
        part = service_part(plan, args.service)
        return (find_canaries(part) if part.get("canary") else []), True
    if args.verb == "guard":
        return guard(at, plan), True
    if args.verb == "fence":
        notice = {"host": plan["host"], "epoch": own_epoch(at) + 1, "at": iso()}
        return fence(at, plan, notice), True
    if args.verb == "init":
        return init(at, plan), True
    with locked(at, args.verb):
        undo(at)
        if args.verb == "backup":
            receipt = backup(at, plan, args.run)
            return receipt, bool(receipt["ok"])
        source = load_source(args.source) if getattr(args, "source", None) else None
        try:
            until = parse_iso(args.at) if args.at else None
        except ValueError:
            raise Failed(f"{args.at!r} is not a time: write 2026-11-23T20:15:00Z") from None
        if args.verb == "together":
            from .ahead import restore_together

            found = restore_together(
                at,
                plan,
                args.services,
                wanted=args.snapshot,
                until=until,
                once=args.once,
                source=source,
            )
            return {"ok": True, **found}, True
        if args.once and not args.dry_run:
            part = plan["services"].get(args.service, {})
            before = restored_before(at, part, args.service)
            if before is not None:
                return before, True
        result = restore(
            at,
            plan,
            args.service,
            wanted=args.snapshot,
            until=until,
            replace=args.replace,
            dry=args.dry_run,
            no_snapshot=args.no_snapshot,
            unless_live=args.unless_live,
            source=source,
        )
        return result, bool(result["ok"])


def _end(*_: Any) -> NoReturn:
    raise SystemExit(143)


def main(words: Sequence[str] | None = None) -> int:
    os.umask(0o077)
    args = arguments(words)
    at = Root(args.root)
    # A polite end must pass through every `finally`.
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGHUP, _end)
    signal.signal(signal.SIGINT, _end)
    try:
        answer, well = perform(at, args)
    except Busy as error:
        say(str(error))
        print(json.dumps({"ok": False, "busy": True, "error": str(error)}))
        return BUSY
    except Failed as error:
        say(str(error))
        print(json.dumps({"ok": False, "error": str(error)}))
        return FAILED
    except PermissionError as error:
        say(f"{error.filename}: not allowed. The agent runs as root.")
        return FAILED
    except OSError as error:
        say(f"{error.strerror}: {error.filename or at.var}")
        print(json.dumps({"ok": False, "error": f"{error.strerror}: {error.filename}"}))
        return FAILED
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(answer, ensure_ascii=False))
        sys.stdout.flush()
    return 0 if well else FAILED


if __name__ == "__main__":
    raise SystemExit(main())
