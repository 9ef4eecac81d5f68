"""The program: every error a user can mend is one line and a status of its own."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING

import click

from workbench import __version__
from workbench.cli.command import command
from workbench.cli.doctor import doctor
from workbench.cli.output import own_output
from workbench.errors import OutputError, WorkbenchError
from workbench.extras import missing
from workbench.jobs import GROUPS, VERBS
from workbench.limits import set_limits

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["EXIT_INTERNAL", "EXIT_INTERRUPTED", "main"]

EXIT_INTERNAL = 1
EXIT_INTERRUPTED = 130


class Verbs(click.Group):
    """The verbs, each made when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the interface says so
        """Return the names of all verbs."""
        return [*dict.fromkeys(verb.name.split()[0] for verb in VERBS), "doctor"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Make a verb."""
        if cmd_name == "doctor":
            return doctor
        inside = [verb for verb in VERBS if verb.name.split()[0] == cmd_name]
        if len(inside) == 1 and inside[0].name == cmd_name:
            return command(inside[0])
        return click.Group(cmd_name, help=GROUPS[cmd_name], commands=list(map(command, inside))) if inside else None


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="trt-workbench")
def cli() -> None:
    """Optimize ONNX models on the way to NVIDIA TensorRT.

    Add --debug to any command for a traceback where it fails, and --limit NAME=NUMBER where a file asks for more than
    the limit that an error names. Exit codes are in docs/reference/exit-codes.md.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; every error a user can mend is one line, and a traceback only with ``--debug``."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Wherever it stands: people add it to the end of a command that failed.
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    seen: set[str] = set()

    def tell(message: Warning | str, *_: object, **__: object) -> None:
        """Say each warning once, however many places it comes from."""
        if str(message) not in seen:
            seen.add(str(message))
            click.echo(f"warning: {message}", err=True)

    with own_output(), warnings.catch_warnings():
        warnings.showwarning = tell
        code = _run(words, debug=debug)
    sys.exit(code)


def _run(words: list[str], *, debug: bool) -> int:
    code: int
    try:
        words = _raise_limits(words)
        code = cli.main(words, prog_name="workbench", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except WorkbenchError as error:
        if debug:
            raise
        code = _refused(error)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; nothing is half written", err=True)
        code = EXIT_INTERRUPTED
    except OSError as error:
        if debug:
            raise
        failure = OutputError(error.strerror or str(error), where=error.filename, fix="Check the path and the disk.")
        code = _refused(failure)
    except Exception as error:
        if debug:
            raise
        code = _failed(error)
    return code


def _failed(error: Exception) -> int:
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("workbench"):
        return _refused(missing(error.name))
    if isinstance(error, MemoryError):
        what = f"the memory is not enough: {str(error) or 'nothing more was said'}"
        return _refused(WorkbenchError(what, fix="Use fewer or smaller samples, a smaller batch, or a larger machine."))
    click.echo(f"internal error: {error!r}. Run again with --debug and report what it prints.", err=True)
    return EXIT_INTERNAL


def _refused(error: WorkbenchError) -> int:
    click.echo(f"error: {error}", err=True)
    return error.exit_code


def _raise_limits(words: list[str]) -> list[str]:
    """Set the limits that ``--limit NAME=NUMBER`` names, wherever it stands, and return the other words."""
    rest, left = [], iter(words)
    for word in left:
        if word == "--limit" or word.startswith("--limit="):
            set_limits(word.partition("=")[2] or next(left, ""))
        else:
            rest.append(word)
    return rest
