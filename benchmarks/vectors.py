"""Do vectors know what a person prefers: BiPO at several strengths, beside none, another's vector and CHAMELEON.

    python benchmarks/vectors.py --data DIR --out benchmarks/results/vectors.json     # DIR/p_soups/student_phd.json
    python benchmarks/vectors.py --data DIR --pairs 8 --held 8 --epochs 4             # a try, minutes

Two personas of P-SOUPS. Each one's choices become records, `bipo` and `chameleon` are fitted as for anybody, and what
is asked are choices on prompts that neither persona learns from, one for each prompt. ``accuracy`` is how often the
chosen text is likelier than the rejected one, ``a token`` the same by log probability a token (the sum prefers what is
short), ``moved`` how often the gap is larger than with no vector, ``gap`` [nats] its mean. Intervals are by bootstrap
over prompts; there are only two personas, so that this is a pilot whatever they say.
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
from idiolect.config import Settings
from idiolect.measure.statistics import mean_interval
from idiolect.memory.feedback import Feedback, record_of
from idiolect.pipeline import Idiolect
from idiolect.store.keys import MasterKey
from idiolect.store.store import Store
from idiolect.types import Call

STRENGTHS = (-2.0, -1.0, 1.0, 2.0)
START, DAY = 1_700_000_000.0, 86400.0
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
    settings = Settings(methods=())
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


def arms(bipo: Mapping[str, Any], chameleon: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    """Return the methods of each arm."""
    vectors = {f"bipo {strength:+g}": [{**bipo, "strength": strength}] for strength in STRENGTHS}
    return {"none": [], **vectors, "chameleon": [chameleon]}


def run(args: argparse.Namespace) -> dict[str, Any]:
    path = args.data / "p_soups" / "student_phd.json"
    people = personas(path, args.pairs, args.held, args.chars)
    backend = TransformersBackend(args.model, dtype=args.dtype, threads=args.threads, device=args.device)
    bipo = {"name": "bipo", "epochs": args.epochs, "rate": args.rate, "people": len(people)}
    chameleon = {"name": "chameleon", "alpha": args.alpha, "beta": args.beta}
    rows: dict[str, dict[str, Any]] = {}
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        app = house(folder, backend, people)
        for spec in (bipo, chameleon):
            began = time.perf_counter()
            app.fit(spec, [one.name for one in people])
            seconds[spec["name"]] = round((time.perf_counter() - began) / len(people), 1)
        learnt = {
            one.name: {
                a.method: {"bytes": len(a.payload), **json.loads(a.payload.split(b"\n")[0])}
                for a in app.store.artifacts(one.name)
            }
            for one in people
        }
        for one, other in zip(people, reversed(people), strict=True):
            found = {arm: gaps(app, one.name, one.held, spec) for arm, spec in arms(bipo, chameleon).items()}
            found["bipo +1, the other's"] = gaps(app, other.name, one.held, [{**bipo, "strength": 1.0}])
            rows[one.name] = {arm: told(values, found["none"]) for arm, values in found.items()}
        app.store.close()
    backend.close()
    given = {key: value for key, value in vars(args).items() if key not in ("data", "out")}
    return {
        "task": "vectors-1", "made": datetime.now(UTC).isoformat(timespec="seconds"), "command": " ".join(sys.argv),
        "machine": machine(), "model": backend.fingerprint, "backend": "transformers", "settings": given,
        "methods": {spec["name"]: registry.settings_of(registry.make_method(spec)[1]) for spec in (bipo, chameleon)},
        "data_sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest()},
        "versions": {"idiolect": idiolect.__version__, "numpy": np.__version__, "python": platform.python_version()},
        "pilot": True, "learnt pairs": {one.name: len(one.learnt) for one in people},
        "held pairs": {one.name: len(one.held) for one in people}, "seconds a person": seconds, "learnt": learnt,
        "rows": rows,
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
    parser.add_argument("--epochs", type=int, default=registry.build(registry.methods.get("bipo"), {}).epochs)  # type: ignore[attr-defined]
    parser.add_argument("--rate", type=float, default=registry.build(registry.methods.get("bipo"), {}).rate)  # type: ignore[attr-defined]
    parser.add_argument("--alpha", type=float, default=0.5)
    parser.add_argument("--beta", type=float, default=0.5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    document = run(args)
    print(json.dumps({key: document[key] for key in ("seconds a person", "learnt")}))
    for name, table in document["rows"].items():
        for arm, row in table.items():
            print(f"{name:6s} {arm:22s}", "  ".join(f"{key} {value[0]:+.3f}" for key, value in row.items()))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
