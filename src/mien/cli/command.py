"""Declare a command: a function whose parameters, and the fields of dataclasses among them, become flags.

::

    @command("mien evaluate default --data synthetic --split test")
    def evaluate(model: Model, data: Data, split: Split, reading: ReadOptions, json_to: Json = None) -> None:

A parameter that is a dataclass of `mien.options` becomes one flag per field, under its own heading in the
help. An error that the function raises is printed as one line, status 2, and names options by their flags.
"""

from __future__ import annotations

import inspect
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from mien.cli.terminal import complain
from mien.errors import ConfigError, MienError, number_of
from mien.options import ReadOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mien.data.dataset import FaceDataset
    from mien.preprocess import Preprocess
    from mien.vision.frames import Frames

DATA_HELP = "A dataset: class folders, zip, CSV, arrays, Parquet (see docs/data.md), or `synthetic`."


SPLITS = (
    "train, val, test or another split of the dataset, all, or holdout for what recipes hold out of train"
)


def note_line(note: str) -> str:
    """Return a note on a dataset with flags (`--val-fraction`) in place of names of options (`val_fraction`)."""
    return MienError(note).with_flags({one.name: _flag(one.name) for one in fields(ReadOptions)})


def choice_option(choices: Sequence[str], meaning: str) -> Any:
    """Return the declaration of an option with a fixed list of values."""
    return typer.Option(metavar=f"[{'|'.join(choices)}]", help=meaning)


Data = Annotated[str, typer.Option("--data", "-d", metavar="DATA", help=DATA_HELP)]
Split = Annotated[
    str,
    typer.Option(metavar="NAME", help=f"The split to use: {SPLITS}."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change an option of the recipe; may be repeated."),
]
Json = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE", help="Write the result as JSON to FILE; - prints only JSON."),
]


Model = Annotated[
    str,
    typer.Option(
        "--model", "-m", metavar="MODEL", help="A model folder or a built-in name (see `mien models`)."
    ),
]
Tta = Annotated[
    str,
    choice_option(
        ("none", "flip", "ten_crops"),
        "Test-time augmentation: average over each image and its mirror image, or over ten crops.",
    ),
]


def model_argument(meaning: str = "A model folder or a built-in name (see `mien models`).") -> Any:
    """Return the declaration of the model that a command is about."""
    return typer.Argument(metavar="MODEL", help=meaning)


def out_option(meaning: str, *, metavar: str = "FOLDER") -> Any:
    """Return the declaration of `--out`, short `-o`."""
    return typer.Option("--out", "-o", metavar=metavar, help=meaning)


def with_sample(sources: Sequence[str]) -> list[str]:
    """Return the sources with the path of the photo that comes with mien in place of the word `sample`."""
    from importlib.resources import files

    own = str(files("mien").joinpath("assets", "sample.jpg"))
    return [own if source == "sample" and not Path(source).exists() else source for source in sources]


def note_lines(dataset: FaceDataset) -> list[str]:
    """Return what was decided, converted or left out while a dataset was read, a line each."""
    lines = [note_line(note) for note in dataset.notes]
    if dataset.skipped:
        lines.append(
            f"left out as corrupt: {number_of(len(dataset.skipped), 'image')}: {', '.join(dataset.skipped)}"
        )
    return lines


def tell_notes(dataset: FaceDataset, name: str = "") -> None:
    """Print `note_lines` on stderr, each after the name of the dataset if there are several."""
    for line in note_lines(dataset):
        complain(f"{name}{': ' if name else ''}{line}")


def telling_once(read: Callable[[Preprocess], FaceDataset]) -> Callable[[Preprocess], FaceDataset]:
    """Return a function that reads as `read` does and tells its notes once, however often it is called.

    The same dataset is read again for each model that takes images of another size.
    """
    told: list[bool] = []

    def read_and_tell(preprocess: Preprocess) -> FaceDataset:
        dataset = read(preprocess)
        if not told:
            tell_notes(dataset)
            told.append(True)
        return dataset

    return read_and_tell


def check_together(data: str | None, split: str | None, reading: ReadOptions) -> None:
    """Refuse a dataset without a split, or a split or options of reading without a dataset, where all are optional.

    Raises:
        ConfigError: one is missing.
    """
    if (data is None) != (split is None):
        given, missing = ("data", "split") if data else ("split", "data")
        raise ConfigError(f"`{given}` needs `{missing}`: both together say which images")
    reading.check_used(data)


def command(*examples: str, name: str | None = None) -> Callable[[Callable[..., None]], TyperCommand]:
    """Turn a function into a command, whose help ends with these examples."""

    def make(function: Callable[..., None]) -> TyperCommand:
        app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        app.command(name, cls=_Command, epilog="\n".join(examples))(_with_flags(function))
        made = typer.main.get_command(app)
        assert isinstance(made, TyperCommand)
        return made

    return make


