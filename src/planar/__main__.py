"""`python -m planar` is the console script `planar`."""

from __future__ import annotations

import sys

from planar.cli import main

if __name__ == "__main__":
    sys.exit(main())
