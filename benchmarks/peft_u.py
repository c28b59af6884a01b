"""One small adapter a person: the `peft` library's kinds, one person after the other, beside ours, all people at once.

    python benchmarks/peft_u.py md-agreement --data DIR --limit 12      # needs peft beside the transformers extra
    python benchmarks/peft_u.py studemo --data DIR --limit 12 --out studemo.json

PEFT-U (arXiv:2407.18078) compares LoRA, prefix tuning, prompt tuning, P-tuning and IA3 for each annotator of
subjective sets. Here all see the same rows of the same people, asked as the bench asks them, in the same batches for
the same number of passes; what is held out is the bench's. The label with the highest likelihood is the answer.
Accuracy is a person's own, then the mean over people, intervals by bootstrap over people. ``unleaked`` counts only
questions whose text stands in no other person's rows: published runs count all. Rates are those that each kind is
usually trained with, not tuned here. Seconds are the processor's, bytes those of the finished weights as they are kept.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from idiolect import registry
from idiolect.backends._torch_training import rows_of
from idiolect.backends.transformers import TransformersBackend
from idiolect.bench.task import Dataset, Query
from idiolect.bench.tasks._shared import stable_rng
from idiolect.measure.statistics import PILOT, mean_interval, paired
from idiolect.prompting.shared.replay import replay
from idiolect.trainable import Example, Job, Recipe, Vectors
from idiolect.training import prefixes
from idiolect.training.plan import Plan
from idiolect.training.rows import TokenRow
from idiolect.types import Adapter, Call, Template

TASKS: dict[str, dict[str, Any]] = {"md-agreement": {}, "studemo": {"scales": ("valence",)}}
MODULES = ("q_proj", "v_proj")
TOKENS = 20
"""Virtual tokens, as in PEFT-U."""
RATES = {"lora": 1e-3, "ia3": 5e-3, "prefix tuning": 1e-2, "prompt tuning": 3e-2, "p-tuning": 1e-3}


@dataclass(frozen=True)
class Person:
    """Somebody's rows to learn, and the questions that are held out."""

    name: str
    examples: list[Example]
    asked: list[Query]


@dataclass(frozen=True)
class Made:
    """What an arm made of a person: right or wrong for each question, and what it cost."""

    right: list[bool]
    seconds: float = 0.0
    size: int = 0


Arm = dict[str, Made]


def people_of(data: Dataset, limit: int, records: int, questions: int) -> list[Person]:
    """Draw people; of each the newest rows, asked in the form of the task, and some of the questions."""
    asked: dict[str, list[Query]] = {}
    for query in data.queries:
        asked.setdefault(query.user, []).append(query)
    names = sorted(asked)
    stable_rng("peft_u").shuffle(names)
    first = data.queries[0]
    template = Template(Call(first.messages, first.focus, first.item), first.options)
    out = []
    for name in names[:limit]:
        rows = list(data.histories[name])[-records:]
        out.append(Person(name, [Example(replay(r, template).call, r.output) for r in rows], asked[name][:questions]))
    return out


def leaked(people: Sequence[Person]) -> dict[str, list[bool]]:
    """Return for each question whether its text stands in another person's rows."""
    texts = {one.name: {example.call.focus for example in one.examples} for one in people}
    return {
        one.name: [any(q.focus in texts[other] for other in texts if other != one.name) for q in one.asked]
        for one in people
    }


# --- the library, one person after the other --------------------------------------------------------------------------


def configs() -> dict[str, Any]:
    """Return the library's configurations."""
    import peft

    kind = {"task_type": "CAUSAL_LM"}
    return {
        "lora": peft.LoraConfig(r=8, lora_alpha=16, target_modules=list(MODULES), **kind),
        "ia3": peft.IA3Config(**kind),
        "prefix tuning": peft.PrefixTuningConfig(num_virtual_tokens=TOKENS, **kind),
        "prompt tuning": peft.PromptTuningConfig(num_virtual_tokens=TOKENS, **kind),
        "p-tuning": peft.PromptEncoderConfig(num_virtual_tokens=TOKENS, encoder_hidden_size=128, **kind),
    }


@contextmanager
def adapted(base: Any, config: Any) -> Iterator[Any]:
    """Give the model an untrained adapter, and take it away again."""
    import peft
    import torch

    torch.manual_seed(0)
    model = peft.get_peft_model(base, config)
    try:
        yield model
    finally:
        if isinstance(config, peft.LoraConfig | peft.IA3Config):
            model.unload()
        base.requires_grad_(False)


