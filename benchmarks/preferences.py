"""Whose preferences: accuracy on people's own choices against how many of them are known, on public data.

    python benchmarks/preferences.py --data ../shared/data --out benchmarks/results/preferences.json
    python benchmarks/preferences.py --data DIR --out FILE --only ukpconvarg --embedder static
    python benchmarks/preferences.py --data DIR --out FILE --only popquorn --embedder static --beside drm gpo vpl
    python benchmarks/preferences.py --speed --out benchmarks/results/preferences_speed.json   # wants scikit-learn

People of one fold in five are *unseen*: everything is learnt from the others, and of them so many of their own choices
are given as stand at the top of the curve. Beside them the task's predictors without a language model, the model that
knows nothing of the person (impersonal), the one that sees the person's choices but weighs them as everybody does
(pooled), a fit to each person's own choices alone (the same features, no one else), and another person's choices in the
place of the own ones (another). The others are *seen*: they taught what was learnt, with all but their held-out
choices. MovieLens asks which of two films a person rated higher. What is written there already is kept, unless it is
named by --only. With --beside the published reward models are further arms, on the same people, questions and counts.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from idiolect import __version__, registry
from idiolect.alignment.shared.comparisons import Comparison, Question, comparisons
from idiolect.alignment.shared.crowd import Crowd, key
from idiolect.alignment.shared.features import FOLDS, Asked, describe
from idiolect.alignment.shared.judging import kind_of, reader
from idiolect.alignment.shared.learning import Kind, learn, own_of
from idiolect.alignment.shared.posterior import (
    Choices,
    Doubles,
    Prior,
    draw_shares,
    laplace,
    stack,
    updated,
)
from idiolect.alignment.shared.rewarding import options_of, ordered, taken_of
from idiolect.bench.asking import best
from idiolect.bench.run import machine
from idiolect.bench.task import Dataset, Population, Query, Task
from idiolect.measure.statistics import mean_interval
from idiolect.prompting.shared.distillation import softmax
from idiolect.text.embedding import load_embedder
from idiolect.types import Embedder, Record

TASKS = (
    "ukpconvarg", "opinionqa", "p-soups", "md-agreement", "popquorn", "studemo", "studemo:scales=valence",
    "studemo:scales=arousal", "movielens",
)  # fmt: skip
COUNTS = (0, 2, 4, 8, 16, 32)
UNSEEN = 4
"""The fold whose people are unseen."""
BESIDE = ("drm", "gpo", "vpl")
BINS = 15
HELD = 10
"""So many pairs of films are asked of a person."""


@dataclass(frozen=True)
class Held:
    """One question that is asked, and the place of the right option."""

    question: Question
    gold: int
    query: Query | None
    kind: tuple[str, ...]


@dataclass(frozen=True)
class People:
    """Everybody's own choices and what is asked of them, by name."""

    own: Mapping[str, list[Comparison]]
    held: Mapping[str, list[Held]]
    population: Population | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="*", choices=TASKS)
    parser.add_argument("--embedder", default="minilm")
    parser.add_argument("--beside", nargs="*", choices=BESIDE, help="published reward models too; all without a name")
    parser.add_argument("--speed", action="store_true", help="time the fit of many people, nothing else")
    args = parser.parse_args()
    if args.speed:
        args.out.write_text(json.dumps({"idiolect": __version__, "machine": machine(), **speed()}, indent=1) + "\n")
        return
    if args.data is None:
        sys.exit("--data names the folder of the public data sets")
    found = json.loads(args.out.read_text()) if args.out.exists() else {}
    beside = () if args.beside is None else tuple(args.beside) or BESIDE
    embedder = load_embedder(args.embedder)
    assert embedder is not None
    for name in args.only or [task for task in TASKS if task not in found.get("tasks", {})]:
        made = {"command": " ".join(sys.argv), **measured(name, args.data, embedder, beside)}
        found = {"idiolect": __version__, "machine": machine(), "tasks": {**found.get("tasks", {}), name: made}}
        args.out.write_text(json.dumps(found, indent=1) + "\n")
        print(name, json.dumps(made["summary"], indent=1), flush=True)


