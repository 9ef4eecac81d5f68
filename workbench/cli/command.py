"""Commands made from the options of jobs."""

from __future__ import annotations

import re
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import click

from workbench.errors import OptionError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from workbench.jobs import Verb
    from workbench.jobs.options import Cli, Options

__all__ = ["command", "option_names"]

PATH = click.Path(path_type=Path)


def command(verb: Verb) -> click.Command:
    """Make the command of a verb. Its job is only loaded when it runs: a command that is typed answers at once."""
    from workbench.jobs.options import Cli

    options = verb.options
    fields = {key: field for key, field in options.model_fields.items() if not Cli.of(field).hidden}

    def run(*, as_json: bool = False, **values: Any) -> int:
        filled = {key: value for key, value in values.items() if value is not None}
        if "say" in options.model_fields:
            filled["say"] = lambda sentence: click.echo(sentence, err=True)
        try:
            result = verb.job(**filled)
        except OptionError as error:
            names = option_names(options)
            text = re.sub(r"`(\w+)`", lambda m: names.get(m[1], m[1]), str(error))
            raise click.UsageError(text if text.endswith((".", "?", "!")) else f"{text}.") from error
        return _show(result, as_json=as_json)

    parameters = [_parameter(key, field, Cli.of(field)) for key, field in fields.items()]
    if verb.json:
        parameters.append(click.Option(["--json", "as_json"], is_flag=True, help="Print JSON."))
    return click.Command(verb.name.split()[-1], callback=run, params=parameters, help=_help(options))


def _show(result: Any, *, as_json: bool) -> int:
    """Print what a job returned, and return the status to end with; JSON has standard output for itself."""
    click.echo(result.to_json() if as_json else result.text())
    for remark in getattr(result, "remarks", ()):
        click.echo(f"note: {remark}", err=as_json)
    for path in getattr(result, "files", ()):
        click.echo(f"wrote {path}", err=as_json)
    code: int = getattr(result, "exit_code", 0)
    return code


def option_names(options: type[Options]) -> dict[str, str]:
    """Return how each field is called on the command line."""
    from workbench.jobs.options import Cli

    return {key: _option_name(key, Cli.of(field)) for key, field in options.model_fields.items()}


def _option_name(key: str, cli: Cli) -> str:
    return key.upper() if cli.argument else f"--{(cli.name or key).replace('_', '-')}"


def _help(options: type[Options]) -> str:
    names = option_names(options)
    return re.sub(r"`(\w+)`", lambda m: names.get(m[1], m[1]), options.__doc__ or "")


def _parameter(key: str, field: FieldInfo, cli: Cli) -> click.Parameter:
    kind, several = _kind(field, other=click.STRING if cli.text else PATH)
    if cli.argument:
        return click.Argument([key], type=kind, nargs=-1 if several else 1, required=field.is_required())
    name = _option_name(key, cli)
    if kind is bool:
        return click.Option([name, key], is_flag=True, help=field.description)
    words = several and _splits(field)
    settings: dict[str, Any] = {"required": True} if field.is_required() else {}
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    if default not in (None, ()):
        settings = {"default": ",".join(map(str, default)) if words else default, "show_default": True}
    return click.Option(
        [*filter(None, [cli.short]), name, key],
        type=click.STRING if words else kind,
        multiple=several and not words,
        metavar=cli.metavar,
        help=field.description,
        **settings,
    )


def _splits(field: FieldInfo) -> bool:
    from workbench.jobs.options import Numbers, Words

    return Words in field.metadata or Numbers in field.metadata


def _kind(field: FieldInfo, *, other: click.ParamType[Any]) -> tuple[Any, bool]:
    """Return the type of a field's values on the command line, and whether there may be several."""
    annotation = field.annotation
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    several = get_origin(annotation) is tuple
    inner = get_args(annotation)[0] if several else annotation
    if get_origin(inner) is Literal:
        return click.Choice(get_args(inner)), several
    kinds: dict[Any, Any] = {int: click.INT, float: click.FLOAT, str: click.STRING, bool: bool}
    return kinds.get(inner, other), several
