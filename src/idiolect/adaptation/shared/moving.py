"""Moving an adapter to another model: the same weights, or new ones that learn from what the old ones made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from idiolect.adaptation.shared.attach import attached
from idiolect.trainable import Example, Job
from idiolect.training import peft_format
from idiolect.types import Artifact, Backend, Body, Call, Sampling

ASK = "Write one message that you could be sent, as a person would write it. Write the message alone."
"""What has the old model write prompts where none are left."""
_LONGEST = 1000


@dataclass(frozen=True)
class Synthetic:
    """What an old model wrote with somebody's adapter: questions with its answers, and how many were of no use."""

    examples: Sequence[Example]
    asked: int
    empty: int
    repeated: int

    def told(self) -> dict[str, int]:
        """Return the counts by name."""
        return {"asked": self.asked, "examples": len(self.examples), "empty": self.empty, "repeated": self.repeated}

    def job(self, key: str, hold_out: float) -> Job:
        """Return the training on them, the last part held out."""
        cut = len(self.examples) - int(len(self.examples) * hold_out)
        return Job(key, self.examples[:cut], self.examples[cut:])


def for_model(artifact: Artifact, base_model: str, body: Body, told: Mapping[str, Any]) -> Artifact:
    """Return an adapter as one of another model: it rests on the same records and people, at the same time.

    What the gate measured with the old model does not count for the new one.
    """
    head = {**orjson.loads(artifact.payload), "from": artifact.id, "bytes": body.size, **told}
    return Artifact.new(
        artifact.user_id, artifact.kind, method=artifact.method, settings=artifact.settings,
        payload=orjson.dumps(head), record_ids=artifact.record_ids, time=artifact.time, base_model=base_model,
        people=artifact.people, body=body,
    )  # fmt: skip


def reused(artifact: Artifact, base_model: str) -> Artifact:
    """Return the very same weights as a change of another model of the same shape (PortLLM, arXiv:2410.10870).

    For the model it was made for it is the artifact itself.
    """
    if artifact.base_model == base_model:
        return artifact
    assert artifact.body is not None, "an adapter has a body"
    body = Body.of(peft_format.rebased(artifact.body.read(), base_model))
    return for_model(artifact, base_model, body, {"moved": "reused"})


def written(teacher: Backend, artifact: Artifact, prompts: Sequence[str], most: int, seed: int) -> Synthetic:
    """Let the old model with the adapter write ``most`` questions, unless some are given, and answer them.

    After Trans-LoRA (arXiv:2405.17258), without its filter: what is empty or was there before is left out and counted.
    """
    found = list(prompts[:most]) or _questions(teacher, artifact, most, seed)
    distinct = list(dict.fromkeys(text.strip()[:_LONGEST] for text in found if text.strip()))
    answers = teacher.generate([_asked(text, artifact, Sampling(temperature=0.0)) for text in distinct])
    examples = [
        Example(Call(({"role": "user", "content": text},)), answer.text.strip(), ends=answer.finish_reason == "stop")
        for text, answer in zip(distinct, answers, strict=True) if answer.text.strip()
    ]  # fmt: skip
    blank = sum(not text.strip() for text in found)
    repeated = len(found) - blank - len(distinct)
    return Synthetic(examples, len(found), blank + len(distinct) - len(examples), repeated)


def _questions(teacher: Backend, artifact: Artifact, most: int, seed: int) -> list[str]:
    calls = [_asked(ASK, artifact, Sampling(temperature=1.0, seed=seed + n)) for n in range(most)]
    return [answer.text for answer in teacher.generate(calls)]


def _asked(text: str, artifact: Artifact, sampling: Sampling) -> Call:
    call = attached(Call(({"role": "user", "content": text},)), artifact, artifact.method)
    return replace(call, sampling=sampling)
