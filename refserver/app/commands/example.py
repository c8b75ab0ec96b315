"""refserverctl example: print files that an installation needs, to be put in place and changed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click

EXAMPLES: Final = {"config": "refserver.toml", "unit": "refserver.service", "certificates": "certificates.sh"}

_FOLDER: Final = Path(__file__).parents[1] / "examples"
_OF_CHECKOUT: Final = Path(__file__).parents[3] / "conf"  # the wheel has the configuration among the examples


@click.command()
@click.argument("which", type=click.Choice(list(EXAMPLES)), metavar="|".join(EXAMPLES))
def example(which: str) -> None:
    """Print the commented configuration, a systemd unit, or a script that installs certificates."""
    file = _FOLDER / EXAMPLES[which]
    text = (file if file.exists() else _OF_CHECKOUT / file.name).read_text("utf-8")
    click.echo(text.replace("/opt/refserver/bin", str(Path(sys.executable).parent)), nl=False)
