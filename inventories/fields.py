"""What each key of an inventory means and what may stand there, in both languages."""

from __future__ import annotations

from inventories.problems import Step

RIGHT: dict[str, str] = {
    "hosts.*.address": 'an IP address such as "198.51.100.10"',
}


def right_for(path: tuple[Step, ...]) -> str:
    """Given the steps to a value, return what would be right there; "" when nothing is known."""
    from_table = ("people", "hosts", "repositories", "domains", "services", "external", "alerts")
    words: list[str] = []
    for number, step in enumerate(path):
        if isinstance(step, int):
            continue
        words.append("*" if number == 1 and path[0] in from_table else step)
    return RIGHT.get(".".join(words), "")
