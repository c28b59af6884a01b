"""Group message: how the people of a group want to be answered, or everybody does, read off what they chose.

The middle and the widest of three grains (a person, a persona, everybody; survey arXiv:2411.00027, section 4) for the
system messages of Janus (arXiv:2405.17977). Its sentences are given ones: no text of one person reaches another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any, Final

import orjson

from idiolect.adaptation.shared.attach import plain
from idiolect.alignment.shared.choices import latest
from idiolect.alignment.shared.comparisons import Comparison
from idiolect.alignment.shared.groups import ALL, by_group, groups_of
from idiolect.alignment.shared.messages import find, lines_of, said
from idiolect.alignment.shared.values import SENTENCES
from idiolect.registry import method
from idiolect.types import EVERYONE, Artifact, Call, Context, User

NAME: Final = "group_message"
Chosen = list[Comparison]


@method(NAME, level="objective", paper="arXiv:2411.00027 section 4", fit_needs=("logprobs",), together=True)
@dataclass(frozen=True)
class GroupMessage:
    """Say in the prompt how the people of the person's group want to be answered, or how everybody does.

    Groups are what the operator says of people (``idiolect groups``). A message is learnt from the choices of a group's
    people who share, and has at most one sentence for each of style, background knowledge, informativeness and
    harmlessness. ``system_message`` falls back on it.
    """

    people: int = 3
    """A group in which fewer people share choices gets no message."""
    comparisons: int = 16
    """So many of a person's latest choices are learnt from at most."""
    pool: int = 48
    """So many choices are learnt from for a group, its people's latest in turn."""
    hold_out: float = 0.25
    """Part of the choices, the newest, that must be likelier under a message for it to serve; of under 8 none is."""
    beta: float = 0.1
    """How surely people take the text that a message makes likelier (DPO's beta)."""
    share: float = 1.0
    """Part of the token budget relative to the other slots."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Offer the message as a stable block; nothing for somebody without history."""
        found = self.current(user, ctx.model.fingerprint) if user.count else None
        return call if found is None else said(call, found, NAME, self.share)

    def current(self, user: User, base_model: str) -> Artifact | None:
        """Return the message of the narrowest of a person's groups that has one, else that of everybody, or none."""
        messages = (
            one for one in user.artifacts
            if one.method == NAME and one.base_model == base_model and one.settings == self._learnt
        )  # fmt: skip
        return next((one for one in by_group(user, messages) if lines_of(one)), None)

    @property
    def _learnt(self) -> dict[str, Any]:
        return plain(self, without=("share",))

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Find the message of each group with enough people, and of everybody."""
        groups = dict[str, list[Chosen]]()
        for user in users:
            chosen = latest(user, self.comparisons)
            for name in groups_of(user) if chosen else ():
                groups.setdefault(name, []).append(chosen)
        for name, people in groups.items():
            if name == ALL or len(people) >= self.people:
                yield self._artifact(name, self._in_turn(people), ctx)

    def _in_turn(self, people: Sequence[Chosen]) -> Chosen:
        """Return people's latest choices in turn, as many as are learnt from, oldest first."""
        each = chain.from_iterable(zip_longest(*(reversed(chosen) for chosen in people)))
        asked = [one for one in each if one is not None][: self.pool]
        return sorted(asked, key=lambda one: one.record.time)

    def _artifact(self, group: str, asked: Chosen, ctx: Context) -> Artifact:
        told = {"group": group, **find(asked, SENTENCES, self.hold_out, self.beta, ctx)}
        return Artifact.new(
            EVERYONE, NAME, method=NAME, settings=self._learnt, payload=orjson.dumps(told), record_ids=(),
            time=asked[-1].record.time, base_model=ctx.model.fingerprint,
            people={one.record.user_id for one in asked},
        )  # fmt: skip
