"""Log probabilities of given texts from a llama.cpp server, which gives them for tokens that it generates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from idiolect.errors import MalformedAnswer

_LIKELIEST = 1000
"""So many next tokens are asked for where continuations part; a rarer one is scored by itself."""
_ALL = 1 << 20


@dataclass(frozen=True, slots=True)
class Scorer:
    """Scores token sequences after a prompt; each step is one request with ``options`` to ``complete``.

    ``parts`` are the tokens that hold a part of a character, ``letter`` is one that holds a whole one.
    """

    complete: Callable[[dict[str, Any]], Mapping[str, Any]]
    options: Mapping[str, Any]
    parts: set[int]
    letter: int

    def score(self, prompt: list[int], sequences: Sequence[list[int]]) -> list[float]:
        """Return the summed log probability [nats] of each sequence; the prompt is read once, from its beginning."""
        self._predict(prompt, max_tokens=0, cache_prompt=False)
        return self._walk(prompt, sequences)

    def _walk(self, prompt: list[int], sequences: Sequence[list[int]]) -> list[float]:
        """Score token sequences after a prompt, following the tree of their common beginnings."""
        first = {tokens[0] for tokens in sequences if tokens}
        if not first:
            return [0.0] * len(sequences)
        shared = _common([tokens for tokens in sequences if tokens])
        if shared:
            seen = self._along(prompt, shared)
            rest = self._walk(prompt + shared, [tokens[len(shared) :] for tokens in sequences])
            return [seen + more if tokens else 0.0 for tokens, more in zip(sequences, rest, strict=True)]
        step = self._next(prompt)
        out = [0.0] * len(sequences)
        for token in sorted(first):
            group = [n for n, tokens in enumerate(sequences) if tokens and tokens[0] == token]
            seen = step[token] if token in step else self._along(prompt, [token])
            rest = self._walk([*prompt, token], [sequences[n][1:] for n in group])
            for n, more in zip(group, rest, strict=True):
                out[n] = seen + more
        return out

    def _along(self, prompt: list[int], sequence: list[int]) -> float:
        """Score one sequence; llama.cpp tells nothing of a token that leaves a character unfinished, so those alone."""
        total, at = 0.0, 0
        while at < len(sequence):
            run = list(takewhile(lambda token: token not in self.parts, sequence[at:]))
            before = prompt + sequence[:at]
            if run:
                total += self._forced(before, run)
            else:
                token = sequence[at]
                step = self._next(before)
                total += step[token] if token in step else self._next(before, _ALL)[token]
            at += len(run) or 1
        return total

    def _next(self, prompt: list[int], count: int = _LIKELIEST) -> dict[int, float]:
        """Return the log probabilities of the likeliest next tokens; a whole letter is drawn, whatever is likeliest."""
        answer = self._predict(prompt, max_tokens=1, grammar=_only([self.letter]), logprobs=count)
        try:
            rows = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
            return {int(row["id"]): float(row["logprob"]) for row in rows}
        except (KeyError, IndexError, TypeError) as error:
            raise MalformedAnswer("llama.cpp gave no log probabilities") from error

    def _forced(self, prompt: list[int], forced: list[int]) -> float:
        """Force tokens with a grammar of token ids, and sum what the model thought of each of them."""
        answer = self._predict(prompt, max_tokens=len(forced), grammar=_only(forced), logprobs=1)
        try:
            rows = answer["choices"][0]["logprobs"]["content"]
            scored = [(int(row["id"]), float(row["logprob"])) for row in rows]
        except (KeyError, IndexError, TypeError) as error:
            raise MalformedAnswer("llama.cpp gave no log probabilities") from error
        if [token for token, _ in scored] != forced:
            raise MalformedAnswer(f"llama.cpp scored {len(scored)} of {len(forced)} tokens")
        return float(sum(value for _, value in scored))

    def _predict(self, prompt: list[int], **options: Any) -> Mapping[str, Any]:
        return self.complete({"prompt": prompt, "id_slot": 0, "temperature": 0.0, **self.options, **options})


def _only(tokens: Sequence[int]) -> str:
    """Return the grammar that allows these tokens alone."""
    return "root ::= " + " ".join(f"<[{token}]>" for token in tokens)


def _common(sequences: Sequence[list[int]]) -> list[int]:
    """Return the tokens that all sequences begin with."""
    return [column[0] for column in takewhile(lambda column: len(set(column)) == 1, zip(*sequences, strict=False))]
