"""What every backend that draws its own tokens shares: refusals, mixing, drawing and stop texts."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence

import numpy as np

from idiolect.decoding.mixture import mixture
from idiolect.errors import InputError, UnsupportedCall
from idiolect.types import Call, Floats, LogitsProcessor, Sampling


def refuse_unmet(calls: Iterable[Call], backend: str, supports: frozenset[str]) -> None:
    """Raise :class:`UnsupportedCall` for the first need that is not among ``supports``, drafts' needs included."""
    for call in calls:
        for one in (call, *(call.choose.alternatives if call.choose else ())):
            unmet = sorted(one.needs - supports)
            if unmet:
                raise unsupported(backend, unmet[0])


def unsupported(backend: str, need: str) -> UnsupportedCall:
    """Return the error that names the backends which do support ``need``."""
    from idiolect.registry import backends

    able = [entry.name for entry in backends if need in entry.info["supports"] and entry.name != backend]
    return UnsupportedCall("the call", backend, need, able)


def check_lengths(calls: Sequence[Call], continuations: Sequence[str]) -> None:
    """Raise :class:`InputError` unless there is one continuation for each call."""
    if len(calls) != len(continuations):
        raise InputError(f"{len(calls)} calls but {len(continuations)} continuations; give one for each call")


def mixed(logits: Floats, call: Call) -> Floats:
    """Return the mixed logits of a call's branches, ``[branches, vocab] -> [vocab]``; without a mixture the row itself.

    Row by row and no matrix product, so that a batch gives the same bits as one call at a time.
    """
    if not call.mix:
        alone: Floats = logits[0].copy()
        return alone
    return mixture(log_softmax(logits), [branch.weight for branch in call.mix], call.plausibility)


def processed(logits: Floats, processors: Sequence[LogitsProcessor], answer: Sequence[int]) -> Floats:
    """Run the processors in order; ``answer`` holds the ids generated so far, the prompt not among them."""
    for process in processors:
        logits = process(answer, logits)
    return logits


def log_softmax(logits: Floats) -> Floats:
    """Return natural-log probabilities over the last axis, computed in double precision."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    wide -= np.log(np.exp(wide).sum(axis=-1, keepdims=True))
    return wide.astype(np.float32)


def draw(logits: Floats, sampling: Sampling, rng: np.random.Generator) -> int:
    """Draw one token id from ``logits [vocab]``; the most likely one at temperature 0 or ``None``."""
    if not sampling.temperature:
        return int(np.argmax(logits))
    probabilities = np.exp(log_softmax(logits / np.float32(sampling.temperature)).astype(np.float64))
    order = np.argsort(-probabilities, kind="stable")
    cumulative = np.cumsum(probabilities[order])
    top_p = 1.0 if sampling.top_p is None else sampling.top_p
    last = min(int(np.searchsorted(cumulative, top_p)), len(order) - 1)
    point = rng.random() * cumulative[last]
    return int(order[min(int(np.searchsorted(cumulative, point, side="right")), last)])


class TextOut:
    """Bytes in, text out: whole characters only, cut at the first stop text.

    The end of the text is held back while it could be the beginning of a stop text.
    """

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = tuple(text for text in stop if text)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self.stopped = False

    def feed(self, data: bytes, last: bool = False) -> str:
        """Return the text that is now certain; sets ``stopped`` once a stop text was met."""
        if self.stopped:
            return ""
        text = self._held + self._decoder.decode(data, last)
        cut = min((at for at in map(text.find, self._stop) if at >= 0), default=-1)
        if cut >= 0:
            self.stopped, self._held = True, ""
            return text[:cut]
        hold = 0 if last else max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - hold :]
        return text[: len(text) - hold]


def _overlap(text: str, stop: str) -> int:
    # Length of the longest end of `text` that is a proper beginning of `stop`.
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
