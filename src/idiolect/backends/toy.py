"""A language model for tests: deterministic, numpy alone, no files.

It reads bytes. The next byte follows what followed the same bytes in the prompt, over a fixed weak preference for
letters: text that stands in the messages becomes more likely, in a way that a test can predict.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from idiolect.backends._generation import (
    TextOut,
    check_lengths,
    draw,
    log_softmax,
    mixed,
    processed,
    refuse_unmet,
)
from idiolect.decoding.branches import sources_of
from idiolect.decoding.choosing import generate_chosen, whole
from idiolect.errors import InputError, ModelError
from idiolect.registry import backend
from idiolect.types import Call, Chunk, Completion, Floats, Message, text_of

END = 256
"""The id that ends an answer; ids below it are bytes."""
VOCAB = 257
_ORDERS = (1, 2, 3, 4)
_PROXY = 0.5
"""How strong the smaller model is beside the toy itself."""


def _base() -> Floats:
    # [previous id, next id]: letters and spaces are likely, the rest is not, plus a fixed ripple that breaks ties.
    previous, following = np.ogrid[:VOCAB, :VOCAB]
    table = np.sin(previous * 12.9898 + following * 78.233)
    likely = np.zeros(VOCAB)
    likely[32:127] = 2.0
    likely[97:123] = 3.0
    likely[32] = 3.5
    table[ord("\n"), END] = 40.0  # a line is an answer
    return (0.5 * table + likely).astype(np.float32)


def render(messages: Sequence[Message]) -> bytes:
    """Return the prompt: one ``<role>text`` line a message, then the line that the answer continues."""
    lines = [f"<{message.get('role', 'user')}>{text_of(message)}\n" for message in messages]
    return ("".join(lines) + "<assistant>").encode("utf-8", "replace")


class _Prompt:
    """What follows each run of 1 to 4 bytes of one prompt."""

    def __init__(self, text: bytes, base: Floats, strength: float) -> None:
        self.text, self._base, self._strength = text, base, strength
        self._follow: dict[bytes, Counter[int]] = defaultdict(Counter)
        for order in _ORDERS:
            for at in range(order, len(text)):
                self._follow[text[at - order : at]][text[at]] += 1

    def logits(self, answer: bytes) -> Floats:
        """Return ``[vocab]`` for the byte after ``answer``."""
        seen = self.text[-max(_ORDERS) :] + answer
        row: Floats = self._base[seen[-1]].copy()
        for order in _ORDERS:
            for following, count in self._follow.get(seen[-order:], {}).items():
                row[following] += np.float32(self._strength * order * np.log1p(count))
        return row


@backend("toy", supports=("logprobs", "mix", "logits_processors", "choose", "proxy"))
@dataclass
class ToyBackend:
    """A deterministic stand-in that echoes its prompt; for tests and dry runs.

    ``strength`` says how much the prompt counts, ``context`` is the largest prompt in bytes (its tokens). Its proxy is
    the same toy with half the strength.
    """

    strength: float = 1.0
    max_tokens: int = 32
    context: int = 1 << 20

    supports = frozenset[str]()  # set by @backend

    def __post_init__(self) -> None:
        self._table: Floats | None = None

    @property
    def fingerprint(self) -> str:
        """Name and settings."""
        return f"toy:{self.strength}"

    @property
    def proxy_model(self) -> ToyBackend:
        """The smaller model."""
        return replace(self, strength=self.strength * _PROXY)

    def count_tokens(self, text: str) -> int:
        """Return the number of UTF-8 bytes."""
        return len(text.encode("utf-8", "replace"))

    def generate(self, calls: Sequence[Call]) -> list[Completion]:
        """Answer each call; the answers do not depend on what else is in the batch."""
        refuse_unmet(calls, "toy", self.supports)
        return generate_chosen(calls, lambda plain: [self._answer(call) for call in plain])

    def stream(self, call: Call) -> Iterator[Chunk]:
        """Yield an answer byte by byte (whole characters), the last chunk with the counts."""
        refuse_unmet([call], "toy", self.supports)
        return self._stream(call) if call.choose is None else whole(self.generate([call])[0])

    def logprobs(self, calls: Sequence[Call], continuations: Sequence[str]) -> list[float]:
        """Return the summed log probability [nats] of each continuation, the end of the answer not counted."""
        check_lengths(calls, continuations)
        refuse_unmet(calls, "toy", self.supports)
        return [self._score(call, text.encode("utf-8")) for call, text in zip(calls, continuations, strict=True)]

    def logits(self, call: Call, answer: bytes = b"") -> Floats:
        """Return the mixed and processed logits ``[257]`` of the byte after ``answer``; for tests."""
        return self._next(call, self._prompts(call), answer)

    def close(self) -> None:
        """Nothing to release."""

    def _prompts(self, call: Call) -> list[_Prompt]:
        if self._table is None:
            self._table = _base()
        weaker = self.strength * _PROXY
        texts = [(render(one.messages), weaker if one.proxy else self.strength) for one in sources_of(call)]
        longest = max(len(text) for text, _ in texts)
        if longest > self.context:
            raise InputError(f"the prompt has {longest} tokens, the model reads at most {self.context}")
        return [_Prompt(text, self._table, strength) for text, strength in texts]

    def _next(self, call: Call, prompts: list[_Prompt], answer: bytes) -> Floats:
        rows = np.stack([prompt.logits(answer) for prompt in prompts])
        return processed(mixed(rows, call), call.logits_processors, list(answer))

    def _answer(self, call: Call) -> Completion:
        chunks = list(self._stream(call))
        text, last = "".join(chunk.text for chunk in chunks), chunks[-1]
        message = {"role": "assistant", "content": text}
        return Completion(text, last.finish_reason or "stop", last.tokens_in, last.tokens_out, message)

    def _stream(self, call: Call) -> Iterator[Chunk]:
        prompts = self._prompts(call)
        rng = np.random.default_rng(call.sampling.seed or 0)
        out, answer, reason = TextOut(call.sampling.stop), b"", "length"
        for _ in range(self.max_tokens if call.sampling.max_tokens is None else call.sampling.max_tokens):
            token = draw(self._next(call, prompts, answer), call.sampling, rng)
            if token == END:
                reason = "stop"
                break
            answer += bytes([token])
            if text := out.feed(answer[-1:]):
                yield Chunk(text)
            if out.stopped:
                reason = "stop"
                break
        yield Chunk(out.feed(b"", last=True), reason, len(prompts[0].text), len(answer))

    def _score(self, call: Call, text: bytes) -> float:
        prompts = self._prompts(call)
        rows = (log_softmax(self._next(call, prompts, text[:at]))[byte] for at, byte in enumerate(text))
        return float(sum(float(row) for row in rows))


class ScriptedBackend:
    """A backend for tests: it answers from a script and keeps every call it saw in ``calls``.

    ``answers`` is a queue, or a function from the call to its answer. ``scores`` gives the log probability of a
    continuation. All needs are accepted unless ``supports`` says otherwise. A queue that is empty raises
    :class:`ModelError`; an exception in the queue is raised in its turn.
    """

    supports = frozenset({"logprobs", "mix", "steering", "adapters", "soft_prompt", "choose", "logits_processors"})
    fingerprint = "scripted"

    def __init__(
        self,
        answers: Sequence[str | Completion | Exception] | Callable[[Call], str | Completion] = (),
        *,
        scores: Callable[[Call, str], float] | None = None,
        supports: frozenset[str] | None = None,
    ) -> None:
        self._answers = answers if callable(answers) else list(answers)
        self._scores = scores
        self.supports = self.supports if supports is None else supports
        self.calls: list[Call] = []
        self.closed = False

    def count_tokens(self, text: str) -> int:
        """Return the number of words."""
        return len(text.split())

    def generate(self, calls: Sequence[Call]) -> list[Completion]:
        """Answer each call from the script."""
        refuse_unmet(calls, "scripted", self.supports)
        return [self._answer(call) for call in calls]

    def stream(self, call: Call) -> Iterator[Chunk]:
        """Yield the scripted answer word by word."""
        whole = self.generate([call])[0]
        return self._pieces(whole)

    def logprobs(self, calls: Sequence[Call], continuations: Sequence[str]) -> list[float]:
        """Return what ``scores`` says."""
        if self._scores is None:
            raise ModelError("this script has no scores; give ScriptedBackend(scores=...)")
        self.calls.extend(calls)
        return [self._scores(call, text) for call, text in zip(calls, continuations, strict=True)]

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True

    def _answer(self, call: Call) -> Completion:
        self.calls.append(call)
        if callable(self._answers):
            answer: str | Completion | Exception = self._answers(call)
        elif self._answers:
            answer = self._answers.pop(0)
        else:
            raise ModelError("the script has no answer left")
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Completion) else self._completion(call, answer)

    def _completion(self, call: Call, text: str) -> Completion:
        words_in = sum(self.count_tokens(text_of(message)) for message in call.messages)
        message = {"role": "assistant", "content": text}
        return Completion(text, "stop", words_in, self.count_tokens(text), message)

    def _pieces(self, whole: Completion) -> Iterator[Chunk]:
        words = whole.text.split(" ")
        for at, word in enumerate(words):
            yield Chunk(word if at == 0 else " " + word)
        yield Chunk("", whole.finish_reason, whole.tokens_in, whole.tokens_out)
