"""The values everything else is written around.

A personalization method is an edit of one value, the :class:`Call`. All types here are frozen: a method returns a new
``Call``, it never changes the one it was given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from idiolect.artifact import Artifact as Artifact
from idiolect.artifact import Body as Body
from idiolect.completion import Chunk as Chunk
from idiolect.completion import Completion as Completion
from idiolect.equality import Equal
from idiolect.records import KINDS as KINDS
from idiolect.records import Hit as Hit
from idiolect.records import Kind as Kind
from idiolect.records import Record as Record
from idiolect.records import State as State
from idiolect.records import Wishes as Wishes
from idiolect.records import record_id as record_id

if TYPE_CHECKING:
    from idiolect.peers import Peers
    from idiolect.trainable import Checkpoints

Floats = npt.NDArray[np.float32]
Message = Mapping[str, Any]
"""One chat message in OpenAI form; keys that are not ours (``tool_calls``, image parts ...) are carried untouched."""

Level = Literal["input", "model", "objective", "trust"]

EVERYONE = "*"
"""Owner of artifacts that were learnt from many people; no user can have this id."""


class User(Protocol):
    """A read-only view of one user, handed to methods. Nothing at or after ``now`` can be reached through it."""

    @property
    def id(self) -> str:
        """The caller's own name for the user."""

    @property
    def now(self) -> float:
        """Seconds since the epoch; infinite where the request sets no limit."""

    @property
    def groups(self) -> tuple[str, ...]:
        """Persona-level groups, the narrowest first."""

    @property
    def count(self) -> int:
        """Number of records before ``now``; cheap where ``now`` sets no limit."""

    @property
    def history(self) -> Sequence[Record]:
        """All records before ``now``, oldest first; read from the store on first use."""

    @property
    def artifacts(self) -> Sequence[Artifact]:
        """Fresh artifacts before ``now``, newest first, the own ones before those of :data:`EVERYONE`.

        An artifact whose records are gone is not among them.
        """

    def search(self, query: str, k: int = 10, *, kinds: Sequence[Kind] = ()) -> list[Hit]:
        """Return the ``k`` best records for ``query`` in falling score; ``kinds`` limits them to those kinds."""

    def neighbours(self, record_id: str, before: int = 1, after: int = 1) -> list[Record]:
        """Return the records around one, in its own session, oldest first, itself included."""

    def embedded(self, record_ids: Sequence[str]) -> Floats | None:
        """Return the stored vectors ``[len(record_ids), dim]`` of some records, zeros for one that has none.

        ``None`` where the store keeps no vectors of the embedder that is in use.
        """

    def since(self, time: float) -> list[Record]:
        """Return the records from ``time`` on, oldest first, without reading the others."""

    def states(self, record_ids: Sequence[str]) -> Mapping[str, State]:
        """Return what has happened to some records; those to which nothing has are left out."""

    @property
    def standing(self) -> Sequence[Record]:
        """The records that are always in mind, oldest first, those that no longer hold left out.

        Pinned ones, and those whose ``meta["always"]`` is true.
        """

    @property
    def slots(self) -> Mapping[str, str]:
        """For what a person has one of at a time (``meta["slot"]``: home, diet ...) the id of the newest record."""

    @property
    def wishes(self) -> Wishes:
        """What the person wants of their memory."""

    def before(self, time: float) -> User:
        """Return the same person as of ``time`` (never later than ``now``), what was learnt since left out."""


@dataclass(frozen=True, slots=True)
class Used:
    """One thing that shaped an answer, and why; ``text`` and ``header`` are its lines of the prompt.

    ``owner`` is the id of another person whose record it is; it is empty for the person's own. What is ``ephemeral``
    (a guess about how the person feels) serves this one answer: its text is kept nowhere, not in the trace either.
    """

    what: Literal["record", "artifact"]
    id: str
    method: str
    slot: str
    score: float = 0.0
    parts: Mapping[str, float] = field(default_factory=dict)
    text: str = ""
    header: str = ""
    owner: str = ""
    ephemeral: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """One piece of personal text that a method offers to the prompt, and where it came from.

    ``header`` groups items under one line (a date, a session), so that it is paid for once. ``order`` places the
    item in the text (time order reads better than rank order); which items enter is decided by ``score``.
    """

    text: str
    used: Used
    score: float = 0.0
    header: str = ""
    order: float = 0.0