def batch_of(rows: Sequence[TokenRow]) -> dict[str, Any]:
    """Return ids, mask and labels ``[rows, longest]``, padded on the right."""
    import torch

    width = max(map(len, rows))
    ids, labels = torch.zeros(len(rows), width, dtype=torch.long), torch.full((len(rows), width), -100)
    for n, row in enumerate(rows):
        ids[n, : len(row)] = torch.tensor(row.ids)
        labels[n, row.start : len(row)] = torch.tensor(row.ids[row.start :])
    mask = (torch.arange(width)[None] < torch.tensor([len(row) for row in rows])[:, None]).long()
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def fit_one(model: Any, rows: Sequence[TokenRow], recipe: Recipe) -> None:
    """Train by the plain loop: the library's loss, AdamW, the same batches and rates as ours."""
    import torch

    plan = Plan(recipe, len(rows))
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, recipe.rate, weight_decay=recipe.decay)
    model.train()
    for step in range(plan.steps):
        optimizer.param_groups[0]["lr"] = plan.rate(step)
        model(**batch_of([rows[n] for n in plan.batch(step)])).loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, recipe.clip)
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


def answer(model: Any, backend: TransformersBackend, query: Query) -> bool:
    """Whether the right label is the likeliest, with one row an option."""
    import torch

    engine = backend._loaded()
    prompt = engine.prompt(query.messages, Call(query.messages))
    rows = [TokenRow((*prompt, *engine.tokens(option)), len(prompt)) for option in query.options]
    given = batch_of(rows)
    labels = given.pop("labels")
    with torch.no_grad():
        logits = model(**given).logits[:, -labels.shape[1] :]  # without virtual tokens
    scores = logits[:, :-1].float().log_softmax(-1).gather(2, labels[:, 1:].clamp(min=0)[..., None])[..., 0]
    best = int((scores * (labels[:, 1:] >= 0)).sum(dim=1).argmax())
    return query.options[best] == query.gold


def library(backend: TransformersBackend, people: Sequence[Person], kind: str, recipe: Recipe) -> Arm:
    """Train and ask one person after the other."""
    import peft

    base, found = backend._loaded().model, {}
    for one in people:
        with adapted(base, configs()[kind]) as model:
            start = time.process_time()
            fit_one(model, rows_of(backend._loaded(), one.examples, ()), replace(recipe, rate=RATES[kind]))
            taken = time.process_time() - start
            kept = peft.get_peft_model_state_dict(model).values()
            size = sum(weight.numel() * weight.element_size() for weight in kept)
            found[one.name] = Made([answer(model, backend, query) for query in one.asked], taken, size)
    return found


# --- ours, all people at once -----------------------------------------------------------------------------------------


def asked_of(
    backend: TransformersBackend, people: Sequence[Person], calls: Callable[[str, Call], Call]
) -> dict[str, list[bool]]:
    """Ask everybody's questions in one batch, each call as ``calls`` makes it for its person."""
    flat = [(one.name, q, option) for one in people for q in one.asked for option in q.options]
    scores = iter(backend.logprobs([calls(n, Call(q.messages)) for n, q, _ in flat], [text for *_, text in flat]))
    return {
        one.name: [q.options[int(np.argmax([next(scores) for _ in q.options]))] == q.gold for q in one.asked]
        for one in people
    }


def jobs_of(people: Sequence[Person]) -> list[Job]:
    return [Job(one.name, one.examples) for one in people]


def with_adapters(bodies: Mapping[str, Sequence[Any]]) -> Callable[[str, Call], Call]:
    def make(name: str, call: Call) -> Call:
        return replace(call, adapters=tuple(Adapter(body.digest, 1.0, body) for body in bodies[name]))

    return make


def ours_lora(backend: TransformersBackend, people: Sequence[Person], recipe: Recipe) -> Arm:
    """Per-user LoRA by ``train``, the same as the library's LoRA but for the first weights."""
    start = time.process_time()
    made = {one.key: one.body for one in backend.train(jobs_of(people), replace(recipe, rate=RATES["lora"]))}
    each = (time.process_time() - start) / len(people)
    right = asked_of(backend, people, with_adapters({name: [body] for name, body in made.items()}))
    return {name: Made(right[name], each, body.size) for name, body in made.items()}