def measured(name: str, data: Path, embedder: Embedder, beside: Sequence[str] = ()) -> dict[str, Any]:
    """Return everything about one data set."""
    spec, settings = registry.read_settings(name)
    task: Task = registry.build(registry.tasks.get(spec), settings)
    dataset = task.load(data)
    people = of_films(dataset) if name == "movielens" else of_task(dataset)
    start = time.perf_counter()
    names = sorted(people.own)
    kinds = sorted({kind_of(one) for own in people.own.values() for one in own})
    rows = dict[str, dict[str, list[tuple[int, Doubles]]]]()
    for kind in kinds:
        for label, told in asked(people, names, kind, embedder, beside).items():
            for person, answers in told.items():
                rows.setdefault(label, {}).setdefault(person, []).extend(answers)
    unseen = {name for name in names if key(name) % FOLDS == UNSEEN}
    summary = {label: summed(told, task.ordered) for label, told in sorted(rows.items())}
    for label, predictor in task.predictors.items() if people.population else ():
        for part, some in (("unseen", unseen), ("seen", {*names} - unseen)):
            summary[f"{part}: {label} (predictor)"] = predicted(predictor, people, some, task)
    return {
        "task_version": task.version, "embedder": embedder.fingerprint, "folds": FOLDS, "people": len(people.held),
        "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in dataset.files},
        "seconds": round(time.perf_counter() - start, 1),
        "summary": summary,
    }  # fmt: skip


def of_task(dataset: Dataset) -> People:
    """Return the choices of a task's histories, and its questions."""
    first = dataset.queries[0]
    same = all(query.options == first.options for query in dataset.queries) and not first.option_texts
    labels = first.options if same else ()
    own = {user: comparisons(history, labels) for user, history in dataset.histories.items()}
    known = {one.texts for mine in own.values() for one in mine if one.labels}
    held = dict[str, list[Held]]()
    for query in dataset.queries:
        texts = query.option_texts or query.options
        prompt = query.focus.partition("\n\nA: ")[0] if query.option_texts else query.focus
        question = Question(prompt, texts, query.option_items if query.option_texts else (), query.item)
        one = Held(question, query.options.index(query.gold), query, texts if texts in known else ())
        held.setdefault(query.user, []).append(one)
    return People(own, held, Population(dataset.histories, dataset.queries))


def of_films(dataset: Dataset) -> People:
    """Return pairs of films that a person rated one after the other and not alike; the last ones are asked.

    No film stands in two pairs.
    """
    own, held = dict[str, list[Comparison]](), dict[str, list[Held]]()
    for user, history in dataset.histories.items():
        apart = zip(history[::2], history[1::2], strict=False)
        pairs = [_films(*pair) for pair in apart if pair[0].output != pair[1].output]
        if len(pairs) >= 2 * HELD:
            own[user] = pairs[:-HELD]
            held[user] = [Held(one.question, one.chosen, None, ()) for one in pairs[-HELD:]]
    return People(own, held, None)


def _films(one: Record, two: Record) -> Comparison:
    items = (str(one.meta["item"]), str(two.meta["item"]))
    better = 0 if float(one.output) > float(two.output) else 1
    return Comparison(two, "Which film is better?", (one.input, two.input), better, items, "|".join(sorted(items)))


def asked(
    people: People, names: Sequence[str], kind: tuple[str, ...], embedder: Embedder, beside: Sequence[str]
) -> dict[str, dict[str, list[tuple[int, Doubles]]]]:
    """Return for each arm and person the right places and the chances given to each option."""
    own = {name: [one for one in people.own[name] if kind_of(one) == kind] for name in names}
    held = {name: [one for one in people.held.get(name, ()) if one.kind == kind] for name in names}
    questions = [one.question for part in (own, held) for each in part.values() for one in each]
    read = reader(embedder, questions, kind)
    seen = [name for name in names if key(name) % FOLDS != UNSEEN and own[name]]
    crowd = Crowd.of([own[name] for name in seen])
    learnt = learn([own[name] for name in seen], [key(name) % FOLDS for name in seen], crowd, read, kind)
    out = dict[str, dict[str, list[tuple[int, Doubles]]]]()
    with_own = [name for name in names if own[name]]
    partners = dict(zip(with_own, [*with_own[1:], *with_own[:1]], strict=True))
    for name in names:
        if not held[name]:
            continue
        place = seen.index(name) if name in seen else -1
        counts = (len(own[name]),) if place >= 0 else COUNTS
        for count in counts:
            mine = own[name][max(0, len(own[name]) - count) :]
            part = "seen: all" if place >= 0 else f"unseen: {count}"
            told = answered(learnt, crowd, mine, held[name], read, place, name)
            theirs = own.get(partners.get(name, ""), [])
            theirs = theirs[max(0, len(theirs) - count) :]
            told["another"] = answered(learnt, crowd, theirs, held[name], read, place, name)["personal"]
            for model, answers in told.items():
                if count or model == "personal":
                    out.setdefault(f"{part} {model}", {})[name] = answers
    return {**out, **besides(beside, own, held, seen, read, kind)}