@dataclass(frozen=True, slots=True)
class Block:
    """A named slot of the prompt with the items a method offers for it.

    ``share`` is the slot's part of the token budget relative to the other slots; what it leaves unused goes to the
    slots after it. ``stable`` blocks change rarely and stand first, so that a prefix cache helps. With ``turns`` the
    items are earlier exchanges, shown as chat messages before the conversation, without a title: ``header`` is what was
    asked, ``text`` the answer.
    """

    slot: str
    title: str
    items: tuple[Item, ...]
    share: float = 1.0
    stable: bool = False
    turns: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Steer(Equal):
    """Add ``strength * vector`` to the output ``h`` of ``layer`` at generated positions; vector ``[hidden]``.

    With ``along`` it is ``strength * <h, vector> * vector`` that is added: with a vector of length 1 and a strength of
    -1 the layer's output loses that direction. Of several at one layer each sees ``h`` as the layer gave it.
    """

    layer: int
    vector: Floats
    strength: float = 1.0
    along: bool = False


@dataclass(frozen=True, slots=True)
class Adapter:
    """Add ``weight`` times a low-rank change of the model's weights; several add up, in weight space.

    ``id`` is the artifact's, ``body`` holds the change in PEFT's format (:mod:`idiolect.training.peft_format`).
    """

    id: str
    weight: float
    body: Body


@dataclass(frozen=True, slots=True)
class Branch:
    """One weighted source of a logit mixture; without ``messages`` it reads the call's own prompt, with personal text.

    The mixture is ``l_0 + sum_i weight_i * clip(l_i - l_0)`` over log probabilities ``l``, where ``l_0`` is the first
    branch and the weights sum to 1 (:mod:`idiolect.decoding.mixture`). Soft prompt, steering and adapters of the call
    belong to the branches that read its own prompt; ``instruction`` stands at the end of such a prompt's system
    message. ``adapters`` take the place of those that the branch would meet: ``()`` is the model without any. A branch
    with ``proxy`` is read by the backend's second, smaller model (:class:`idiolect.inside.Proxied`), and meets nothing
    of the call but what it brings.
    """

    messages: tuple[Message, ...] | None
    weight: float
    instruction: str = ""
    adapters: tuple[Adapter, ...] | None = None
    proxy: bool = False


@dataclass(frozen=True, slots=True)
class Option:
    """One thing that may be answered: ``label`` is what is said, ``text`` what it stands for (empty: the label).

    ``item`` names it where people have records about it.
    """

    label: str
    text: str = ""
    item: str = ""


@dataclass(frozen=True, slots=True)
class Choose:
    """Draw ``n`` drafts and keep the one ``score`` likes best; ``score(drafts) -> one number each``.

    With ``alternatives`` each of these calls is answered ``n`` times instead of the call itself, drafts in that order.
    With ``given`` nothing is drafted: these texts are what is chosen among, and the model is not asked.
    """

    n: int
    score: Callable[[Sequence[str]], Sequence[float]]
    alternatives: tuple[Call, ...] = ()
    given: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to draw tokens; ``None`` leaves the backend's own default."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()


LogitsProcessor = Callable[[Sequence[int], Floats], Floats]
"""``(token ids so far, logits [vocab]) -> logits [vocab]``."""


