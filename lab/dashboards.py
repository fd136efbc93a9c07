"""Write the dashboards of dashboards/ into role grafana, where Grafana reads them."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

from lab.common import ROOT

INTO = ROOT / "roles/grafana/files/dashboards"


def rendered() -> dict[str, str]:
    """Return file name to JSON of every dashboard."""
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    found = {}
    for source in sorted((ROOT / "dashboards").glob("[a-z]*.py")):
        board = importlib.import_module(f"dashboards.{source.stem}").build().build()
        # Twice, as the encoder does not sort.
        plain = json.loads(JSONEncoder(sort_keys=True).encode(board))
        found[f"{source.stem.replace('_', '-')}.json"] = json.dumps(plain, indent=1, sort_keys=True) + "\n"
    return found


def write(into: Path = INTO) -> None:
    """Write what differs."""
    for name, text in rendered().items():
        if not (into / name).exists() or (into / name).read_text(encoding="utf-8") != text:
            (into / name).write_text(text, encoding="utf-8")
            print(f"wrote {name}")


if __name__ == "__main__":
    write()
