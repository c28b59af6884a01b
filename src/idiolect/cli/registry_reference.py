"""``docs/methods.md`` and ``docs/tasks.md``, written from the registry."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, cast

from idiolect import registry
from idiolect.cli.fields import Field, fields

_HEAD = """# Methods, backends and import formats

Written from the registry by `make docs`; a test keeps it true.
"""


def registry_reference() -> str:
    """Return the whole text: a table of each registry, then the settings of each entry."""
    return "\n".join([_HEAD, *_methods(), *_backends(), *_sources()])


_TASKS = """# Tasks of the bench

Written from the registry by `make docs`; a test keeps it true. How to run them, what the numbers mean and what a result
file holds: [bench.md](bench.md). The data is not part of the package; `--data DIR` names its folder.
"""


def task_reference() -> str:
    """Return the tasks: a table, then what each one asks and how."""
    own = [entry for entry in registry.tasks if str(entry.make.__module__).startswith("idiolect.")]
    lines = [
        _TASKS,
        "| task | form | metrics, the main one first | beside it, without a language model |\n|---|---|---|---|",
    ]
    for entry in own:
        made = cast("Any", entry.make)
        metrics = ", ".join(metric.name for metric in made.metrics)
        lines.append(_row([f"[`{entry.name}`](#{entry.name})", made.form, metrics, ", ".join(made.predictors)]))
    lines.append("")
    for entry in own:
        made = cast("Any", entry.make)
        lines.append(f"## {entry.name}\n\n{inspect.cleandoc(made.__doc__).replace('``', '`')}\n")
        lines.append(f"{inspect.cleandoc(made.load.__doc__ or '').replace('``', '`')}\n")
        told = f"Version {made.version}. Paper: {entry.info['paper']}. Published at {entry.info['published']}."
        lines.append(f"{told} Licence of the data: {entry.info['licence']}.\n")
        if list(fields(made)):
            lines.extend(_settings(entry))
    return "\n".join(lines)


def _methods() -> Iterator[str]:
    own = [entry for entry in registry.methods if str(entry.make.__module__).startswith("idiolect.")]
    yield "## Methods\n"
    yield "A method that reads others reads those who share, as far as the operator allows"
    yield "([consent](server.md#consent)); one that learns together is fitted once over all who share:"
    yield "`idiolect fit NAME --all`.\n"
    yield "| method | level | source | needs | learns offline | learns from turns | reads others | what it does |"
    yield "|---|---|---|---|---|---|---|---|"
    for entry in own:
        needs = ", ".join(entry.info["needs"]) or "messages"
        fits = "" if not hasattr(entry.make, "fit") else "together" if entry.info["together"] else "yes"
        fits += f" (needs {', '.join(entry.info['fit_needs'])})" if entry.info["fit_needs"] else ""
        marks = [fits, "yes" if hasattr(entry.make, "observe") else "", "yes" if entry.info["peers"] else ""]
        row = [
            f"[`{entry.name}`](#{entry.name})",
            entry.info["level"],
            entry.info["paper"],
            needs,
            *marks,
            entry.summary,
        ]
        yield _row(row)
    yield ""
    for entry in own:
        yield f"### {entry.name}\n\n{entry.summary}\n"
        yield from _settings(entry)


def _backends() -> Iterator[str]:
    yield "## Backends\n"
    yield "| backend | can also do | extra | what it is |\n|---|---|---|---|"
    for entry in registry.backends:
        extra = f"`idiolect[{entry.info['extra']}]`" if entry.info["extra"] else ""
        yield _row([f"`{entry.name}`", ", ".join(sorted(entry.info["supports"])), extra, entry.summary])
    yield ""
    for entry in registry.backends:
        yield f"### Settings of {entry.name}\n"
        yield from _settings(entry)


def _sources() -> Iterator[str]:
    yield "## Import formats\n"
    yield "| format | reads | settings |\n|---|---|---|"
    for entry in registry.sources:
        names = ", ".join(f"`{field.name}`" for field in fields(cast("type", entry.make)))
        yield _row([f"`{entry.name}`", entry.info["files"], names])
    yield "\nMore on each: [data_format.md](data_format.md)."


def _settings(entry: Any) -> Iterator[str]:
    found = list(fields(cast("type", entry.make)))
    if not found:
        yield "No settings.\n"
        return
    yield "| setting | type | default | |\n|---|---|---|---|"
    for field in found:
        yield _row([f"`{field.name}`", f"`{field.type}`", f"`{_default(field)}`", field.about])
    yield ""


def _default(field: Field) -> str:
    return ", ".join(map(str, field.default)) if isinstance(field.default, tuple) else repr(field.default)


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"