def ours_prefix(backend: TransformersBackend, people: Sequence[Person], recipe: Recipe) -> Arm:
    """A prefix of 4 vectors a person (the method ``user_adapter``)."""
    first = backend.embeddings([int(n) for n in np.random.default_rng(0).integers(0, backend.vocabulary, 4)])
    start = time.process_time()
    slow = replace(recipe, rate=0.1)
    made = {one.key: one.vectors for one in prefixes.train(backend, jobs_of(people), first, slow, len(people))}
    each = (time.process_time() - start) / len(people)
    right = asked_of(backend, people, lambda name, call: replace(call, soft_prompt=made[name]))
    return {name: Made(right[name], each, 2 * vectors.size) for name, vectors in made.items()}


def ours_plora(backend: TransformersBackend, people: Sequence[Person], recipe: Recipe) -> Arm:
    """One adapter for all and a bias a person (the method ``plora``); all people's rows teach the shared part."""
    start = time.process_time()
    joint = backend.train_jointly(jobs_of(people), replace(recipe, rate=RATES["lora"]), Vectors())
    each = (time.process_time() - start) / len(people)
    bodies = {one.key: [joint.shared.body, one.body] for one in joint.people}
    right = asked_of(backend, people, with_adapters(bodies))
    return {one.key: Made(right[one.key], each, one.body.size) for one in joint.people}


# --- the table --------------------------------------------------------------------------------------------------------


def told(arm: Arm, frozen: Arm, leaks: Mapping[str, Sequence[bool]]) -> dict[str, Any]:
    """Return accuracy both ways, the difference to the frozen model, and the cost of a person."""

    def mean(one: Made, marks: Sequence[bool], all_of_them: bool) -> float:
        kept = [right for right, leak in zip(one.right, marks, strict=True) if all_of_them or not leak]
        return float(np.mean(kept)) if kept else float("nan")

    names = sorted(arm)
    own, base = ([mean(found[name], leaks[name], True) for name in names] for found in (arm, frozen))
    clean = mean_interval([mean(arm[name], leaks[name], False) for name in names])
    whole, gain = mean_interval(own), paired(own, base)
    return {
        "accuracy": round(whole.mean, 4), "interval": [round(whole.low, 4), round(whole.high, 4)],
        "unleaked": round(clean.mean, 4), "unleaked interval": [round(clean.low, 4), round(clean.high, 4)],
        "gain": round(gain.difference, 4), "gain interval": [round(gain.low, 4), round(gain.high, 4)],
        "helped": gain.helped, "harmed": gain.harmed,
        "seconds a person": round(float(np.mean([arm[name].seconds for name in names])), 2),
        "bytes a person": round(float(np.mean([arm[name].size for name in names]))),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=sorted(TASKS))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--limit", type=int, default=12, help="people")
    parser.add_argument("--records", type=int, default=16, help="newest rows of a person that are learnt")
    parser.add_argument("--questions", type=int, default=8, help="held-out questions of a person that are asked")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    data = registry.build(registry.tasks.get(args.task), TASKS[args.task]).load(args.data)
    people = people_of(data, args.limit, args.records, args.questions)
    backend = TransformersBackend(args.model, dtype=args.dtype, threads=args.threads, batch=8)
    recipe = Recipe(rank=8, alpha=16.0, modules=MODULES, epochs=args.epochs, batch=args.batch)
    leaks = leaked(people)
    arms: dict[str, Callable[[], Arm]] = {
        **{f"peft {kind}": lambda kind=kind: library(backend, people, kind, recipe) for kind in configs()},  # type: ignore[misc]
        "ours lora": lambda: ours_lora(backend, people, recipe),
        "ours user_adapter": lambda: ours_prefix(backend, people, recipe),
        "ours plora": lambda: ours_plora(backend, people, recipe),
    }
    given = {key: value for key, value in vars(args).items() if key not in ("data", "out")}
    rows: dict[str, Any] = {}
    document = {
        "settings": given, "rates": RATES, "people": len(people), "pilot": len(people) < PILOT,
        "questions": sum(map(len, leaks.values())), "leaked questions": sum(map(sum, leaks.values())), "rows": rows,
    }  # fmt: skip
    frozen = {name: Made(found) for name, found in asked_of(backend, people, lambda name, call: call).items()}
    for name, run in {"frozen": lambda: frozen, **arms}.items():
        rows[name] = told(run(), frozen, leaks)
        print(name, rows[name], flush=True)
        if args.out:
            args.out.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    backend.close()


if __name__ == "__main__":
    main()
