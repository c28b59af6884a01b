"""What a person would choose of given options, how sure that is, and what to ask them to be surer.

The methods that judge (:class:`idiolect.alignment.shared.asking.Judges`) say what is known of the person's taste;
:mod:`idiolect.alignment.shared.asking` says which two options to show next, and when to stop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from idiolect.alignment.shared.asking import LIMIT, SURE, Judged, Judges, Pair, best_chances, next_pair
from idiolect.alignment.shared.asking import interview as ask_pairs
from idiolect.alignment.shared.comparisons import comparisons
from idiolect.alignment.shared.posterior import Doubles, draw_shares
from idiolect.config import MethodSpec
from idiolect.errors import ConfigError, NotFound
from idiolect.memory.choices import check, chosen, text_of
from idiolect.pipeline import Idiolect
from idiolect.prompting.assembly import Named
from idiolect.registry import methods as known_methods
from idiolect.registry import with_parts
from idiolect.store.view import view
from idiolect.types import Call, Message, Option, Record, User

log = logging.getLogger("idiolect")


@dataclass(frozen=True, slots=True)
class Ranked:
    """One option and how likely the person is to take it."""

    option: Option
    position: int
    """Where it stands among the options as they were given, from 0."""
    chance: float
    """The probability that the person takes it of all the options."""
    spread: float
    """The standard deviation of this probability over what is not known of the person's taste."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Options in the order in which a person likes them, and what to ask them next."""

    ranking: tuple[Ranked, ...]
    """In falling chance."""
    ask: Pair | None
    """The positions of the two options to show the person next; ``None`` where no question is left or needed."""
    sure: float
    """How likely one option is the one that the person likes best."""
    best: int
    """The position of that option."""
    method: str
    """The method that judged."""


@dataclass(frozen=True, slots=True)
class Interviewed:
    """What a person was asked, and their ranking afterwards."""

    asked: tuple[Pair, ...]
    """Positions of the options of each question."""
    taken: tuple[int, ...]
    """The position of the one that was taken, for each question."""
    result: Ranking


def rank(
    app: Idiolect,
    asked: str | Sequence[Message],
    options: Sequence[Option | str],
    user: str,
    *,
    methods: Sequence[MethodSpec] | None = None,
    item: str = "",
    now: float | None = None,
    sure: float = SURE,
) -> Ranking:
    """Rank what may be answered to a prompt or a conversation as a person would.

    ``methods`` are looked through for one that judges, the default ones where it is ``None``. ``item`` names what is
    asked about. The question to ask next is ``None`` once one option is the best with a probability above ``sure``;
    pairs that the person has compared before are not asked again. Raises :class:`ConfigError` where no method judges,
    :class:`NotFound` where nothing was learnt yet, :class:`InputError` for fewer than two options.
    """
    call = _call(asked, options, item)
    seen = view(app.store, user, now, app.clock())
    name, judged = _judged(app, call, seen, methods)
    chances = best_chances(judged.x, judged.mean, judged.covariance)
    pair = None
    if chances.max() <= sure:
        pair = next_pair(judged.x, judged.mean, judged.covariance, compared(seen, call))
    return _ranking(call.options, judged.chances, judged.spread, chances, pair, name)


def next_question(
    app: Idiolect,
    asked: str | Sequence[Message],
    options: Sequence[Option | str],
    user: str,
    *,
    methods: Sequence[MethodSpec] | None = None,
    sure: float = SURE,
) -> Pair | int:
    """Return the positions of the two options to show the person next, or the position of the one to settle on."""
    found = rank(app, asked, options, user, methods=methods, sure=sure)
    return found.best if found.ask is None else found.ask


def choose(
    app: Idiolect,
    prompt: str,
    options: Sequence[Option | str],
    choice: int,
    user: str,
    *,
    item: str = "",
    methods: Sequence[MethodSpec] | None = None,
) -> Record:
    """Keep what a person took of options, and return its record; the next ranking knows of it.

    The same choice made twice in a row is kept once. Raises :class:`InputError` for a choice that cannot be kept.
    """
    record = _keep(app, prompt, [_option(one) for one in options], choice, user, item)
    _bring_up_to_date(app, user, methods)
    return record


