"""What a backend over open weights offers besides answers: training many people's adapters at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from idiolect.types import Body, Call


@dataclass(frozen=True, slots=True)
class Example:
    """A call and the text that answered it: the call is read, the text (and the end of the turn) is learnt.

    Adapters of the call lie under the trained one and stay as they are; they are the same for all examples of a
    training. ``weight`` is how much the example counts beside the others of its step. The end of the turn is not learnt
    where the text was cut (``ends = False``).

    A comparison has a text too that was ``rejected`` for the other; ``margins`` say by how much each of several other
    objectives likes the text better than the rejected one, ``r_j(text) - r_j(rejected)``.
    """

    call: Call
    text: str
    weight: float = 1.0
    ends: bool = True
    rejected: str | None = None
    rejected_ends: bool = True
    margins: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """One adapter to train. ``key`` names it to whoever asked; nothing else of it depends on the name.

    ``held`` is never learnt: its loss is measured after each pass over the examples, and the best pass is kept.
    ``start`` is the adapter to go on from; without one it begins as no change at all.
    """

    key: str
    examples: Sequence[Example]
    held: Sequence[Example] = ()
    start: Body | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """How adapters are trained: LoRA (arXiv:2106.09685) by AdamW (arXiv:1711.05101)."""

    rank: int = 8
    alpha: float = 16.0
    """The change is scaled by ``alpha / rank``."""
    modules: tuple[str, ...] = ()
    """Last names of the linear modules that get a change (``q_proj``); empty for all linear modules of a layer."""
    layers: int = 0
    """Only the last so many layers are changed, 0 for all; what lies below is computed once for each example."""
    rate: float = 1e-3
    epochs: int = 3
    batch: int = 4
    """Examples of one person in a step."""
    warmup: float = 0.1
    """Part of the steps over which the rate rises."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    decay: float = 0.0
    """Weight decay."""
    clip: float = 1.0
    """Each person's gradient is cut to this norm."""
    proximal: float = 0.0
    """``proximal / 2`` times the squared distance to where training began is added to the loss."""
    patience: int = 0
    """End once the held-out loss has not fallen for so many passes; 0 makes all passes."""
    dtype: Literal["float32", "float16"] = "float16"
    """How the finished weights are written."""
    seed: int = 0
    objective: Literal["likelihood", "preference"] = "likelihood"
    """Learn texts, or that they were chosen over the rejected ones (DPO, arXiv:2305.18290): ``-log sigmoid(z)`` with
    ``z = beta * (log pi(text) / ref(text) - log pi(rejected) / ref(rejected))``. The reference is the model without
    the adapter, all that lies under it included."""
    beta: float = 0.1
    """How strongly the preference objective holds the model to the reference: higher moves it less."""
    weights: tuple[float, ...] = (1.0,)
    """Of several objectives ``w_0`` of the comparisons, then ``w_j`` of each margin (MODPO, arXiv:2310.03708):
    ``z`` becomes ``(z - sum_j w_j margin_j) / w_0``."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished adapter in PEFT's format.

    ``losses`` [nats a token, or a comparison] is the mean of each pass over the examples, ``held`` the held-out loss
    before the first pass and after each; both are empty where there was nothing to learn from or to hold out.
    """

    key: str
    body: Body
    losses: tuple[float, ...]
    held: tuple[float, ...]
    steps: int
    tokens: int
    """Supervised tokens of one pass."""
    seconds: float
    """This adapter's share of the time."""


@dataclass(frozen=True, slots=True)
class Vectors:
    """How people's vectors are trained beside a shared adapter (PLoRA, arXiv:2403.06208)."""

    width: int = 64
    """Numbers of a vector."""
    rate: float = 1e-2
    drop: float = 0.1
    """Part of the rows that is learnt without the person's vector, so that the shared adapter serves strangers."""


@dataclass(frozen=True, slots=True)
class Joint:
    """One adapter for everybody, and each person's own bias of the modules that it changes.

    ``projection`` (the form of an adapter with the person's vector for its input) makes a bias of a vector: the delta
    of a module times the vector.
    """

    shared: Trained
    projection: Body
    people: tuple[Trained, ...]


class Checkpoints(Protocol):
    """Where unfinished work is kept, sealed for the person it belongs to."""

    def load(self, key: str) -> bytes | None:
        """Return what was saved last under a job's key."""

    def save(self, key: str, data: bytes) -> None:
        """Keep unfinished work in the place of what was there; durable on return."""

    def drop(self, key: str) -> None:
        """Remove it."""


@runtime_checkable
class Trainable(Protocol):
    """What a backend over open weights also offers; ``"training"`` is then among :attr:`Backend.supports`."""

    def train(
        self,
        jobs: Iterable[Job],
        recipe: Recipe,
        *,
        progress: Callable[[int], None] | None = None,
        check: Callable[[], None] | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> Iterator[Trained]:
        """Train one adapter for each job, many at once over one frozen model, and yield each when it is finished.

        Jobs are taken as places become free, so that memory does not grow with their number; an adapter is the same
        whatever is trained beside it. ``progress`` is told how many examples were learnt from since it was told last,
        ``check`` may raise to end the work between two steps. With ``checkpoints`` a killed run goes on where it
        stopped and ends with the same weights.
        """


@runtime_checkable
class TrainsJointly(Protocol):
    """What a backend over open weights also offers; ``"joint_training"`` is then among :attr:`Backend.supports`."""

    def train_jointly(
        self,
        jobs: Sequence[Job],
        recipe: Recipe,
        vectors: Vectors,
        *,
        progress: Callable[[int], None] | None = None,
        check: Callable[[], None] | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> Joint:
        """Train one adapter on the examples of all jobs, and with it a vector for each of these people.

        Every changed module gives ``W x + s B (A x + P e)`` for a person's vector ``e``, which begins at zero: a
        person's part ``s B P e`` is the same at every position, a bias. A step takes examples of whomever they are.
        With ``checkpoints`` a killed run goes on where it stopped and ends with the same weights; what is kept for
        :data:`~idiolect.types.EVERYONE`, when it is finished too, is for the caller to drop.
        """

    def train_vectors(
        self,
        jobs: Iterable[Job],
        shared: Body,
        projection: Body,
        recipe: Recipe,
        vectors: Vectors,
        *,
        progress: Callable[[int], None] | None = None,
        check: Callable[[], None] | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> Iterator[Trained]:
        """Train a vector for each of other people, all else as it is, many at once; yield each one's bias.

        A vector is the same whatever is trained beside it. ``checkpoints`` are as for :meth:`Trainable.train`.
        """
