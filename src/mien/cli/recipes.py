"""``mien recipes``: list the shipped training recipes, or show one."""

from __future__ import annotations

from typing import Annotated

import typer

from mien.cli.command import Json, command, group


@command("mien recipes list")
def list_recipes(json_to: Json = None) -> None:
    """List the shipped training recipes."""
    from mien.cli.terminal import give, print_table
    from mien.config import recipe_names, recipe_text

    claims = {name: _first_sentence(recipe_text(name)) for name in recipe_names()}
    give(claims, json_to, lambda: print_table(("recipe", "what it trains"), list(claims.items())))


def _first_sentence(text: str) -> str:
    """Return the first sentence of a recipe's header, which may go over several lines."""
    words: list[str] = []
    for line in text.splitlines():
        words += line.lstrip("#").split()
        if line.endswith(".") or line == "#":
            break
    return " ".join(words)


@command("mien recipes show nano")
def show(
    name: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A name from `mien recipes`, or a TOML file.")
    ],
) -> None:
    """Print a recipe as it is written, and every option with its value."""
    import json

    from mien.cli.terminal import say
    from mien.config import read_recipe, recipe_text

    for line in recipe_text(name).rstrip().splitlines():
        say(line)
    say()
    say("# every option, with the defaults filled in")
    for section, value in read_recipe(name).model_dump(mode="json").items():
        options = value.items() if isinstance(value, dict) else [(None, value)]
        for key, option in options:
            say(f"# {section}{f'.{key}' if key else ''} = {json.dumps(option)}")


recipes = group(
    {"list": list_recipes, "show": show}, "List the shipped training recipes, or show one.", default="list"
)
