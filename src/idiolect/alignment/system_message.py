"""System message: in plain sentences, how somebody wants to be answered, read off what they chose.

Janus (arXiv:2405.17977) describes a person by their values in four dimensions (style, background knowledge,
informativeness, harmlessness), written into the system message, and trains a model to heed such messages. Here the
model stays as it is, and the message is found: in each dimension the sentence under which the person's choices are
likeliest, if any makes them likelier.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

import orjson

from idiolect import registry
from idiolect.adaptation.shared.attach import plain
from idiolect.alignment.shared.choices import latest
from idiolect.alignment.shared.comparisons import Comparison
from idiolect.alignment.shared.messages import Lines, find, gains, lines_of, said
from idiolect.alignment.shared.values import SENTENCES, asking, read
from idiolect.errors import ConfigError
from idiolect.prompting.assembly import Named
from idiolect.prompting.shared.learnt import due, newest
from idiolect.registry import method
from idiolect.types import Artifact, Call, Context, Sampling, User

NAME: Final = "system_message"
_GROUPS = "group_message"
_WRITTEN_TOKENS = 160


class _Group(Protocol):
    def current(self, user: User, base_model: str) -> Artifact | None: ...


@method(NAME, level="objective", paper="arXiv:2405.17977", fit_needs=("logprobs",))
@dataclass(frozen=True)
class SystemMessage:
    """Say in the prompt how the person wants to be answered, as their choices tell; else how their group does.

    A message has at most one sentence for each of style, background knowledge, informativeness and harmlessness. Who
    has none is served by that of the narrowest group they belong to, or of everybody (``group_message``), unless their
    own choices speak against it.
    """

    write: bool = False
    """Also try sentences that the writing model makes of the person's choices: one call."""
    groups: str = _GROUPS
    """Method whose message serves whoever has none of their own; ``none`` for none."""
    least: int = 3
    """With fewer choices a person gets no message of their own."""
    comparisons: int = 16
    """So many of the person's latest choices are learnt from."""
    hold_out: float = 0.25
    """Part of the choices, the newest, that must be likelier under a message for it to serve; of under 8 none is."""
    beta: float = 0.1
    """How surely a person takes the text that a message makes likelier (DPO's beta)."""
    refresh: int = 10
    """Learn anew once so many records have come since."""
    share: float = 1.0
    """Part of the token budget relative to the other slots."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Offer the message as a stable block; nothing for somebody without history."""
        found = self.current(user, ctx.model.fingerprint) if user.count else None
        return call if found is None else said(call, found, NAME, self.share)

    def current(self, user: User, base_model: str) -> Artifact | None:
        """Return the message that serves a person: their own, that of their group or of everybody, or none."""
        own = newest(user, NAME, self._learnt, base_model)
        if own is not None and lines_of(own):
            return own
        shared = self._of_group(user, base_model)
        against = [] if own is None else orjson.loads(own.payload)["against"]
        return None if shared is None or shared.id in against else shared

    @property
    def begins(self) -> tuple[Named, ...]:
        """The method that groups' messages come from, if any."""
        return registry.make_folded(self.groups)

    @property
    def _learnt(self) -> dict[str, Any]:
        return plain(self, without=("refresh", "share"))

    def _of_group(self, user: User, base_model: str) -> Artifact | None:
        for name, one in self.begins:
            if name != _GROUPS:
                raise ConfigError(f"groups={self.groups}: no messages come from that; {_GROUPS!r} learns some")
            return cast("_Group", one).current(user, base_model)
        return None

    def stale(self, user: User) -> bool:
        """Whether there are choices enough to begin with, or ``refresh`` records have come since the last time."""
        own = newest(user, NAME, self._learnt)
        if own is None:
            return len(latest(user, self.least)) >= self.least
        return due(user, int(orjson.loads(own.payload)["records"]), self.refresh)

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Find each person's message; the model reads their choices under every sentence."""
        for user in users:
            asked = latest(user, self.comparisons)
            if len(asked) >= self.least:
                yield self._artifact(user, asked, ctx)

    def _artifact(self, user: User, asked: Sequence[Comparison], ctx: Context) -> Artifact:
        tried, malformed = self._sentences(asked, ctx)
        told = {"records": user.count, "malformed": dict(malformed), "against": list[str]()}
        told |= find(asked, tried, self.hold_out, self.beta, ctx)
        shared = None if told["lines"] else self._of_group(user, ctx.model.fingerprint)
        if shared is not None:
            (gain,) = gains(asked, [lines_of(shared)], self.beta, ctx)
            told["against"] = [shared.id] if gain < 0 else []
        return Artifact.new(
            user.id, NAME, method=NAME, settings=self._learnt, payload=orjson.dumps(told),
            record_ids=dict.fromkeys(one.record.id for one in asked), time=max(one.record.time for one in asked),
            base_model=ctx.model.fingerprint,
        )  # fmt: skip

    def _sentences(self, asked: Sequence[Comparison], ctx: Context) -> tuple[Mapping[str, Lines], Counter[str]]:
        """Return the sentences to try by dimension and name, and the dimensions that the writer left out or spoilt."""
        if not self.write:
            return SENTENCES, Counter()
        call = Call(({"role": "user", "content": asking(asked)},), sampling=Sampling(0.0, max_tokens=_WRITTEN_TOKENS))
        found = read((ctx.helper or ctx.model).generate([call])[0].text)
        tried = {
            name: {**given, **({"written": found[name]} if name in found else {})} for name, given in SENTENCES.items()
        }
        return tried, Counter(name for name in SENTENCES if name not in found)
