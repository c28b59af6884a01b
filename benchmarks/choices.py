"""Do methods that learn from choices know what a person prefers? Beside none, past choices in the prompt, another's.

    python benchmarks/choices.py --data DIR --out benchmarks/results/choices.json     # DIR/p_soups/student_phd.json
    python benchmarks/choices.py --data DIR --pairs 8 --held 8 --methods bipo         # a try, minutes

Two personas of P-SOUPS. Each one's choices become records, the methods are fitted as for anybody, and what is asked are
choices on prompts that neither persona learns from, one for each prompt. ``accuracy`` is how often the chosen text is
likelier than the rejected one, ``a token`` the same by log probability a token (the sum prefers what is short),
``moved`` how often the gap is larger than with no method, ``gap`` [nats] its mean. "the other's" is what was learnt of
the other persona. Intervals are by bootstrap over prompts; there are only two personas, so that this is a pilot
whatever they say.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import idiolect
from idiolect import registry
from idiolect.backends.transformers import TransformersBackend
from idiolect.bench.run import machine
from idiolect.config import PeersPolicy, Settings
from idiolect.errors import IdiolectError
from idiolect.measure.statistics import mean_interval
from idiolect.memory.feedback import Feedback, record_of
from idiolect.pipeline import Idiolect
from idiolect.store.keys import MasterKey
from idiolect.store.sharing import share
from idiolect.store.store import Store
from idiolect.types import Call, Fits

METHODS: dict[str, dict[str, Any]] = {
    "retrieval": {},
    "system_message": {"groups": "none"},
    "dials": {"grid": [1.0, 2.0], "plausibility": 0.0},
    "bipo": {},
    "chameleon": {"alpha": 0.5, "beta": 0.5},
    "user_tokens": {"context": ["none"]},
    "dpo": {"context": ["none"], "epochs": 3},
}
"""By name the settings that differ from the defaults; people's own choices alone, no prompt beside what is measured."""
STRENGTHS = (-2.0, -1.0, 2.0)
"""Also tried of bipo."""
START, DAY = 1_700_000_000.0, 86400.0
FILE = Path("p_soups/student_phd.json")
NAMES = {"elementary school student": "pupil", "PhD Student": "phd"}
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Choice:
    """What a persona took and left on a prompt."""

    prompt: str
    chosen: str
    rejected: str


@dataclass(frozen=True)
class Persona:
    """Choices that are learnt from, and one on each prompt that is held out."""

    name: str
    learnt: list[Choice]
    held: list[Choice]


def personas(path: Path, pairs: int, held: int, chars: int) -> list[Persona]:
    """Read choices whose texts have at most ``chars`` characters; of the prompts, in an order of their own, the first
    so many are held out of both personas."""
    found: dict[str, dict[str, list[Choice]]] = {name: {} for name in NAMES.values()}
    for row in json.loads(path.read_text("utf-8")):
        name = next(short for mark, short in NAMES.items() if mark in row["ground_truth_persona"])
        texts = [row[key].strip() for key in ("prompt", "chosen", "rejected")]
        if texts[1] != texts[2] and max(map(len, texts[1:])) <= chars:
            found[name].setdefault(texts[0], []).append(Choice(*texts))
    order = sorted({prompt for each in found.values() for prompt in each}, key=digest)
    kept = {name: [prompt for prompt in order if prompt in each][:held] for name, each in found.items()}
    out = {prompt for prompts in kept.values() for prompt in prompts}
    return [
        Persona(
            name,
            [choice for prompt in order if prompt in each and prompt not in out for choice in each[prompt]][:pairs],
            [each[prompt][0] for prompt in kept[name]],
        )
        for name, each in found.items()
    ]


def digest(text: str) -> str:
    """Return what prompts are ordered by."""
    return hashlib.sha256(text.encode()).hexdigest()


def house(folder: str, backend: TransformersBackend, people: Sequence[Persona]) -> Idiolect:
    """Return a house where each persona gave its choices as feedback, one a day."""
    store = Store.open(Path(folder) / "data", Path(folder) / "keys", MasterKey(f"file:{folder}/keys/master.key"))
    for one in people:
        records = [
            record_of(one.name, c.prompt, c.rejected, Feedback(drafts=(c.rejected, c.chosen), chosen=1),
                      time=START + n * DAY, trace="")
            for n, c in enumerate(one.learnt)
        ]  # fmt: skip
        store.add(records)
        share(store, one.name, True)
    settings = Settings(methods=(), peers=PeersPolicy(least=len(people)))
    return Idiolect(store, backend, settings, clock=lambda: START + 10_000 * DAY, backend_name="transformers")


