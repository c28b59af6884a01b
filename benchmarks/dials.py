"""Dials of the objective level: does more strength give more of what was asked for, and at what price?

    python benchmarks/dials.py --data ../shared/data --out benchmarks/results/dials.json
    python benchmarks/dials.py --data ../shared/data --prompts 2 --tokens 24 --strengths 0 2 --objectives brief

Prompts are those of P-Soups (``p_soups/*.json`` of the data folder), drawn by the seed, answered greedily by
``smollm2-135m-instruct`` in float32. For each objective and method each strength answers all of them:

- ``dials``: the objective's instruction as a source of the mixture, ``l_0 + w (l_i - l_0)``, safety's floor included;
- ``amulet``: the same difference over the instructed prompt, ``l_i + s (l_i - l_0)`` (linear alignment at s = 2,
  Amulet at 4.65), so that s is w - 1;
- ``mod``: the objective's adapter and the model mixed, ``l_0^(1-w) l_i^w``, w from 0 to 1; the adapter is trained
  first, on those of the chosen and rejected replies to other prompts that have most of the objective.

Of each answer the objective is measured (:mod:`idiolect.alignment.shared.objectives`), and as its price how likely the
plain model finds it [nats a token]. A dial is monotone where the mean of the measure never falls from one strength to
the next; Spearman's rank correlation over single answers says how tightly it follows. ``--pairs`` turns
two objectives at once; ``--picture`` draws every setting, measure against price, and the front.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from idiolect import __version__
from idiolect.alignment.dials import Dials, with_floor
from idiolect.alignment.shared.experts import best_of
from idiolect.alignment.shared.objectives import INSTRUCTIONS, MEASURES
from idiolect.backends.transformers import TransformersBackend
from idiolect.bench.report import svg
from idiolect.bench.report.panels import drawn_alone
from idiolect.bench.run import machine, versions
from idiolect.decoding.branches import dialled, instructed
from idiolect.errors import IdiolectError
from idiolect.prompting.shared.contrast import steered
from idiolect.trainable import Example, Job, Recipe
from idiolect.types import Adapter, Branch, Call, Completion, Record, Sampling

METHODS = ("dials", "amulet", "mod")
PLAUSIBILITY = Dials().plausibility


def pairs_of(data: Path) -> tuple[list[Path], list[dict[str, Any]]]:
    """Return the files, and all pairs of replies that they hold, each prompt's once."""
    files = sorted((data / "p_soups").glob("*.json"))
    if not files:
        sys.exit(f"{data} has no p_soups/*.json")
    found = [row for path in files for row in json.loads(path.read_text("utf-8"))]
    return files, list({str(row["prompt"]).strip(): row for row in found}.values())


def turned(method: str, objective: str, strength: float, call: Call, adapter: Adapter | None) -> Call:
    """Return the call with one dial of a method at a strength."""
    if method == "dials":
        strengths = with_floor({objective: strength})
        return dialled(call, [Branch(None, w, INSTRUCTIONS[name]) for name, w in strengths.items()], PLAUSIBILITY, "")
    if method == "amulet":
        told = replace(call, messages=instructed(call.messages, INSTRUCTIONS[objective]))
        return steered(told, call.messages, strength, PLAUSIBILITY)
    assert adapter is not None, "mod needs the objective's adapter"
    return replace(call, mix=(Branch(None, 1.0 - strength), Branch(None, strength, adapters=(adapter,))))


def strengths_of(method: str, strengths: Sequence[float]) -> list[float]:
    """Return a method's strengths: those of dials, amulet's one less, and as many steps from 0 to 1 for mod."""
    if method == "amulet":
        return [w - 1.0 for w in strengths]
    if method == "mod":
        return [float(round(w, 3)) for w in np.linspace(0, 1, len(strengths))]
    return list(strengths)


def trained(
    model: TransformersBackend, objective: str, others: Sequence[dict[str, Any]], texts: int, seed: int
) -> Adapter:
    """Return the objective's adapter, trained as ``mod`` does: on the quarter of the texts that have most of it."""
    records = [
        Record.new("", str(row[side])[:2000], time=1.0 + n, input=str(row["prompt"]), kind="content")
        for n, row in enumerate(others[:texts]) for side in ("chosen", "rejected") if str(row[side]).strip()
    ]  # fmt: skip
    taught = [
        Example(Call(({"role": "user", "content": one.input},)), one.output)
        for one in best_of(records, objective, 0.25)
    ]
    (made,) = model.train([Job(objective, taught)], Recipe(16, 32.0, rate=5e-4, epochs=2, batch=16, seed=seed))
    return Adapter(objective, 1.0, made.body)