def besides(
    models: Sequence[str], own: Mapping[str, list[Comparison]], held: Mapping[str, list[Held]], seen: Sequence[str],
    read: Callable[[Question], Doubles], kind: tuple[str, ...],
) -> dict[str, dict[str, list[tuple[int, Doubles]]]]:  # fmt: skip
    """Return what the published reward models say, learnt from the same people; nothing of labels without an order."""
    out = dict[str, dict[str, list[tuple[int, Doubles]]]]()
    for label in models if ordered(kind) else ():
        method: Any = registry.make_method(label)[1]
        recent = [own[name][-method.newest :] for name in seen]
        model = method.trained([taken_of(mine, read, kind) for mine in recent], None)
        for name in (name for name in own if held[name]):
            asked = [(one.gold, options_of(read(one.question), kind)) for one in held[name]]
            for count in (len(own[name]),) if name in seen else COUNTS:
                mine = own[name][max(0, len(own[name]) - count) :]
                known = model.known(taken_of(mine, read, kind)) if mine else None
                part = "seen: all" if name in seen else f"unseen: {count}"
                told = [(gold, softmax(model.rewards(options, known))) for gold, options in asked]
                out.setdefault(f"{part} {label}", {})[name] = told
    return out


def answered(
    kind: Kind, crowd: Crowd, own: list[Comparison], held: list[Held], read: Callable[[Question], Doubles], place: int,
    name: str,
) -> dict[str, list[tuple[int, Doubles]]]:  # fmt: skip
    """Return what each model says of one person's questions."""
    known = [one.question for one in own]
    vectors = [read(question) for question in known]
    dim = kind.ground.text.shape[1]
    mine = own_of(own, vectors, dim)
    both = Asked(
        [*known, *(one.question for one in held)], [*vectors, *(read(one.question) for one in held)],
        [*range(len(own)), *[-1] * len(held)],
    )  # fmt: skip
    fold = key(name) % FOLDS if place >= 0 else -1
    bare = Asked(both.questions[len(own) :], both.vectors[len(own) :], [-1] * len(held))
    stranger = [kind.scaled(rows) for rows in describe(kind.ground, crowd, own_of([], [], dim), bare, place, fold)]
    x = [kind.scaled(rows) for rows in describe(kind.ground, crowd, mine, both, place, fold)]
    choices = stack(x[: len(own)], [one.chosen for one in own], [0] * len(own), 1) if own else None
    nothing = np.zeros((len(kind.mean), len(kind.mean)))
    models = {"pooled": (kind.mean, nothing), "personal": (kind.mean, nothing), "alone": (kind.mean * 0, nothing)}
    if choices is not None:
        mean, covariance = kind.posteriors(choices)
        models["personal"] = kind.spread(mean[0], covariance[0])
        alone = laplace(choices, Prior(kind.mean * 0, np.eye(len(kind.mean))))
        models["alone"] = (alone.mean[0], alone.covariance[0])
    told = {
        model: [draw_shares(rows, *weights).mean(axis=0) for rows in x[len(own) :]] for model, weights in models.items()
    }
    told["impersonal"] = [draw_shares(rows, kind.mean, nothing).mean(axis=0) for rows in stranger]
    golds = [one.gold for one in held]
    return {model: list(zip(golds, chances, strict=True)) for model, chances in told.items()}


