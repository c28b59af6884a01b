"""Write the generated parts of the pages about results, from the result files of ``table.py`` and the levels' runs.

    python benchmarks/publish.py

Between their two marks the pages are generated, and a test keeps them so; what the numbers mean is written by hand.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from idiolect.bench.report import overview, overview_svg
from idiolect.bench.report.document import Document, Row, documents
from idiolect.bench.result import read

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- generated: python benchmarks/publish.py -->", "<!-- end -->"


def published() -> dict[str, str]:
    """Return the generated files by path below the root."""
    first = [document for path in sorted((RESULTS / "bench").glob("*.json")) for document in read(path)]
    runs = _runs("input")
    return {
        "docs/results.md": _page("docs/results.md", overview(first)),
        "docs/results.svg": overview_svg(first),
        "docs/input_level.md": _page("docs/input_level.md", _input_level(runs)),
        "benchmarks/README.md": _page("benchmarks/README.md", "\n".join([_training(), _serving()])),
        "docs/adapters.md": _page("docs/adapters.md", _model_level(_runs("model"))),
        "docs/objective_level.md": _page("docs/objective_level.md", _objective_level(_runs("objective"))),
        "docs/paper_index.md": _page("docs/paper_index.md", _papers(runs | _runs("model") | _runs("objective"))),
    }


def _runs(folder: str) -> dict[str, Document]:
    return {path.stem: documents(read(path))[0] for path in sorted((RESULTS / folder).glob("*.json"))}


def _page(name: str, generated: str) -> str:
    head, rest = (ROOT / name).read_text("utf-8").split(BEGIN)
    return f"{head}{BEGIN}\n\n{generated}\n{END}{rest.split(END)[1]}"


def _input_level(runs: dict[str, Document]) -> str:
    """Return a line for each run, then a table for each that has more than the few methods of that line."""
    wide = {name: document for name, document in runs.items() if not name.endswith(".gate")}
    return "\n".join([_all_tasks(runs), *(_run_table(name, document) for name, document in wide.items())])


def _all_tasks(runs: dict[str, Document]) -> str:
    """Return the main metric of the controls, of the best single method and of ``auto``, run by run."""
    lines = [
        "### All tasks\n",
        "| run | metric | people | none | other's history | retrieval | profile | best single | auto "
        "| auto over none | helped / harmed |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, document in runs.items():
        rows = {row.method.partition(":")[0]: row for row in reversed(document.results) if _has(row, document)}
        singles = [row for row in document.results if row.kind == "method" and _has(row, document)]
        singles = [row for row in singles if not row.method.startswith("auto")]
        cells = [_value(rows.get(one), document) for one in ("none", "other", "retrieval", "profile")]
        best = max(singles, key=lambda row: document.gain(row, document.main).difference or 0.0)  # type: ignore[union-attr]
        named = f"{_value(best, document)} {best.method.partition(':')[0]}"
        gain, counts = _over_none(rows.get("auto"), document)
        shown = [name.removesuffix(".gate"), document.main, str(document.people), *cells, named,
                 _value(rows.get("auto"), document), gain, counts]  # fmt: skip
        lines.append(f"| {' | '.join(shown)} |")
    return "\n".join([*lines, "", *_averages(runs)]) + "\n"


def _averages(runs: dict[str, Document]) -> list[str]:
    """Return what each way gives on average over the runs by accuracy, and where ``auto`` is surely below none."""
    ways, below, of = ("none", "retrieval", "profile", "auto"), 0, 0
    values: list[list[float]] = []
    for document in runs.values():
        rows = {row.method.partition(":")[0]: row for row in reversed(document.results) if _has(row, document)}
        gain = document.gain(rows["auto"], document.main) if "auto" in rows else None
        if gain is not None and gain.difference is not None:
            of, below = of + 1, below + (gain.high < 0)
        if document.main == "accuracy" and all(way in rows for way in ways):
            values.append([rows[way].metrics["accuracy"].mean for way in ways])
    means = [sum(column) / len(values) for column in zip(*values, strict=True)]
    shown = ", ".join(f"{way} {mean:.3f}" for way, mean in zip(ways, means, strict=True))
    return [
        f"Mean accuracy over the {len(values)} runs by accuracy that have all four: {shown}. Runs in which the whole "
        f"interval of `auto` over none lies below 0: {below} of {of}.",
        "",
    ]


def _has(row: Row, document: Document) -> bool:
    return document.main in row.metrics and row.metrics[document.main].mean is not None


def _value(row: Row | None, document: Document) -> str:
    return "" if row is None else f"{row.metrics[document.main].mean:.3f}"


def _over_none(row: Row | None, document: Document) -> tuple[str, str]:
    gain = None if row is None else document.gain(row, document.main)
    if gain is None or gain.difference is None:
        return "", ""
    shown = f"{gain.difference:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
    return (f"**{shown}**" if gain.p is not None and gain.p < 0.05 else shown), f"{gain.helped} / {gain.harmed}"


def _run_table(name: str, document: Document) -> str:
    metric = document.main
    lines = [
        f"### {name}: {metric}, {document.people} people, {document.queries} questions\n",
        "| | value | gain over none | p (Holm) | helped / harmed | tokens | calls a question | s a question |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in document.results:
        if not _has(row, document):
            continue
        lines.append(f"| {_label(row)} | {row.metrics[metric].mean:.3f} | {_gain(document, row)} |{_cost(row)}")
    return "\n".join(lines) + "\n"


def _label(row: Row) -> str:
    name = row.method.replace("|", "\\|")
    return f"`{name}`" if row.kind == "method" else f"{name} ({row.kind})"


def _gain(document: Document, row: Row) -> str:
    gain = document.gain(row, document.main)
    if gain is None or gain.difference is None:
        return " | | "
    shown = f"{gain.difference:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
    sure = gain.p_holm is not None and gain.p_holm < 0.05
    p = "" if gain.p_holm is None else f"{gain.p_holm:.3f}"
    return f"{f'**{shown}**' if sure else shown} | {p} | {gain.helped} / {gain.harmed}"


def _cost(row: Row) -> str:
    if row.kind == "predictor" or not row.queries:
        return " | | |"
    tokens = "" if row.prompt_tokens_mean is None else f"{row.prompt_tokens_mean:.0f}"
    return f" {tokens} | {row.model_calls / row.queries:.1f} | {row.seconds / row.queries:.2f} |"


def _model_level(runs: dict[str, Document]) -> str:
    """Return a line for each run of ``model_level.py``: what everybody's weights and a person's own give."""
    columns = (
        "none", "profile and retrieval in the prompt", "best predictor", "**`task_lora`** [95 %]",
        "with another's records", "own `lora` on top [95 %]", "another's `lora` on top",
    )  # fmt: skip
    lines = [f"| | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    for name, document in runs.items():
        found = {_weights(row): row for row in reversed(document.results) if _has(row, document)}
        predictors = [row for row in document.results if row.kind == "predictor" and _has(row, document)]
        best = max(predictors, key=lambda row: row.metrics[document.main].mean or 0.0, default=None)
        cells = [_mean(found.get(one), document) for one in ("none", "profile+retrieval")]
        cells.append("-" if best is None else f"{_mean(best, document)} ({best.method})")
        for one, wide in (("task_lora", True), ("task_lora@other", False), ("lora", True), ("lora@other", False)):
            cells.append(_mean(found.get(one), document, wide=wide))
        about = f"{name}: {document.main}, {document.people} people, {document.queries} questions"
        lines.append(f"| {about} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _training() -> str:
    """Return what training a person's adapter takes: kinds by length of rows, in each precision that was measured."""
    parts = []
    for path in sorted(RESULTS.glob("training*.json"), key=lambda path: len(path.name)):
        found = json.loads(path.read_text("utf-8"))
        about = f"{found['settings']['dtype']} on {found['machine']['cores']} cores of {found['machine']['processor']}"
        parts.append(f"Training in {about}:\n\n{_kinds(found['runs'])}")
        parts += [told for told in (_trunk(found.get("trunk")), _many(found.get("many"))) if told]
    return "\n".join(parts)