@dataclass(frozen=True, slots=True, eq=False)
class Call(Equal):
    """All that a backend needs for one generation.

    ``context`` holds personal text as named blocks until :func:`idiolect.prompting.assembly.assemble` writes them into
    ``messages`` under the token budget. ``extra`` is everything else the client sent, forwarded untouched. ``focus``
    is the part of the last user message that says what it is about, where the caller knows it: instructions and lists
    of labels would mislead the search. ``item`` names the thing asked about, where others may have records about it
    (``meta["item"]``), ``session`` the conversation. ``options`` are what may be answered, where the caller gives a
    choice. ``plausibility`` leaves a mixture only the tokens that the first branch gives at least that part of its best
    token's probability.
    """

    messages: tuple[Message, ...]
    focus: str = ""
    item: str = ""
    session: str = ""
    options: tuple[Option, ...] = ()
    context: tuple[Block, ...] = ()
    soft_prompt: Floats | None = None  # [tokens, hidden]
    mix: tuple[Branch, ...] = ()
    plausibility: float = 0.0
    steering: tuple[Steer, ...] = ()
    adapters: tuple[Adapter, ...] = ()
    choose: Choose | None = None
    logits_processors: tuple[LogitsProcessor, ...] = ()
    sampling: Sampling = Sampling()
    extra: Mapping[str, Any] = field(default_factory=dict)
    used: tuple[Used, ...] = ()

    @property
    def needs(self) -> frozenset[str]:
        """The names of the non-empty fields that a backend must support."""
        present = {
            "soft_prompt": self.soft_prompt is not None,
            "mix": bool(self.mix),
            "proxy": any(branch.proxy for branch in self.mix),
            "steering": bool(self.steering),
            "adapters": bool(self.adapters) or any(branch.adapters for branch in self.mix),
            "choose": self.choose is not None,
            "logits_processors": bool(self.logits_processors),
        }
        return frozenset(name for name, here in present.items() if here)

    @property
    def query(self) -> str:
        """What retrieval searches for: the focus, else the text of the last user message."""
        return self.focus or next((text_of(m) for m in reversed(self.messages) if m.get("role") == "user"), "")

    def add(self, block: Block) -> Call:
        """Return this call with one more block of personal text; an empty block changes nothing."""
        return replace(self, context=(*self.context, block)) if block.items else self