def gaps(app: Idiolect, user: str, held: Sequence[Choice], methods: Sequence[Mapping[str, Any]]) -> Doubles:
    """Return how much likelier each chosen text is than the rejected one: by the sum [nats] and a token, ``[n, 2]``."""
    asked = [Call(({"role": "user", "content": choice.prompt},)) for choice in held]
    planned = [app.plan(call, user, methods=list(methods)).call for call in asked]
    texts = [text for choice in held for text in (choice.chosen, choice.rejected)]
    found = app.backend.token_logprobs([call for call in planned for _ in range(2)], texts)  # type: ignore[attr-defined]
    scores = np.array([(row.sum(), row.mean()) for row in found], np.float64).reshape(-1, 2, 2)
    difference: Doubles = scores[:, 0] - scores[:, 1]
    return difference


def told(found: Doubles, none: Doubles) -> dict[str, Any]:
    """Return the figures of an arm over its held-out pairs."""
    figures = {
        "accuracy": found[:, 0] > 0, "a token": found[:, 1] > 0, "moved": found[:, 0] > none[:, 0],
        "gap": found[:, 0], "gap a token": found[:, 1],
    }  # fmt: skip
    out = {}
    for name, values in figures.items():
        interval = mean_interval([float(value) for value in values])
        out[name] = [round(interval.mean, 4), round(interval.low, 4), round(interval.high, 4)]
    return out


def arms(methods: Sequence[str], learnt_by: str, other: str) -> dict[str, tuple[str, list[Mapping[str, Any]]]]:
    """Return whose methods each arm asks."""
    found: dict[str, tuple[str, list[Mapping[str, Any]]]] = {"none": (learnt_by, [])}
    for name in methods:
        found[name] = learnt_by, [spec(name)]
        found[f"{name}, the other's"] = other, [spec(name)]
    if "bipo" in methods:
        found |= {
            f"bipo {strength:+g}": (learnt_by, [{**spec("bipo"), "strength": strength}]) for strength in STRENGTHS
        }
    return found


def spec(name: str) -> dict[str, Any]:
    """Return a method with its settings."""
    return {"name": name, **METHODS[name]}


def fitted(app: Idiolect, methods: Sequence[str], people: Sequence[Persona]) -> dict[str, float]:
    """Let all that learn offline learn; return the seconds a persona."""
    seconds = {}
    for name in methods:
        if isinstance(registry.make_method(spec(name))[1], Fits):
            began = time.perf_counter()
            app.fit(spec(name), [one.name for one in people])
            seconds[name] = round((time.perf_counter() - began) / len(people), 1)
            print(f"{name}: learnt in {seconds[name]} s a persona", flush=True)
    return seconds


def run(args: argparse.Namespace) -> dict[str, Any]:
    path = args.data / FILE
    people = personas(path, args.pairs, args.held, args.chars)
    backend = TransformersBackend(
        args.model, dtype=args.dtype, threads=args.threads, device=args.device, deterministic=False
    )  # fmt: skip
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        app = house(folder, backend, people)
        seconds = fitted(app, args.methods, people)
        kept = {
            one.name: {
                a.method: {"bytes": len(a.payload) + (a.body.size if a.body else 0), "scores": dict(a.scores)}
                for a in app.store.artifacts(one.name)
            }
            for one in people
        }
        lines = [json.loads(a.payload)["lines"] for one in people for a in app.store.artifacts(one.name)
                 if a.method == "system_message"]  # fmt: skip
        for one, other in zip(people, reversed(people), strict=True):
            found = {
                arm: gaps(app, user, one.held, methods)
                for arm, (user, methods) in arms(args.methods, one.name, other.name).items()
            }
            rows[one.name] = {arm: told(values, found["none"]) for arm, values in found.items()}
        app.store.close()
    backend.close()
    given = {key: value for key, value in vars(args).items() if key not in ("data", "out")}
    return {
        "task": "choices-1", "made": datetime.now(UTC).isoformat(timespec="seconds"), "command": " ".join(sys.argv),
        "machine": machine(), "model": backend.fingerprint, "backend": "transformers", "settings": given,
        "methods": {name: registry.settings_of(registry.make_method(spec(name))[1]) for name in args.methods},
        "data_sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest()},
        "versions": {"idiolect": idiolect.__version__, "numpy": np.__version__, "python": platform.python_version()},
        "pilot": True, "learnt pairs": {one.name: len(one.learnt) for one in people},
        "held pairs": {one.name: len(one.held) for one in people}, "seconds a person": seconds, "learnt": kept,
        "messages": lines, "rows": rows,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--pairs", type=int, default=160, help="choices of a persona that are learnt from")
    parser.add_argument("--held", type=int, default=40, help="prompts of a persona that are held out")
    parser.add_argument("--chars", type=int, default=600, help="longest text [characters]")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if not (args.data / FILE).is_file():
        parser.error(f"{args.data} has no {FILE}")
    try:
        document = run(args)
    except IdiolectError as error:  # not installed, or its weights are not here
        sys.exit(str(error))
    print(json.dumps({key: document[key] for key in ("seconds a person", "messages")}))
    for name, table in document["rows"].items():
        for arm, row in table.items():
            print(f"{name:6s} {arm:28s}", "  ".join(f"{key} {value[0]:+.3f}" for key, value in row.items()))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
