"""``mien recipes``: what can be trained, and how."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    group = typer.Typer(help="List the shipped recipes, or show one.", invoke_without_command=True)
    group.callback()(list_recipes)
    group.command("show")(show)
    app.add_typer(group, name="recipes")


def list_recipes(context: typer.Context) -> None:
    """List the shipped recipes, or show one."""
    if context.invoked_subcommand is None:
        from mien.config import recipe_names, recipe_text

        for name in recipe_names():
            claim = recipe_text(name).splitlines()[0].lstrip("# ")
            print(f"{name:24} {claim}")


def show(name: Annotated[str, typer.Argument(help="A name from the list, or a TOML file.")]) -> None:
    """Print a recipe as it is written, and every option as it will run."""
    import json

    from mien.config import read_recipe, recipe_text

    print(recipe_text(name).rstrip())
    print("\n# every option, with the defaults filled in")
    for section, value in read_recipe(name).model_dump(mode="json").items():
        options = value.items() if isinstance(value, dict) else [(None, value)]
        for key, option in options:
            print(f"# {section}{f'.{key}' if key else ''} = {json.dumps(option)}")
