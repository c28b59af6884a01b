"""The gate's account of one person: who serves them, on what grounds, what each candidate gained and cost."""

from __future__ import annotations

from typing import Any

from idiolect.config import MethodSpec
from idiolect.errors import ConfigError
from idiolect.evidence.auto import Auto
from idiolect.evidence.verdict import Verdict, verdict_of
from idiolect.registry import make_method
from idiolect.types import Artifact, User


def account(spec: MethodSpec, user: User, model: str) -> dict[str, Any]:
    """Return plain values; ``candidates`` is there once the person was measured with the model of this fingerprint.

    Gains are differences to no personalization, over the person's own latest records (:mod:`.measuring` says in which
    terms); ``own_gain`` is their mean, ``gain`` and ``sd`` what is believed after weighing them against other people's.
    """
    gate = make_method(spec)[1]
    if not isinstance(gate, Auto):
        raise ConfigError("another package took the name 'auto'; its evidence cannot be shown here")
    chosen, artifact, gain = gate.verdict(user, model)
    own = verdict_of(user.artifacts, user.id, model)
    rests_on = "nothing measured yet" if artifact is None else "own records" if own else "people who share"
    told = {
        "user": user.id, "records": user.count, "serves": chosen, "expected_gain": gain, "rests_on": rests_on,
        "due": gate.due(user, model),
    }  # fmt: skip
    return told if own is None else told | _measured(*own)


def _measured(artifact: Artifact, found: Verdict) -> dict[str, Any]:
    questions = len(found.base)
    rows = [
        {
            "candidate": name, "gain": found.mean[n], "sd": found.sd[n], "own_gain": sum(found.gains[n]) / questions,
            "helped": sum(gain > 0 for gain in found.gains[n]), "harmed": sum(gain < 0 for gain in found.gains[n]),
            "tokens": found.tokens[n], "seconds": artifact.scores.get(f"seconds:{name}"),
        }
        for n, name in enumerate(found.measured)
    ]  # fmt: skip
    return {
        "artifact": artifact.id, "model": artifact.base_model, "questions": questions, "measure": found.measure,
        "none": sum(found.base) / questions, "others": found.others, "candidates": rows, "skipped": found.skipped,
    }  # fmt: skip