def _kinds(sections: list[dict[str, Any]]) -> str:
    names = {
        "documented": "PEFT as documented, the model loaded for each",
        "tuned": "PEFT tuned, the model loaded once",
    }
    kinds = list(dict.fromkeys(kind for section in sections for kind in section["kinds"]))
    parts = [f"{one['tokens']} tokens: {what}" for one in sections for what in ("s a person", "of the rate", "peak MB")]
    lines = [f"| | {' | '.join(parts)} |", "|---" * (1 + len(parts)) + "|"]
    for kind in sorted(kinds, key=lambda kind: (kind in names, len(kind), kind)):
        cells = []
        for section in sections:
            found = section["kinds"].get(kind)
            told = () if found is None else (found["seconds_a_user"], found["of_floor"], found["peak_mb"])
            cells += ["-"] * 3 if not told else [f"{told[0]:.1f}", f"{100 * told[1]:.0f} %", f"{told[2]:,}"]
        lines.append(f"| {names.get(kind, kind)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _trunk(found: dict[str, Any] | None) -> str:
    if not found:
        return ""
    whole, (name, part) = found["ours 0 layers"], next(one for one in found.items() if one[0] != "ours 0 layers")
    took, least = (part[key] / whole[key] for key in ("seconds_a_user", "floor_seconds_a_user"))
    return (
        f"Three passes over the last {name.split()[1]} layers alone, what lies below read once: {took:.2f} of the time "
        f"for all layers (by the count of operations {least:.2f}).\n"
    )


def _many(found: dict[str, Any] | None) -> str:
    if not found:
        return ""
    peaks = ", ".join(f"{int(count):,}: {peak:,.0f} MB" for count, peak in found["peaks_mb"].items())
    return (
        f"{found['users']:,} people in one job, 4 rows of 32 tokens each, the last layers: {found['seconds_a_user']} s "
        f"a person; peak of memory after so many people {peaks}.\n"
    )


def _serving() -> str:
    """Return what it costs to serve each row its own adapter, by the number of rows."""
    path = RESULTS / "serving.json"
    if not path.exists():
        return ""
    rows = json.loads(path.read_text("utf-8"))["results"]["rows"]
    head = (
        "rows", "base, tokens/s", "all linear: of the base", "times PEFT's mixed batch", "peak MB (PEFT)",
        "q and v: of the base", "times PEFT's mixed batch", "peak MB (PEFT)",
    )  # fmt: skip
    lines = ["Serving:\n", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for count, found in sorted(rows.items(), key=lambda one: int(one[0])):
        cells = [count, f"{found['base']['tokens/s']:.1f}"]
        for kind in ("all linear", "q and v"):
            own, peft = found[kind], found[f"PEFT mixed, {kind}"]
            cells += [_short(own["ratio"]), f"{own['ratio'] / peft['ratio']:.2f}"]
            cells.append(f"{own['peak MB']:,} ({peft['peak MB']:,})")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _weights(row: Row) -> str:
    other = "@other" if row.method.endswith("@other") else ""
    return row.method.removesuffix(other).partition(":")[0] + other


def _mean(row: Row | None, document: Document, *, wide: bool = False) -> str:
    if row is None:
        return "-"
    found = row.metrics[document.main]
    ends = f" [{_short(found.low)}, {_short(found.high)}]" if wide and found.low is not None else ""
    return f"{_short(found.mean)}{ends}"


def _objective_level(runs: dict[str, Document]) -> str:
    made = ((name, part) for name, part in (("choices", _personas), ("dials", _dials)) if _result(name).exists())
    return "\n".join([_preferences(), _beside_prompts(runs), *(part(name) for name, part in made)])


def _result(name: str) -> Path:
    return RESULTS / f"{name}.json"


def _beside_prompts(runs: dict[str, Document]) -> str:
    """Return a line for each run of ``objective_level.py``: what choices give in the prompt and as a reward."""
    columns = (
        "none", "past choices in the prompt", "best predictor", "**`preference`** [95 %]", "another's",
        "a draft at random",
    )  # fmt: skip
    lines = [
        "Beside a language model (SmolLM2-135M in bfloat16), a question a person; of texts the best of eight drafts:\n",
        f"| | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|",
    ]  # fmt: skip
    for name, document in runs.items():
        found = {_drafts(row): row for row in reversed(document.results) if _has(row, document)}
        better = min if document.main in ("mae", "rmse") else max
        predictors = [row for row in found.values() if row.kind == "predictor"]
        best = better(predictors, key=lambda row: row.metrics[document.main].mean or 0.0, default=None)
        cells = [_mean(found.get(one), document) for one in ("none", "retrieval")]
        cells.append("-" if best is None else f"{_mean(best, document)} ({best.method})")
        for one in ("preference", "preference@other", "preference:1"):
            cells.append(_mean(found.get(one), document, wide=one == "preference"))
        lines.append(f"| {name}: {document.main}, {document.people} people | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _drafts(row: Row) -> str:
    return _weights(row) + (":1" if ":n=1:" in row.method else "")


def _personas(name: str) -> str:
    """Return what methods know of two personas' choices, by ``choices.py``."""
    found = json.loads(_result(name).read_text("utf-8"))
    people = list(found["rows"])
    parts = [f"{one}: {what}" for one in people for what in ("likelier", "further apart")]
    lines = [
        f"Two personas of P-SOUPS, {found['settings']['pairs']} choices each, asked on prompts that neither learnt "
        "from: how often the text that was taken is likelier than the other, and how often they are further apart "
        "than with no method (`benchmarks/choices.py`). A pilot.\n",
        f"| | {' | '.join(parts)} |", "|---" * (1 + len(parts)) + "|",
    ]  # fmt: skip
    for arm in found["rows"][people[0]]:
        cells = [_three(found["rows"][one][arm][what]) for one in people for what in ("accuracy", "moved")]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _three(values: Sequence[float]) -> str:
    mean, low, high = map(_short, values)
    return f"{mean} [{low}, {high}]"


def _dials(name: str) -> str:
    """Return whether more strength gives more of what was asked for, by ``dials.py``."""
    found = json.loads(_result(name).read_text("utf-8"))
    lines = [
        f"Strength against what was asked for, {found['prompts']} prompts of P-SOUPS, {found['tokens']} tokens each "
        "(`benchmarks/dials.py`; the measure at each strength, the rank correlation over single answers, and nats a "
        "token under the plain model from the first strength to the last):\n",
        "| | strengths | measure | never falls | Spearman | likelihood |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for one in found["results"]:
        if "monotone" not in one:
            continue
        (objective,), rows = one["objectives"], one["rows"]
        measures = ", ".join(f"{row['measures'][objective]:.3g}" for row in rows)
        strengths = ", ".join(f"{row['strength']:g}" for row in rows)
        cost = f"{rows[0]['nats_per_token']:.2f} to {rows[-1]['nats_per_token']:.2f}"
        rank = "-" if one["spearman"] is None else f"{one['spearman']:.2f}"
        cells = [strengths, measures, "yes" if one["monotone"] else "no", rank, cost]
        lines.append(f"| `{one['method']}` {objective} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


_SEEN = ("predictor", "alone", "impersonal", "pooled", "**personal** [95 %]", "ECE")
_UNSEEN = (0, 4, 8, 32)


def _preferences() -> str:
    """Return what is foreseen of people's choices, a line for each data set of ``preferences.py``."""
    tasks = json.loads((RESULTS / "preferences.json").read_text("utf-8"))["tasks"]
    unseen = [f"unseen, {count} choices" for count in _UNSEEN]
    lines = [f"| | {' | '.join((*_SEEN, *unseen))} |", "|---" * (1 + len(_SEEN) + len(unseen)) + "|"]
    lines += [_choices(name, told["summary"]) for name, told in tasks.items()]
    lines += [
        "",
        "The same with static vectors, and with another person's choices in the place of the own ones (seen people):",
        "",
    ]
    arms = ("personal", "another", "impersonal", "drm", "gpo", "vpl")
    lines += [f"| | {' | '.join(arms)} |", "|---" * (1 + len(arms)) + "|"]
    tasks = json.loads((RESULTS / "preferences_static.json").read_text("utf-8"))["tasks"]
    lines += [_arms(name, told["summary"], arms) for name, told in tasks.items()]
    return "\n".join(lines) + "\n"


def _arms(name: str, rows: dict[str, Any], arms: Sequence[str]) -> str:
    what = "mae" if "mae" in rows["seen: all personal"] else "accuracy"
    found = [rows.get(f"seen: all {arm}") for arm in arms]
    cells = [
        "-" if row is None else f"{_short(row[what]['mean'])} [{_short(row[what]['low'])}, {_short(row[what]['high'])}]"
        for row in found
    ]
    return f"| {name}{' (mean error)' if what == 'mae' else ''} | {' | '.join(cells)} |"


def _choices(name: str, rows: dict[str, Any]) -> str:
    mine = rows["seen: all personal"]
    what, better = ("mae", min) if "mae" in mine else ("accuracy", max)
    predictors = [row for key, row in rows.items() if key.startswith("seen") and "predictor" in key and what in row]
    best = better((row[what]["mean"] for row in predictors), default=None)
    cells = ["-" if best is None else _short(best)]
    cells += [_short(rows[f"seen: all {model}"][what]["mean"]) for model in ("alone", "impersonal", "pooled")]
    low, high = (_short(mine[what][end]) for end in ("low", "high"))
    cells += [f"**{_short(mine[what]['mean'])}** [{low}, {high}]", _short(mine["ece"])]
    found = [rows.get(f"unseen: {count} personal") for count in _UNSEEN]
    cells += ["-" if row is None else _short(row[what]["mean"]) for row in found]
    return f"| {name}{' (mean error)' if what == 'mae' else ''}, {mine['people']} people | {' | '.join(cells)} |"


def _short(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def _papers(runs: dict[str, Document]) -> str:
    entries = tomllib.loads((ROOT / "benchmarks" / "papers.toml").read_text("utf-8"))
    head = "| method | paper | where ours differs | reported by its authors | measured here: gain over none |"
    lines = [head, "|---|---|---|---|---|"]
    for method, entry in sorted(entries.items()):
        wide = {name: document for name, document in runs.items() if not name.endswith(".gate")}
        found = "; ".join(filter(None, (_measured(method, name, document) for name, document in wide.items())))
        paper = f"{entry['title']} ({entry['source']})"
        found = found or entry.get("elsewhere", "not measured")
        lines.append(f"| `{method}` | {paper} | {entry['differs']} | {entry['reported']} | {found} |")
    return "\n".join(lines) + "\n"


def _measured(method: str, run: str, document: Document) -> str:
    """Return a method's gain in a run; of several settings the first that was given."""
    row = next((row for row in document.results if row.method.partition(":")[0] == method), None)
    gain = None if row is None else document.gain(row, document.main)
    if gain is None or gain.difference is None:
        return ""
    return f"{run} {gain.difference:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"


if __name__ == "__main__":
    for name, text in published().items():
        (ROOT / name).write_text(text, "utf-8")