def row_of(
    model: TransformersBackend, asked: Sequence[Call], answers: Sequence[Completion], objectives: Sequence[str]
) -> dict[str, Any]:
    """Return means over the answers: each objective's measure, and the price."""
    texts = [one.text for one in answers]
    likely = model.logprobs(list(asked), texts)
    nats = [value / max(1, model.count_tokens(text)) for value, text in zip(likely, texts, strict=True) if text.strip()]
    scores = {name: [MEASURES[name](text) for text in texts] for name in objectives}
    return {
        "measures": {name: round(statistics.fmean(found), 4) for name, found in scores.items()},
        "scores": {name: [round(value, 4) for value in found] for name, found in scores.items()},
        "nats_per_token": round(statistics.fmean(nats), 4) if nats else None, "empty": len(texts) - len(nats),
        "tokens": round(statistics.fmean(one.tokens_out for one in answers), 2),
    }  # fmt: skip


def dial_of(rows: Sequence[dict[str, Any]], objective: str) -> dict[str, Any]:
    """Return whether the mean never falls with the strength, and the rank correlation over single answers."""
    means = [row["measures"][objective] for row in rows]
    strengths = [row["strength"] for row in rows for _ in row["scores"][objective]]
    scores = [value for row in rows for value in row["scores"][objective]]
    rising = [b >= a - 1e-9 for a, b in pairwise(means)]
    return {
        "monotone": all(rising),
        "rising": sum(rising),
        "steps": len(rising),
        "spearman": _spearman(strengths, scores),
    }


def _spearman(one: Sequence[float], two: Sequence[float]) -> float | None:
    ranks = [_ranks(np.array(values, np.float64)) for values in (one, two)]
    if min(float(rank.std()) for rank in ranks) == 0:
        return None
    return round(float(np.corrcoef(*ranks)[0, 1]), 4)


def _ranks(values: Any) -> Any:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]  # ties share their mean rank


def measured(args: argparse.Namespace, model: TransformersBackend, rows: Sequence[dict[str, Any]]) -> Iterator[Any]:
    """Yield the results: one for each method and objective, then for each pair of objectives."""
    sampling = Sampling(temperature=0.0, max_tokens=args.tokens)
    asked = [
        Call(({"role": "user", "content": str(row["prompt"])},), sampling=sampling) for row in rows[: args.prompts]
    ]
    for method in args.methods:
        for objective in args.objectives:
            others = rows[args.prompts :]
            adapter = trained(model, objective, others, args.texts, args.seed) if method == "mod" else None
            found = []
            for strength in strengths_of(method, args.strengths):
                start = time.perf_counter()
                answers = model.generate([turned(method, objective, strength, call, adapter) for call in asked])
                seconds = {"strength": strength, "seconds": round(time.perf_counter() - start, 2)}
                found.append(seconds | row_of(model, asked, answers, args.objectives))
                print(method, objective, strength, found[-1]["measures"], file=sys.stderr)
            yield {"method": method, "objectives": [objective], **dial_of(found, objective), "rows": found}
    for pair in args.pairs:
        yield {
            "method": "dials",
            "objectives": pair.split("+"),
            "rows": list(_both(args, model, asked, pair.split("+"))),
        }


