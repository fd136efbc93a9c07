"""`nano-backup`: run as a folder, from wherever it lies."""

import importlib
import sys
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

sys.exit(importlib.import_module("nano_backup.cli").main())