def tell_idle_video_options(stream: Frames, *groups: Any) -> None:
    """Say which options of these groups were given for videos, if a stream has none."""
    given = [word for options in groups for word in flag_words(options) if word.startswith("--")]
    if given and not stream.moving:
        complain(f"{', '.join(given)}: without effect, as there is no video, animation or camera")


def group(commands: dict[str, TyperCommand], meaning: str, *, default: str = "") -> Group:
    """Join commands under one name; `default` runs if none of them is named."""
    made = Group(commands=dict(commands), help=meaning, rich_markup_mode=None)
    made.default = default
    return made


def flag_words(options: Any, *, folders: bool = False) -> list[str]:
    """Return the words that give these options on a command line; files without their folders, if not `folders`."""
    words = []
    for one in fields(options):
        value = getattr(options, one.name)
        if value != one.default:
            shown = Path(value).name if one.metadata["is_file"] and not folders else str(value)
            words += [_flag(one.name), *([] if isinstance(value, bool) else [shown])]
    return words


class Group(TyperGroup):
    """A command with subcommands; without one, it prints its help or runs its default subcommand."""

    default: str = ""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words; if no subcommand is named, the default one is used."""
        if not args or (args[0].startswith("-") and args[0] != "--help" and self.default):
            args = [self.default or "--help", *args]
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands with their whole first sentences."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.get_short_help_str(limit=400)) for name, one in found if one])

    def get_help_option(self, ctx: Any) -> Any:
        """Return `--help`; its default is a bool, as Typer would import pydantic to convert None."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.default = False
        return option


class _Command(TyperCommand):
    context_class = typer.Context  # the type that commands declare; Typer would pass its base class

    def invoke(self, ctx: Any) -> Any:
        """Run; an error of the user's input or machine is one line and status 2."""
        try:
            return super().invoke(ctx)
        except MienError as error:
            long = {one.name: [word for word in one.opts if word.startswith("--")] for one in self.params}
            flags = {name: words[0] for name, words in long.items() if words}
            complain(f"{ctx.command_path}: {error.with_flags(flags)}")
            raise typer.Exit(2) from None

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return what follows the command's name in its usage line."""
        arguments = [one for one in self.get_params(ctx) if one.param_type_name == "argument"]
        return [*(_metavar(one) for one in arguments), "[OPTIONS]"]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, the command's own options, and each group under its heading."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        one: Any
        for one in self.get_params(ctx):
            if one.param_type_name == "argument":
                sections["Arguments"].append((_metavar(one), one.help))
            elif record := one.get_help_record(ctx):
                sections.setdefault(one.rich_help_panel or "Options", []).append(record)
        for heading, records in sections.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)

    def format_epilog(self, _: Any, formatter: Any) -> None:
        """Write the examples, each as it is typed."""
        if self.epilog:
            lines = self.epilog.splitlines()
            formatter.write("\n" + ("Example:\n" if len(lines) == 1 else "Examples:\n"))
            formatter.write("".join(f"  {line}\n" for line in lines))


def _metavar(argument: Any) -> str:
    return argument.metavar or argument.name.upper()


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _with_flags(function: Callable[..., None]) -> Callable[..., None]:
    """Return a function with one parameter per flag, as Typer wants it; it builds the dataclasses."""
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    parameters: list[inspect.Parameter] = []
    for own in inspect.signature(function).parameters.values():
        if own.name in groups:
            parameters += _parameters(groups[own.name])
        else:
            parameters.append(own.replace(annotation=hints[own.name], kind=inspect.Parameter.KEYWORD_ONLY))

    def run(**given: Any) -> None:
        built = {
            name: group(**{one.name: given.pop(one.name) for one in fields(group)})
            for name, group in groups.items()
        }
        function(**given, **built)

    run.__name__, run.__doc__ = function.__name__, function.__doc__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


def _parameters(group: Any) -> list[inspect.Parameter]:
    """Return the flags of a dataclass, under its docstring's first line."""
    hints, heading = get_type_hints(group), inspect.getdoc(group).splitlines()[0].rstrip(".")  # type: ignore[union-attr]
    return [
        inspect.Parameter(
            one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default,
            annotation=Annotated[hints[one.name], _declaration(one, hints[one.name], heading)],
        )
        for one in fields(group)
    ]  # fmt: skip


def _declaration(one: Any, hint: Any, heading: str) -> Any:
    facts = one.metadata
    metavar = f"[{'|'.join(facts['choices'])}]" if facts["choices"] else facts["metavar"]
    words = [word for word in (_flag(one.name), facts["short"]) if word]
    whole = {"int", "int | None"} & {getattr(hint, "__name__", ""), str(hint)}
    metavar = metavar or (None if hint is bool else "N" if whole else "TEXT")
    return typer.Option(*words, help=facts["help"], metavar=metavar, rich_help_panel=heading)
