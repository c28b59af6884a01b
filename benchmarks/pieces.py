"""A result file that is made in pieces: what stands in it is kept, so that a long run can be ended and gone on with."""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Document = dict[str, Any]


def now() -> str:
    """Return the time as result files give it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def opened(path: Path | None, fresh: Document, alike: Collection[str]) -> Document:
    """Return what stands in a result file, or ``fresh`` where there is none yet.

    Figures of other settings, another model or another machine are not put beside these: that ends the program.
    ``alike`` names the settings that count.
    """
    if path is None or not path.exists():
        return fresh
    found: Document = json.loads(path.read_text("utf-8"))
    differing = [
        f"{name} was {old!r}, is {new!r}"
        for name, old, new in (
            *((name, found.get(name), fresh.get(name)) for name in ("model", "machine")),
            *((name, _plain(found, name), _plain(fresh, name)) for name in sorted(alike)),
        )
        if old != new
    ]
    if differing:
        sys.exit(f"{path} was made otherwise: {'; '.join(differing)}. Give another file with --out")
    return found


def write(path: Path | None, document: Mapping[str, Any]) -> None:
    """Write a result file so that at any moment the old content is there or the new one."""
    if path is None:
        return
    draft = path.with_name(f"{path.name}.new")
    draft.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    os.replace(draft, path)


def peak_mb() -> float:
    """Return the most memory that this process has held [MB].

    ``ru_maxrss`` of a process begins with what its parent held, so that Linux is asked for that of the program itself.
    """
    status = Path("/proc/self/status")
    if status.exists():
        found = next(line for line in status.read_text("ascii").splitlines() if line.startswith("VmHWM:"))
        return int(found.split()[1]) / 1024
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held / (1024**2 if sys.platform == "darwin" else 1024)


def settings_of(args: Any) -> dict[str, str]:
    """Return what a script was asked for, as text."""
    return {name: str(value) for name, value in vars(args).items()}


def _plain(document: Mapping[str, Any], name: str) -> str:
    return str(document.get("settings", {}).get(name))
