"""The command line: `planar`, which is `python -m planar`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from planar._version import __version__
from planar.cli import _books, _chat, _models, _whatif
from planar.errors import PlanarError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns what the process should exit with: 0, 1 for an error of Planar's, 130 if interrupted."""
    parser = argparse.ArgumentParser(prog="planar", description="Ask models, wherever they are.")
    parser.add_argument("--version", action="version", version=f"planar {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _chat.add_to(commands)
    _models.add_to(commands)
    _books.add_to(commands)
    _whatif.add_to(commands)
    chosen = parser.parse_args(arguments)
    try:
        return int(chosen.run(chosen))
    except PlanarError as error:
        print(f"planar: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