def _both(
    args: argparse.Namespace, model: TransformersBackend, asked: Sequence[Call], pair: Sequence[str]
) -> Iterator[dict[str, Any]]:
    for one in args.strengths:
        for two in args.strengths:
            strengths = with_floor(dict(zip(pair, (one, two), strict=True)))
            branches = [Branch(None, w, INSTRUCTIONS[name]) for name, w in strengths.items()]
            answers = model.generate([dialled(call, branches, PLAUSIBILITY, "") for call in asked])
            yield {"strengths": [one, two], **row_of(model, asked, answers, sorted({*args.objectives, *pair}))}


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return which points no other one is better than in both numbers, in order of the first."""
    best, kept = float("-inf"), []
    for n in sorted(range(len(points)), key=lambda n: (-points[n][0], -points[n][1])):
        if points[n][1] > best:
            best = points[n][1]
            kept.append(n)
    return kept[::-1]


def picture(results: Sequence[dict[str, Any]]) -> str:
    """Return a panel for each objective: its measure against the likelihood under the plain model, and the front."""
    named = list(dict.fromkeys(one["objectives"][0] for one in results if len(one["objectives"]) == 1))
    parts, shapes = [], dict(zip(METHODS, ("circle", "square", "diamond"), strict=True))
    for place, objective in enumerate(named):
        points = [
            (one["method"], row["strength"], row["measures"][objective], row["nats_per_token"])
            for one in results if one["objectives"] == [objective] for row in one["rows"]
            if row["nats_per_token"] is not None
        ]  # fmt: skip
        drawn = _panel(objective, points, shapes)
        parts.append(svg.tag("g", *drawn, transform=f"translate({place % 2 * 420 + 10} {place // 2 * 290 + 40})"))
    size = (min(2, len(named)) * 420.0 + 20, -(-len(named) // 2) * 290.0 + 60)
    legend = ", ".join(
        f"{ {'circle': '●', 'square': '■', 'diamond': '◆'}[shape] } {name}" for name, shape in shapes.items()
    )
    head = svg.label(16, 24, f"Objective against likelihood; up and to the right is better. {legend}; line: the front")
    return drawn_alone("dials", "Dials: objective against likelihood", "", size, [head, *parts])


def _panel(objective: str, points: Sequence[tuple[str, float, float, float]], shapes: dict[str, str]) -> list[str]:
    x = svg.scale([value for *_, value, _ in points], 60, 390)
    y = svg.scale([nats for *_, nats in points], 230, 30)
    drawn = [
        svg.label(60, 16, f"{objective}: measure", class_="t h"),
        svg.label(60, 262, "nats a token, plain model ↑"),
    ]
    for value in x.ticks():
        drawn += [
            svg.line(x(value), 30, x(value), 230, "grid"),
            svg.label(x(value), 246, f"{value:g}", anchor="middle"),
        ]
    for value in y.ticks():
        drawn += [
            svg.line(60, y(value), 390, y(value), "grid"),
            svg.label(54, y(value) + 4, f"{value:g}", anchor="end"),
        ]
    best = front([(value, nats) for *_, value, nats in points])
    ends = [(x(points[n][2]), y(points[n][3])) for n in best]
    drawn += [svg.line(*one, *two, "base") for one, two in pairwise(ends)]
    for method, strength, value, nats in points:
        drawn.append(
            svg.marker(
                shapes[method], x(value), y(nats), "point method", f"{method} {strength:g}: {value:.3g}, {nats:.3g}"
            )
        )
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument(
        "--objectives", nargs="+", default=["brief", "formal", "simple", "warm"], choices=list(MEASURES)
    )
    parser.add_argument("--pairs", nargs="*", default=["brief+warm"], help="objectives turned together: brief+warm")
    parser.add_argument("--strengths", nargs="+", type=float, default=[0, 0.5, 1, 2, 4])
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--texts", type=int, default=200, help="pairs of replies that adapters are trained from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    files, rows = pairs_of(args.data)
    order = np.random.default_rng(args.seed).permutation(len(rows))
    model = TransformersBackend(args.model, dtype="float32", threads=args.threads, batch=args.batch)
    try:
        results = list(measured(args, model, [rows[n] for n in order]))
    except IdiolectError as error:  # not installed, or its weights are not here
        sys.exit(str(error))
    document = {
        "benchmark": "dials", "idiolect": __version__, "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python benchmarks/dials.py", *sys.argv[1:]]), "seed": args.seed,
        "model": model.fingerprint, "backend": {"name": "transformers", "dtype": "float32", "batch": args.batch},
        "data": [{"name": f.name, "sha256": hashlib.sha256(f.read_bytes()).hexdigest()} for f in files],
        "packages": dict(versions()), "machine": machine(), "plausibility": PLAUSIBILITY, "prompts": args.prompts,
        "tokens": args.tokens, "texts": args.texts, "instructions": {n: INSTRUCTIONS[n] for n in args.objectives},
        "results": results,
    }  # fmt: skip
    for path, text in ((args.out, json.dumps(document, indent=1) + "\n"), (args.picture, picture(results))):
        if path:
            path.write_text(text, "utf-8")
    for one in results:
        if "monotone" in one:
            print(one["method"], *one["objectives"], "monotone" if one["monotone"] else "NOT monotone", one["spearman"])


if __name__ == "__main__":
    main()