def interview(
    app: Idiolect,
    prompt: str,
    options: Sequence[Option | str],
    user: str,
    answer: Callable[[int, int], int | None],
    *,
    methods: Sequence[MethodSpec] | None = None,
    item: str = "",
    limit: int = LIMIT,
    sure: float = SURE,
) -> Interviewed:
    """Ask a person pair by pair until one option is the best with a probability above ``sure``, and rank the options.

    ``answer(first, second)`` shows two options, named by their positions, and returns the one that is taken, ``None``
    to end it. Each answer is kept as a record at once. Raises what :func:`rank` and :func:`choose` raise.
    """
    call = _call(prompt, options, item)
    seen = view(app.store, user, None, app.clock())
    name, judged = _judged(app, call, seen, methods)

    def told(first: int, second: int) -> int | None:
        taken = answer(first, second)
        if taken in (first, second):
            pair = [call.options[first], call.options[second]]
            _keep(app, prompt, pair, (first, second).index(taken), user, item)
        return taken

    before = compared(seen, call)
    done = ask_pairs(judged.x, judged.mean, judged.covariance, told, limit, sure, before)
    if done.asked:
        _bring_up_to_date(app, user, methods)
    drawn = draw_shares(judged.x, done.mean, done.covariance)
    open_pair = None
    if done.sure <= sure:
        open_pair = next_pair(judged.x, done.mean, done.covariance, (*before, *done.asked))
    result = _ranking(call.options, drawn.mean(axis=0), drawn.std(axis=0), done.chances, open_pair, name)
    return Interviewed(done.asked, done.answers, result)


def compared(user: User, call: Call) -> list[Pair]:
    """Return the pairs of the call's options that a person has compared before, on the same prompt."""
    place = {text_of(option): number for number, option in enumerate(call.options)}
    return [
        (place[one.texts[0]], place[one.texts[1]])
        for one in comparisons(record for record in user.history if record.kind == "preference")
        if len(one.texts) == 2 and one.prompt == call.query and all(text in place for text in one.texts)
    ]


def _call(asked: str | Sequence[Message], options: Sequence[Option | str], item: str) -> Call:
    given = tuple(_option(one) for one in options)
    check(given)
    messages = ({"role": "user", "content": asked},) if isinstance(asked, str) else tuple(asked)
    return Call(messages, item=item, options=given)


def _option(given: Option | str) -> Option:
    return Option(given) if isinstance(given, str) else given


def _judging(app: Idiolect, specs: Sequence[MethodSpec] | None) -> list[tuple[Named, Judges]]:
    """Return the methods that judge; :class:`ConfigError` where none does."""
    found = _able(app, specs)
    if not found:
        names = ", ".join(name for name, _ in app.methods(specs)) or "none"
        able = [entry.name for entry in known_methods if callable(getattr(entry.make, "judge", None))]
        put = f'methods = ["{able[0]}"]' if able else "a method that has judge(call, user, ctx)"
        raise ConfigError(
            f"none of the methods ({names}) judges options. Put one that does into the settings, or name it in the "
            f"request: {put}"
        )
    return found


def _judged(app: Idiolect, call: Call, seen: User, specs: Sequence[MethodSpec] | None) -> tuple[str, Judged]:
    ctx = app.context()
    judging = _judging(app, specs)
    for (name, _), method in judging:
        judged = method.judge(call, seen, ctx)
        if judged is not None:
            return name, judged
    names = ", ".join(name for (name, _), _ in judging)
    raise NotFound(
        f"{names}: nothing was learnt yet by which these options can be judged. Choices are needed of people who share "
        f"(idiolect consent USER --give), then: idiolect fit {judging[0][0][0]} --all"
    )


def _keep(app: Idiolect, prompt: str, options: Sequence[Option], choice: int, user: str, item: str) -> Record:
    record = chosen(view(app.store, user, asked=app.clock()), prompt, options, choice, app.clock(), item)
    app.store.add([record])
    return record


def _bring_up_to_date(app: Idiolect, user: str, specs: Sequence[MethodSpec] | None) -> None:
    """Let the methods that judge learn from what was just kept; a failure is counted, for the choice is kept."""
    for (name, method), _ in _able(app, specs):
        try:
            app.refresh(name, method, user)
        except Exception as error:  # noqa: BLE001 - what is stale is tried again with the next choice
            app.counters[f"refit.{type(error).__name__}"] += 1
            log.error("what was learnt could not be brought up to date: %s", type(error).__name__)


def _able(app: Idiolect, specs: Sequence[MethodSpec] | None) -> list[tuple[Named, Judges]]:
    """Return the methods that judge, those inside others included."""
    return [(named, named[1]) for named in with_parts(app.methods(specs)) if isinstance(named[1], Judges)]


def _ranking(
    options: Sequence[Option], chances: Doubles, spread: Doubles, best: Doubles, pair: Pair | None, name: str
) -> Ranking:
    order = sorted(range(len(options)), key=lambda place: (-chances[place], place))
    rows = (Ranked(options[place], place, float(chances[place]), float(spread[place])) for place in order)
    return Ranking(tuple(rows), pair, float(best.max()), int(best.argmax()), name)