def summed(told: Mapping[str, list[tuple[int, Doubles]]], ordered: bool) -> dict[str, Any]:
    """Return accuracy (and error, on a scale) with intervals over people, log loss and calibration."""
    right, off = list[float](), list[float]()
    sure, hit, lost = list[float](), list[bool](), list[float]()
    for answers in told.values():
        picks = [best(np.log(np.maximum(chances, 1e-12)), ordered) for _, chances in answers]
        golds = [gold for gold, _ in answers]
        right.append(statistics.mean(pick == gold for pick, gold in zip(picks, golds, strict=True)))
        off.append(statistics.mean(abs(pick - gold) for pick, gold in zip(picks, golds, strict=True)))
        for gold, chances in answers:
            sure.append(float(chances.max()))
            hit.append(int(chances.argmax()) == gold)
            lost.append(-float(np.log(max(chances[gold], 1e-12))))
    out: dict[str, Any] = {"people": len(told), "questions": len(hit), "accuracy": _interval(right)}
    if ordered:
        out["mae"] = _interval(off)
    return {**out, "log_loss": round(statistics.mean(lost), 4), "ece": round(ece(sure, hit), 4)}


def _interval(values: Sequence[float]) -> dict[str, float]:
    return {name: round(float(value), 4) for name, value in asdict(mean_interval(list(values))).items()}


def ece(sure: Sequence[float], hit: Sequence[bool]) -> float:
    """Return the expected calibration error over 15 bins of equal width."""
    p, y = np.asarray(sure), np.asarray(hit, float)
    place = np.minimum((p * BINS).astype(int), BINS - 1)
    return float(sum(abs(p[place == b].sum() - y[place == b].sum()) for b in range(BINS)) / len(p))


def predicted(predictor: Any, people: People, some: set[str], task: Task) -> dict[str, Any]:
    """Return how well one of the task's predictors does on some people."""
    right, off = list[float](), list[float]()
    assert people.population is not None
    for name in sorted(some & people.held.keys()):
        own = people.population.histories[name]
        pairs = [(one.query, predictor(one.query, own, people.population)) for one in people.held[name] if one.query]
        told = [(query, label) for query, label in pairs if isinstance(label, str)]
        if told:
            right.append(statistics.mean(label == query.gold for query, label in told))
        if told and task.ordered:
            off.append(statistics.mean(abs(float(label) - float(query.gold)) for query, label in told))
    out: dict[str, Any] = {"people": len(right), "accuracy": _interval(right)} if right else {"people": 0}
    return {**out, "mae": _interval(off)} if off else out


# --- speed ------------------------------------------------------------------------------------------------------------


def speed(people: int = 10_000, each: int = 20, features: int = 8, rounds: int = 5) -> dict[str, Any]:
    """Time everybody's posterior in one job, beside scikit-learn's regression one person after another."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    prior = Prior(rng.normal(size=features), np.eye(features))
    weights = prior.mean + rng.normal(size=(people, features))
    x = rng.normal(size=(people * each, 2, features))
    person = np.repeat(np.arange(people), each)
    utility = (x @ weights[person][:, :, None])[:, :, 0] + rng.gumbel(size=(len(x), 2))
    choices = Choices(x, np.ones((len(x), 2), bool), utility.argmax(axis=1), person, people)
    ours, loop, one = list[float](), list[float](), list[float]()
    some = people // 20
    for _ in range(rounds):
        start = time.perf_counter()
        found = laplace(replace(choices), prior)
        ours.append(time.perf_counter() - start)
        start = time.perf_counter()
        for who in range(some):
            mine = slice(who * each, (who + 1) * each)
            # an offset is not to be had: the penalty pulls to 0, the work is the same
            LogisticRegression(C=1.0, fit_intercept=False).fit(x[mine, 1] - x[mine, 0], _both(choices.chosen[mine]))
        loop.append((time.perf_counter() - start) * people / some)
    for n in range(200):
        start = time.perf_counter()
        updated((found.mean[n], found.covariance[n]), x[n], int(choices.chosen[n]))
        one.append(time.perf_counter() - start)
    seconds = {"ours": statistics.median(ours), "scikit-learn": statistics.median(loop)}
    made = {
        "people": people, "choices each": each, "features": features, "seconds": seconds,
        "ratio": seconds["scikit-learn"] / seconds["ours"], "update ms": 1e3 * statistics.median(one),
        "error ours": float(np.mean((found.mean - weights) ** 2)), "loop timed on": some,
    }  # fmt: skip
    print(json.dumps(made, indent=1))
    return made


def _both(chosen: Doubles) -> Doubles:
    """Return labels of both classes: scikit-learn refuses a person who always took the same one."""
    out = np.array(chosen)
    out[0] = 1 - out[-1] if out.min() == out.max() else out[0]
    return out


if __name__ == "__main__":
    main()
