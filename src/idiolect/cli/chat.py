"""``idiolect chat``: a conversation at the terminal, with its reasons and memories at hand."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import typer

from idiolect.cli.options import BackendName, Json, Methods, Now, Remember, UserId, specs
from idiolect.cli.output import day, emit, note, safe
from idiolect.cli.root import ANSWERS, command
from idiolect.cli.session import opened_app
from idiolect.errors import InputError, NotFound

if TYPE_CHECKING:
    from idiolect.config import MethodSpec
    from idiolect.pipeline import Idiolect
    from idiolect.types import Completion, Record, Used

_HELP = """/why          what shaped the last answer
/memories     what you have said about yourself
/forget N     forget memory number N of that list, and where it was said
/good         the last answer was good
/bad [why]    it was not
/edit         write the answer as you would have wanted it, up to an empty line
/quit         leave (so does Ctrl-D)"""


@command("chat", "idiolect chat ana", panel=ANSWERS)
def chat(
    user: UserId,
    methods: Methods = None,
    now: Now = None,
    backend: BackendName = None,
    remember: Remember = None,
    json: Json = False,
) -> None:
    """Talk with the model as a user; /help lists what else can be typed."""
    with suppress(ImportError):  # line editing and history, where the platform has it
        import readline  # noqa: F401

    with opened_app(backend=backend) as app:
        _Chat(app, user, specs(methods), now, remember, json).run()


@dataclass
class _Chat:
    """One conversation."""

    app: Idiolect
    user: str
    methods: list[MethodSpec] | None
    now: float | None
    remember: bool | None
    json: bool
    session: str = field(default_factory=lambda: f"chat-{secrets.token_hex(4)}")
    messages: list[dict[str, Any]] = field(default_factory=list)
    used: tuple[Used, ...] = ()
    trace_id: str = ""
    shown: list[Record] = field(default_factory=list)

    def run(self) -> None:
        """Read, answer, repeat; an empty line is nothing, the end of the input the end."""
        if sys.stdin.isatty():
            note(f"Talking as {self.user}. /help lists the commands.")
        while (line := _read()) is not None:
            try:
                if line.startswith("/"):
                    if not self._command(line):
                        return
                elif line.strip():
                    self._answer(line)
            except (InputError, NotFound) as error:  # this line cannot be answered; the next one may
                note(str(error))

    def _answer(self, text: str) -> None:
        from idiolect.types import Call

        asked = [*self.messages, {"role": "user", "content": text}]
        plan = self.app.plan(Call(tuple(asked), session=self.session), self.user, methods=self.methods, now=self.now)
        completion = self._stream(lambda: self.app.backend.stream(plan.call))
        self.app.finish(plan, asked, completion, session=self.session, remember=self.remember).result()
        self.messages = [*asked, {"role": "assistant", "content": completion.text}]
        self.used, self.trace_id = plan.call.used, plan.trace_id
        if self.json:
            emit({"user": self.user, "text": text, "answer": completion.text, "trace": plan.trace_id}, line=True)

    def _stream(self, start: Callable[[], Any]) -> Completion:
        """Print the answer as it comes; Ctrl-C ends it there and keeps what was said."""
        from idiolect.types import Completion

        text, reason, tokens = "", "stop", (0, 0)
        try:
            for chunk in start():
                text += chunk.text
                if chunk.finish_reason:
                    reason, tokens = chunk.finish_reason, (chunk.tokens_in, chunk.tokens_out)
                if not self.json:
                    typer.echo(safe(chunk.text), nl=False)
        except KeyboardInterrupt:
            reason = "interrupted"
        if not self.json:
            typer.echo()
        return Completion(text, reason, *tokens)

    def _command(self, line: str) -> bool:
        """Do what a line with a slash asks; false to leave."""
        name, _, rest = line[1:].strip().partition(" ")
        if name in ("quit", "exit", "q"):
            return False
        known: dict[str, Callable[[], None]] = {
            "why": self._why, "memories": self._memories, "help": _help, "good": lambda: self._rate(rating=1.0),
            "bad": lambda: self._rate(rating=-1.0, comment=rest.strip()), "edit": self._edit,
            "forget": lambda: self._forget(rest.strip()),
        }  # fmt: skip
        if name in known:
            known[name]()
        else:
            note(f"there is no command /{name}\n{_HELP}")
        return True

    def _why(self) -> None:
        if not self.used:
            note("Nothing personal shaped the last answer.")
        for used in self.used:
            note(f"{used.method:<10} {used.header} {used.text}  (score {used.score:.2f})")

    def _memories(self) -> None:
        self.app.drain()
        self.shown = self._held()
        if not self.shown:
            note("No memories yet.")
        for number, record in enumerate(self.shown, 1):
            note(f"{number:>3}  {day(record.time)}  {record.output}")

    def _held(self) -> list[Record]:
        from idiolect.control import memories

        if self.app.store.key(self.user) is None:
            return []
        return [kept.record for kept in memories(self.app.store, self.user, self.app.clock())]

    def _rate(self, **said: Any) -> None:
        from idiolect.memory.feedback import Feedback

        if not self.trace_id:
            raise InputError("there is no answer yet")
        record = self.app.feedback(self.trace_id, Feedback(**said))
        note("Thank you; it is kept.")
        if self.json:
            emit({"user": self.user, "feedback": record.meta["feedback"], "trace": self.trace_id}, line=True)

    def _edit(self) -> None:
        if sys.stdin.isatty():
            note("Write the answer as you would have wanted it; an empty line ends it.")
        lines = []
        while line := (_read() or "").rstrip():
            lines.append(line)
        self._rate(edit="\n".join(lines))

    def _forget(self, which: str) -> None:
        from idiolect.store.forget import forget

        if not self.shown:
            self._memories()
        if not which.isdecimal() or not 1 <= int(which) <= len(self.shown):
            note(f"/forget needs a number from 1 to {len(self.shown)}; /memories lists them")
            return
        gone = self.shown[int(which) - 1]
        self.app.drain()
        forget(self.app.store, self.user, gone.id)
        self.messages, self.shown = _without(self.messages, gone.output), []
        note(f"Forgotten: {gone.output}")


def _without(messages: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """Return a conversation without the exchanges in which something was said: it must not be written down again."""
    from idiolect.memory.sameness import key

    kept, said = [], False
    for message in messages:
        if message["role"] == "user":
            said = key(text) in key(message["content"])
        if not said:
            kept.append(message)
    return kept


def _help() -> None:
    note(_HELP)


def _read() -> str | None:
    try:
        # readline writes the prompt to stdout, where only results belong: none unless both are terminals.
        return input("> " if sys.stdin.isatty() and sys.stdout.isatty() else "")
    except EOFError:
        return None
