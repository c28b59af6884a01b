"""The figure that is read first: a small panel for each run with what every row gains over no personalization."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from idiolect.bench.report import svg
from idiolect.bench.report.document import BITS, CALIBRATED, NONE, Document, Gain, Row, documents
from idiolect.bench.report.figures import interval, known, signed
from idiolect.bench.report.forest import SHAPES, legend
from idiolect.bench.report.look import LIGHT, MARKS
from idiolect.bench.report.overview import CONTROLS, methods, predictor_text, value
from idiolect.bench.report.tables import direction, labels, short_model

WIDTH = 280.0
"""Of a panel, in the units it is drawn in."""
_TOP, _LINE, _STEP, _GAP, _COLUMNS = 68.0, 14.5, 17.0, 16.0, 3
_CHARACTER = 6.6
"""Mean width of a letter of the small type, with some room for other fonts."""
_TITLE = "Gain over no personalization, 95 % interval; to the right is better"
_READING = (
    "Same people in every row. other: another person's history; random, recent: the person's own records, drawn or "
    "newest. Best predictor: without a language model (by accuracy where the gain is in calibrated accuracy)."
)


@dataclass(frozen=True)
class _Layout:
    """The rows that all panels share, and where the scale begins."""

    names: Sequence[str]
    twins: bool
    """Whether the runs need a line that tells those of one task apart, or says the model."""

    @property
    def top(self) -> float:
        return _TOP + _LINE * self.twins

    @property
    def left(self) -> float:
        return min(130.0, max(50.0, _CHARACTER * max(map(len, self.names), default=0) + 10))

    @property
    def bottom(self) -> float:
        return self.top + _STEP * len(self.names)

    @property
    def height(self) -> float:
        return self.bottom + 20


def _layout(runs: Sequence[Document], names: Sequence[str]) -> _Layout:
    present = {row.method for run in runs for row in run.results}
    twins = len({run.model for run in runs}) > 1 or any(n != run.task for n, run in zip(names, runs, strict=True))
    return _Layout([*methods(runs), *(name for name in CONTROLS if name in present)], twins)


def figure(runs: Sequence[Document], names: Sequence[str], key: str) -> str:
    """Return the panels as a figure of the page; they flow into as many columns as there is room for."""
    layout = _layout(runs, names)
    drawn = [
        svg.drawing(
            f"{key}-{n}", f"{name}: {_TITLE}", _said(run, layout), (WIDTH, layout.height), _panel(run, name, layout)
        )
        for n, (name, run) in enumerate(zip(names, runs, strict=True))
    ]
    caption = f"{legend({'method', 'control'})} <span>┆ no gain</span> {escape(_READING)}"
    return svg.tag(
        "figure",
        svg.tag("h3", escape(_TITLE)),
        svg.tag("div", *drawn, class_="panels"),
        svg.tag("figcaption", caption),
    )


def overview_svg(found: Sequence[Mapping[str, Any]]) -> str:
    """Return the panels as one drawing that needs nothing else, on a light ground of its own.

    Raises :class:`InputError` for what is no result of the bench.
    """
    runs = documents(found)
    names, columns = labels(runs), min(_COLUMNS, len(runs))
    layout = _layout(runs, names)
    width = columns * (WIDTH + _GAP) + _GAP
    head = [(line, "t h") for line in _lines(_TITLE, width)] + [(line, "t") for line in _lines(_models(runs), width)]
    top = 14 + 18 * len(head)
    parts = [_text(_GAP, 22 + 18 * n, line, class_) for n, (line, class_) in enumerate(head)]
    for place, (name, run) in enumerate(zip(names, runs, strict=True)):
        x = _GAP + place % columns * (WIDTH + _GAP)
        y = top + place // columns * (layout.height + _GAP)
        parts.append(svg.tag("g", *_panel(run, name, layout), transform=f"translate({x:g} {y:g})"))
    end = top + -(-len(runs) // columns) * (layout.height + _GAP)
    foot = _lines(f"● method, □ control, ┆ no gain. {_READING}", width)
    parts += [_text(_GAP, end + 12 + 16 * n, line, "t s v") for n, line in enumerate(foot)]
    size = (width, end + 16 * len(foot) + 12)
    said = " ".join(f"{name}: {_said(run, layout)}." for name, run in zip(names, runs, strict=True))
    return drawn_alone("overview", _TITLE, said, size, parts)


def drawn_alone(key: str, title: str, said: str, size: tuple[float, float], parts: Sequence[str]) -> str:
    """Return a drawing with its style and a light ground of its own: a file that needs nothing else."""
    ground = svg.tag("rect", width=size[0], height=size[1], rx=6.0, class_="ground")
    drawn = svg.drawing(key, title, said, size, [svg.tag("style", _style()), ground, *parts])
    return drawn.replace("<svg", f'<svg xmlns="http://www.w3.org/2000/svg" width="{size[0]:g}"', 1) + "\n"


def _style() -> str:
    """Return the style with its colours filled in: not everything that draws SVG knows variables."""
    colours = dict(re.findall(r"--(\w+):(#\w+)", LIGHT))
    return re.sub(r"var\(--(\w+)\)", lambda found: colours[found[1]], MARKS + ".ground{fill:var(--panel)}")


def _models(runs: Sequence[Document]) -> str:
    names = list(dict.fromkeys(short_model(run.model) for run in runs if run.model))
    return f"Model{'s' if len(names) > 1 else ''}: {', '.join(names)}" if names else ""


def _lines(text: str, width: float) -> list[str]:
    return textwrap.wrap(text, int((width - 2 * _GAP) / _CHARACTER))


def _text(x: float, y: float, content: str, class_: str) -> str:
    return svg.label(x, y, content, class_=class_)


def _metric(run: Document) -> str:
    return next((metric for metric in (CALIBRATED, BITS) if run.gained(metric)), run.main)


def _gains(run: Document, layout: _Layout) -> Iterator[tuple[float, Row, Gain]]:
    """Yield the shared rows that the run has a gain of, with their height in the panel."""
    for place, name in enumerate(layout.names):
        row = run.row(name)
        gain = None if row is None else run.gain(row, _metric(run))
        if row is not None and gain is not None:
            yield layout.top + _STEP * (place + 0.5), row, gain


def _said(run: Document, layout: _Layout) -> str:
    told = [f"{row.method} {signed(g.difference)} {interval(g)}".strip() for _, row, g in _gains(run, layout)]
    return f"gain in {_metric(run)}, {run.people} people: {'; '.join(told) or 'nothing to compare'}"


def _panel(run: Document, name: str, layout: _Layout) -> list[str]:
    metric, gains = _metric(run), list(_gains(run, layout))
    people = f"{run.people} people{' (pilot)' if run.pilot else ''}"
    apart = name.removeprefix(run.task).lstrip(", ") or short_model(run.model)
    facts = (
        *([apart] if layout.twins else []),
        f"{direction(run, metric)}, {people}",
        f"none {value(run, run.row(NONE), metric)}",
        f"best predictor {predictor_text(run, metric)}",
    )
    parts = [_text(0, 14, svg.short(run.task, WIDTH * 0.85), "t h")]
    parts += [_text(0, 30 + _LINE * n, svg.short(fact, WIDTH * 1.1), "t s v") for n, fact in enumerate(facts)]
    numbers = [v for _, _, g in gains for v in (g.difference, g.low, g.high) if v is not None and known(v)]
    along = svg.scale(numbers, layout.left, WIDTH - 16, [0.0])
    if gains:
        parts.append(svg.x_axis(along, layout.top, layout.bottom, 4))
        parts.append(svg.line(along(0.0), layout.top, along(0.0), layout.bottom, "base"))
    for place, shared in enumerate(layout.names):
        y = layout.top + _STEP * (place + 0.5) + 4
        parts.append(_text(0, y, svg.short(shared, (layout.left - 6) * 7.2 / _CHARACTER), "t s"))
    parts += [_mark(y, row, gain, along) for y, row, gain in gains]
    return parts


def _mark(y: float, row: Row, gain: Gain, along: svg.Scale) -> str:
    parts = []
    if gain.low is not None and gain.high is not None and known(gain.low) and known(gain.high):
        parts.append(svg.line(along(gain.low), y, along(gain.high), y, f"span {row.kind}"))
    tip = f"{row.method}: {signed(gain.difference)} {interval(gain)}".strip()
    return svg.tag(
        "g", *parts, svg.marker(SHAPES[row.kind], along(gain.difference or 0.0), y, f"point {row.kind}", tip)
    )
