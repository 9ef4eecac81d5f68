"""What is installed, what works here, and why the rest does not."""

from __future__ import annotations

import click

from workbench.errors import BackendError

__all__ = ["doctor"]

MOST_LINES = 20


@click.command()
@click.option("--numerics", is_flag=True, help="Try whether ONNX Runtime computes graphs as they are written.")
def doctor(numerics: bool) -> int:
    """Say what is installed, which backends work here, and why the others do not."""
    from workbench.backends import backends
    from workbench.recipe import environment
    from workbench.telemetry import telemetry

    for name, version in environment().items():
        click.echo(f"{name:16} {version}")
    click.echo(f"{'telemetry':16} {telemetry()}")
    click.echo()
    for backend in backends():
        click.echo(f"{backend.name:16} {'works' if backend.works else 'does not work'}: {backend.reason}")
    return _numerics() if numerics else 0


def _numerics() -> int:
    """Print what ONNX Runtime is kept from doing, and whether it then computes what is written."""
    from workbench.runtime import SWITCHED_OFF, self_check

    click.echo("\nswitched off in ONNX Runtime:")
    for switch in SWITCHED_OFF:
        click.echo(f"  {switch}")
    click.echo()
    tried = list(self_check())
    wrong = [one for one in tried if not one.holds]
    for one in wrong[:MOST_LINES]:
        click.echo(f"not as written: {one}", err=True)
    if len(wrong) > MOST_LINES:
        click.echo(f"and {len(wrong) - MOST_LINES} more", err=True)
    click.echo(f"{len(tried) - len(wrong)} of {len(tried)} small graphs are computed as written")
    return BackendError.exit_code if wrong else 0
