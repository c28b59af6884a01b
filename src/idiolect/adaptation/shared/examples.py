"""A person's records as examples to learn from, each with what was known of the person before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from idiolect import registry
from idiolect.prompting.assembly import Named, personalize
from idiolect.prompting.shared.known import Known
from idiolect.prompting.shared.replay import answered, own_options, replay
from idiolect.trainable import Example
from idiolect.types import EVERYONE, Artifact, Call, Context, Fits, Record, User

T = TypeVar("T")
CHARS = 2000
"""So much of a text is learnt."""


@dataclass(frozen=True)
class Writer:
    """Asks a person's records again, each as ``methods`` would have personalized it at the time.

    A record never stands in its own prompt: methods see the person as of just before it (arXiv:2402.04401, section 3:
    the retrieval of row ``i`` reads rows before ``i``). Of methods that train the person's own weights the adapter is
    the one there is: one for every record would be a training each. ``tokens`` bounds the personal part of a prompt.
    """

    methods: tuple[Named, ...]
    ctx: Context
    tokens: int = 0
    chars: int = CHARS

    def examples(self, user: User, records: Sequence[Record]) -> list[Example]:
        """Return an example for each record: its call, and what was given."""
        out = []
        for record, call in zip(records, self.calls(user, records), strict=True):
            text, ends = self.cut(record.output)
            out.append(Example(call, text, ends=ends))
        return out

    def cut(self, text: str) -> tuple[str, bool]:
        """Return as much of a text as is learnt, and whether that is all of it."""
        whole = text.strip()
        return whole[: self.chars], len(whole) <= self.chars

    def calls(self, user: User, records: Sequence[Record]) -> list[Call]:
        """Return the call that each record answered, as it would be written now.

        All carry the adapters that the newest one does: a shared method has nothing to say before the first record,
        but what is trained is only ever served on top of it.
        """
        template = self.ctx.template
        options = template.options if template is not None else own_options(records)
        weights = {name for name, _ in registry.with_parts(self.methods) if registry.batched(name)}
        shared = tuple(
            a for a in user.artifacts if (a.user_id == EVERYONE and a.kind != "verdict") or a.method in weights
        )
        ctx = replace(self.ctx, tokens=self.tokens or self.ctx.tokens)
        out = []
        for record in records:
            call = replay(record, template, options).call
            if self.methods:
                call = personalize(call, self._then(user, record, shared), self.methods, ctx)[0]
            out.append(call)
        under = out[-1].adapters if out else ()
        return [replace(call, adapters=under) for call in out]

    def _then(self, user: User, record: Record, shared: tuple[Artifact, ...]) -> User:
        """Return the person as they were before a record, with what methods would have learnt of them by then."""
        earlier = Known(user.before(record.time), shared)
        fitting = (
            one for name, one in self.methods
            if isinstance(one, Fits) and not registry.methods.get(name).info["together"] and not registry.batched(name)
        )  # fmt: skip
        learnt = tuple(artifact for one in fitting for artifact in one.fit([earlier], self.ctx))
        return Known(earlier, learnt)


def split(records: Sequence[T], part: float, least: int = 8) -> tuple[list[T], list[T]]:
    """Return what is learnt and the newest ``part``, which is held out; with fewer than ``least`` nothing is."""
    held = int(len(records) * part) if len(records) >= least else 0
    cut = len(records) - held
    return list(records[:cut]), list(records[cut:])


def newest(user: User, most: int) -> list[Record]:
    """Return the newest ``most`` records in which a person gave something, oldest first."""
    found = answered(user)
    return found[max(0, len(found) - most) :]
