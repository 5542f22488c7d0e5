"""Serves until it is told to end."""

from __future__ import annotations

import sys

from specdash.programs.cli_bridge.serving import main

sys.exit(main(sys.argv[1:]))
