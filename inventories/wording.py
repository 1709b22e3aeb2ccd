"""Pydantic's errors in our words: what is wrong, and what would be right."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from pydantic import BaseModel, ValidationError

from inventories.fields import name_for, right_for
from inventories.problems import Problem, Step, dotted, shown

Located = tuple[tuple[Step, ...], Problem]

_TYPES = {
    "string": "a text in double quotes",
    "int": "a whole number",
    "bool": "true or false",
    "date": "a date such as 2026-01-31",
    "tuple": "a list in square brackets",
    "list": "a list in square brackets",
    "dict": "a table",
    "model": "a table",
    "float": "a number",
}


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` is most likely a mistake for, or None."""
    import difflib  # for mistakes alone

    close = difflib.get_close_matches(word.lower(), sorted(known), n=1, cutoff=0.6)
    return close[0] if close else None


def choice(word: object, known: Collection[str], what: str) -> str:
    """The remedy for a word that is not among `known`: the likely one, or all of them."""
    close = nearest(word, known) if isinstance(word, str) else None
    names = ", ".join(shown(k) for k in sorted(known)[:30])
    if close:
        return f"Did you mean {shown(close)}? Known {what}: {names}"
    return f"Known {what}: {names}" if known else f"There are no {what}"


def problems_of(
    error: ValidationError, data: Any, model: type[BaseModel], prefix: tuple[Step, ...] = ()
) -> list[Located]:
    """Given what pydantic found in `data`, return one problem per place, in our words."""
    found: dict[tuple[Step, ...], Problem] = {}
    for item in error.errors(include_url=False):
        steps, value = _place(item["loc"], data, item["type"])
        path = (*prefix, *steps)
        found.setdefault(path, _problem(path, value, item, model))
    return list(found.items())


def _place(loc: tuple[Step, ...], data: Any, kind: str) -> tuple[tuple[Step, ...], Any]:
    """The part of `loc` that exists in the file: pydantic adds the names of its own validators."""
    steps: list[Step] = []
    value = data
    for number, step in enumerate(loc):
        last = number == len(loc) - 1
        inner = _inside(value, step)
        if inner is not None:
            value = inner[0]
        elif last and kind == "missing" and isinstance(value, dict):
            return (*steps, step), value
        elif step == "id" and last and steps:
            return tuple(steps), steps[-1]  # the name of the table itself
        elif step == "[key]" and steps:
            return tuple(steps), steps[-1]
        else:
            break
        steps.append(step)
    return tuple(steps), value


def _inside(value: Any, step: Step) -> tuple[Any] | None:
    if isinstance(value, dict) and step in value:
        return (value[step],)
    if isinstance(value, (list, tuple)) and isinstance(step, int) and step < len(value):
        return (value[step],)
    return None


def _problem(path: tuple[Step, ...], value: Any, item: Any, model: type[BaseModel]) -> Problem:
    kind: str = item["type"]
    context = item.get("ctx", {})
    where = dotted(path)
    right = right_for(path)
    name_of_table = item["loc"][-1] in ("[key]", "id") and value == path[-1]

    if kind == "missing":
        return Problem(where, "is missing", f"Add {right}" if right else "Add it")
    if kind == "extra_forbidden":
        known = _keys_beside(item["loc"], model)
        return Problem(where, "is not a known key", choice(path[-1], known, "keys here"))
    if name_of_table:
        return Problem(
            where,
            f"{shown(value)} cannot be a name",
            f"Use {name_for(path)}",
        )
    if kind == "literal_error":
        expected_words = str(context["expected"]).replace(" or ", ", ").split(", ")
        allowed = [word.strip("'") for word in expected_words]
        return Problem(where, f"{shown(value)} is not known", choice(value, allowed, "values"))
    if kind == "value_error":
        said = str(context["error"])
        return Problem(where, f"{shown(value)} does not fit", said[0].upper() + said[1:])
    if kind in ("greater_than_equal", "less_than_equal", "greater_than", "less_than"):
        bound = next(iter(context.values()))
        few = kind.startswith("greater")
        return Problem(
            where,
            f"{shown(value)} is too {'small' if few else 'large'}",
            f"Write {right}" if right else f"Write {'at least' if few else 'at most'} {bound}",
        )
    if kind == "string_too_long":
        return Problem(where, "is too long", f"Write at most {context['max_length']} characters")
    if kind == "string_too_short":
        return Problem(where, "is empty", f"Write {right or 'something, or remove it'}")
    expected = _TYPES.get(kind.split("_")[0])
    if right:
        return Problem(where, f"{shown(value)} is not right here", f"Write {right}")
    if kind.endswith(("_type", "_parsing")) and expected:
        return Problem(where, f"{shown(value)} is not {expected}", f"Write {expected}")
    return Problem(where, f"{shown(value)} does not fit", f"Rule: {item['msg']}")


def _keys_beside(loc: tuple[Step, ...], model: type[BaseModel]) -> list[str]:
    """The keys that the table around `loc` may have."""
    current: Any = model
    for step in loc[:-1]:
        current = _one_of(current)
        if isinstance(current, type) and issubclass(current, BaseModel):
            field = next((f for n, f in current.model_fields.items() if step in (n, f.alias)), None)
            current = field.annotation if field else None
        else:
            arguments = getattr(current, "__args__", ())
            models = [a for a in arguments if isinstance(a, type) and issubclass(a, BaseModel)]
            current = models[0] if models else None
        arguments = getattr(current, "__args__", ())
        if arguments and isinstance(step, int):
            current = arguments[0]
    current = _one_of(current)
    if isinstance(current, type) and issubclass(current, BaseModel):
        # `id` is the name of the table itself, unless a file may leave it out.
        return [
            f.alias or n
            for n, f in current.model_fields.items()
            if n != "id" or not f.is_required()
        ]
    return []


def _one_of(annotation: Any) -> Any:
    """The model in `Model | None`; anything else as it is."""
    arguments = getattr(annotation, "__args__", ())
    others = [a for a in arguments if a is not type(None)]
    return others[0] if len(others) == 1 and len(arguments) == 2 else annotation