def text_of(message: Message) -> str:
    """Return a message's text; the text parts joined where the content is a list of parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        return "\n".join(str(p.get("text", "")) for p in content if isinstance(p, Mapping) and "text" in p)
    return ""


@dataclass(frozen=True, slots=True)
class Turn:
    """One finished exchange: the messages as the client sent them (no personal text added), and the answer."""

    messages: tuple[Message, ...]
    answer: str
    time: float
    session: str = ""
    trace_id: str = ""
    used: tuple[str, ...] = ()
    """Ids of the records that shaped the answer."""

    @property
    def said(self) -> str:
        """What the user said last."""
        return text_of(self._latest)

    @property
    def speaker(self) -> str:
        """Who said it, where several people speak and the client names them (OpenAI's ``name``)."""
        return str(self._latest.get("name") or "")

    @property
    def _latest(self) -> Message:
        return next((m for m in reversed(self.messages) if m.get("role") == "user"), {})


@dataclass(frozen=True, slots=True)
class Learnt:
    """What ``observe`` made of a turn; ``failures`` counts malformed model answers by name, never hidden.

    ``states`` says what happened to earlier records, or to the new ones (:meth:`State.merged`); ``counts`` what was
    decided how often (what was not kept, and why).
    """

    records: tuple[Record, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    failures: Mapping[str, int] = field(default_factory=dict)
    states: Mapping[str, State] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)

    def plus(self, more: Learnt) -> Learnt:
        """Return what both say."""
        states = dict(self.states)
        for rid, news in more.states.items():
            states[rid] = states[rid].merged(news) if rid in states else news
        return Learnt(
            (*self.records, *more.records), (*self.artifacts, *more.artifacts),
            Counter(self.failures) + Counter(more.failures), states, Counter(self.counts) + Counter(more.counts),
        )  # fmt: skip


@runtime_checkable
class Embedder(Protocol):
    """Texts to unit vectors. ``fingerprint`` changes whenever the same text would get another vector."""

    @property
    def dim(self) -> int:
        """Length of a vector."""

    @property
    def fingerprint(self) -> str:
        """Name and content hash of the weights."""

    def embed(self, texts: Sequence[str]) -> Floats:
        """Return ``[len(texts), dim]`` unit vectors."""


@runtime_checkable
class Backend(Protocol):
    """A language model. Batch first, synchronous; the server alone is asynchronous."""

    supports: frozenset[str]
    """Which of :attr:`Call.needs` it can do, and ``logprobs`` where it can score continuations."""

    @property
    def fingerprint(self) -> str:
        """Name and content hash of the weights, or the endpoint's address and model name."""

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of ``text``, or a safe over-estimate where the tokenizer is not at hand."""

    def generate(self, calls: Sequence[Call]) -> list[Completion]:
        """Answer a batch; as many answers as calls, in order."""

    def stream(self, call: Call) -> Iterator[Chunk]:
        """Answer one call piece by piece."""

    def logprobs(self, calls: Sequence[Call], continuations: Sequence[str]) -> list[float]:
        """Return the summed log probability [nats] of each continuation after its call."""

    def close(self) -> None:
        """Release the model."""


@runtime_checkable
class Keeps(Protocol):
    """What a backend also offers that hands adapters to another program, which keeps them beyond the call."""

    def prepare(self, call: Call) -> None:
        """Raise :class:`idiolect.errors.InputError` for a call whose adapters cannot be served."""

    def forget(self, artifact_ids: Iterable[str]) -> None:
        """Have the other program let go of all that was made from some artifacts, for good."""


@dataclass(frozen=True, slots=True)
class Template:
    """How questions of the kind at hand are asked: an example with its focus, and what may be answered, if known.

    ``measure`` says how an answer of free text is judged: by the likelihood of what the person wrote, or by what the
    model writes.
    """

    call: Call
    options: tuple[str, ...] = ()
    measure: Literal["likelihood", "text"] = "likelihood"


@dataclass(frozen=True, slots=True)
class Context:
    """What methods may use besides the user: the model, the embedder, the clock and a random generator."""

    model: Backend
    clock: Callable[[], float]
    rng: np.random.Generator
    embedder: Embedder | None = None
    progress: Callable[[int, int], None] | None = None
    """Called with (done, total) on long work."""
    peers: Peers | None = None
    helper: Backend | None = None
    """Another model that writes or judges for the one that answers; without one the model itself does."""
    tokens: int = 600
    """Budget of the personal part of a prompt."""
    template: Template | None = None
    """Where methods learn for one kind of question: what it looks like."""
    check: Callable[[], None] | None = None
    """Called between the steps of long work; raises :class:`idiolect.errors.Stopped` where it is to end."""
    checkpoints: Checkpoints | None = None
    """Where a fit keeps what it has not finished, under the person's id; what is learnt for everyone under
    :data:`EVERYONE`. Whoever is erased meanwhile has nothing kept."""


class Method(Protocol):
    """A frozen dataclass with hyper-parameters for fields; registered with :func:`idiolect.registry.method`.

    May also define ``fit(users, ctx) -> Iterator[Artifact]`` (offline) and ``observe(turn, user, ctx) -> Learnt``
    (after an answer).
    """

    def apply(self, call: Call, user: User, ctx: Context) -> Call:
        """Return the personalized call; the same call where there is nothing to add."""


@runtime_checkable
class Fits(Protocol):
    """A method that learns offline."""

    def fit(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Yield artifacts for the users, one user's at a time."""


@runtime_checkable
class Places(Protocol):
    """A method that learns from many people together, and keeps something small of each person beside it.

    With ``stale(user) -> bool`` it is placed again after a turn that makes it so.
    """

    def place(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Yield what people get of what was learnt already, whether they share or not; costs no training."""


@runtime_checkable
class Proves(Protocol):
    """A method that measures on people's own latest records what serves them; costs model calls."""

    def due(self, user: User, model: str) -> bool:
        """Whether it is time to measure (again) with the model of this fingerprint."""

    def prove(self, users: Iterable[User], ctx: Context) -> Iterator[Artifact]:
        """Yield what was measured, as artifacts."""


@runtime_checkable
class Observes(Protocol):
    """A method that learns from a finished turn."""

    def observe(self, turn: Turn, user: User, ctx: Context) -> Learnt:
        """Return what to keep of a turn; called off the critical path."""
