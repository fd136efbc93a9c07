"""Run the lab's commands: `python3 -m lab <command>`."""

from __future__ import annotations

import sys

from lab.cli import main

sys.exit(main())
