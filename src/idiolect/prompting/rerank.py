"""Rerank: of several drafts the one that the person's records make most likely, for models that give only text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from idiolect import registry
from idiolect.errors import ConfigError, UnsupportedCall
from idiolect.prompting.assembly import assemble
from idiolect.prompting.shared.feedback import block, find
from idiolect.registry import method
from idiolect.types import Backend, Call, Choose, Context, User

NAME = "rerank"


@dataclass(frozen=True)
class Gain:
    """How much more likely a draft is with personal text than without, by one model [nats per token]."""

    model: Backend
    personal: Call
    bare: Call

    def __call__(self, drafts: Sequence[str]) -> list[float]:
        """Score drafts in one batch; an empty one is the last choice."""
        calls = [call for _ in drafts for call in (self.personal, self.bare)]
        scores = self.model.logprobs(calls, [draft for draft in drafts for _ in range(2)])
        return [
            (scores[2 * n] - scores[2 * n + 1]) / max(1, self.model.count_tokens(draft)) if draft.strip() else -1e9
            for n, draft in enumerate(drafts)
        ]


@method(NAME, level="input", paper="arXiv:2507.04756 (own approximation by choosing among drafts)", needs=("choose",))
@dataclass(frozen=True)
class Rerank:
    """Draw several drafts and keep the one that the person's records make more likely by the most.

    CoSteer without the large model's logits: instead of adding the small model's difference at every token, whole
    drafts are chosen by its sum. The records go only to the model that judges (the helper, else the model itself);
    put ``retrieval`` before it to let the one that answers read them too.
    """

    n: int = 4
    """How many drafts are drawn."""
    k: int = 32
    """Candidate records; how many of them the judging model reads is decided by the token budget."""

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Ask for drafts and for the one with the largest mean difference.

        Raises :class:`UnsupportedCall` where the judging model gives no log probabilities, :class:`ConfigError` where
        another method chooses already.
        """
        offered = call.add(block(find(user, call.query, self.k), NAME, NAME))
        if offered is call:
            return call
        judge = ctx.helper or ctx.model
        if "logprobs" not in judge.supports:
            able = [entry.name for entry in registry.backends if "logprobs" in entry.info["supports"]]
            raise UnsupportedCall(NAME, type(judge).__name__, "logprobs", able)
        written = assemble(offered, ctx.tokens, judge.count_tokens)
        if written.messages == call.messages:
            return call
        if call.choose is not None:
            raise ConfigError(f"{NAME!r} and a method before it both choose among drafts; leave one of them out")
        score = Gain(judge, Call(written.messages), Call(call.messages))
        read = (used for used in written.used if used.method == NAME)
        return replace(call, choose=Choose(self.n, score), used=(*call.used, *read))
