"""Mail: mbox files, .eml files and Maildir folders. Only what the person sent."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from email.utils import getaddresses, parsedate_to_datetime
from pathlib import Path

from idiolect.errors import SourceError
from idiolect.registry import source
from idiolect.sources.base import (
    Meter,
    Progress,
    Sized,
    Skipped,
    clean,
    counted,
    lines,
    make,
    need_user,
    path_size,
    sniff,
)
from idiolect.sources.mail_text import body, decoded_header, split_reply
from idiolect.types import Record

MAX_MESSAGE = 64 * 2**20
"""One message with its attachments [bytes]."""

_SENT = re.compile(
    r"sent|gesendet|envoy|enviad|inviat|verzonden|skickat|odeslan|wysłane|отправ|送信|已发送", re.IGNORECASE
)
_DRAFT = re.compile(r"draft|entw[uü]rf|brouillon|borrador|bozze|concept", re.IGNORECASE)
_FROM = re.compile(rb"^From (?:\S.*)?\d\d:\d\d")
_ESCAPED_FROM = re.compile(rb"^>(>*From )", re.MULTILINE)
_ID = re.compile(r"<[^<>\s]+>")
_SCAN = 100


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a message lies, and what its header says."""

    time: float
    path: Path
    label: str
    line: int | None
    offset: int
    length: int
    sender: str
    sent: bool


@source("mail", files="mbox file, or a folder of .mbox, .eml or Maildir files")
@dataclass(frozen=True, slots=True)
class Mail(Sized):
    """A person's sent mail: own words without quotes and signature, after the words they answer.

    ``address``: the person's own address or addresses (several in one string are parted by commas). By default the
    most frequent sender of the folders that are called "Sent", or of all mail where there is no such folder.
    """

    address: str | tuple[str, ...] = ()

    def detect(self, path: Path) -> bool:
        """Return whether it is an mbox or .eml file, or a folder that holds one."""
        if path.is_file():
            return path.suffix.lower() == ".eml" or _is_mbox(path)
        return any(_kind(file) for _, file in zip(range(_SCAN), _files(path), strict=False))

    def read(self, path: Path, user: str | None = None, progress: Progress | None = None) -> Iterator[Record | Skipped]:
        """Yield the sent messages, oldest first over all folders.

        Reads twice: the headers, to know the sender and the order, then the messages that are the person's own.
        """
        user = need_user(user, "mail")
        total = path_size(path)
        reasons: Counter[str] = Counter()
        places = []
        for item in _scan(path, Meter(progress, 2 * total), reasons):
            if isinstance(item, Skipped):
                yield item
            else:
                places.append(item)
        own = self._addresses()
        if not own:
            own, note = _most_frequent(path, places)
            yield note
        mine = [place for place in places if place.sender in own]
        reasons["message of other senders"] += len(places) - len(mine)
        yield from _records(path, mine, user, reasons, progress, total)
        yield from counted(path.name, "", +reasons)

    def _addresses(self) -> set[str]:
        given = self.address.split(",") if isinstance(self.address, str) else self.address
        return {address.strip().lower() for address in given if address.strip()}


def _records(
    path: Path, mine: list[_Place], user: str, reasons: Counter[str], progress: Progress | None, total: int
) -> Iterator[Record | Skipped]:
    seen: set[str] = set()
    for done, place in enumerate(sorted(mine, key=lambda place: (place.time, place.label, place.offset))):
        if progress is not None and not done % 64:
            progress(total + total * done // len(mine), 2 * total)
        message = message_from_bytes(_bytes(place))
        identity = _first_id(message.get("Message-ID"))
        if identity and identity in seen:
            reasons["second copy of a message"] += 1
            continue
        seen.add(identity)
        yield _record(place, message, identity, user)


def _record(place: _Place, message: Message, identity: str, user: str) -> Record | Skipped:
    own, quoted = split_reply(body(message))
    if not own:
        return Skipped(place.label, place.line, "no words of one's own in it")
    subject = decoded_header(message, "Subject")
    input = f"{subject}\n\n{quoted}".strip()
    root = _first_id(message.get("References")) or _first_id(message.get("In-Reply-To")) or identity
    meta = {"subject": subject} | ({"session": root} if root else {})
    fields = {"kind": "content", "input": input, "source": "mail", "meta": meta, "key": identity}
    return make(place.label, place.line, user, own, place.time, **fields)


def _most_frequent(path: Path, places: list[_Place]) -> tuple[set[str], Skipped]:
    sent = Counter(place.sender for place in places if place.sent and place.sender)
    senders = sent or Counter(place.sender for place in places if place.sender)
    if not senders:
        raise SourceError(f"no message with a sender in {path}. Pass the person's own address: address=...")
    address, count = senders.most_common(1)[0]
    where = f"{senders.total()} messages in {'the sent folders' if sent else 'all mail (no folder is called Sent)'}"
    reason = f"note: {address}, sender of {count} of {where}, is taken for the person; if that is wrong, set address"
    return {address}, Skipped(path.name, None, reason)


# --- finding messages -------------------------------------------------------------------------------------------------


def _scan(path: Path, meter: Meter, reasons: Counter[str]) -> Iterator[_Place | Skipped]:
    for file in [path] if path.is_file() else _files(path):
        label = clean(file.name if file == path else file.relative_to(path).as_posix())
        kind = _kind(file)
        if kind == "mbox":
            yield from _mbox(file, label, meter)
        elif kind == "message":
            yield _one(file, label)
        else:
            reasons[f"file of type {file.suffix.lower() or '(none)'} that holds no mail"] += 1
        meter.next_file(file.stat().st_size)


def _files(path: Path) -> Iterator[Path]:
    return (file for file in sorted(path.rglob("*")) if file.is_file() and not file.is_symlink())


def _kind(file: Path) -> str:
    if file.suffix.lower() == ".eml" or file.parent.name in ("cur", "new"):
        return "message"
    return "mbox" if _is_mbox(file) else ""


def _is_mbox(file: Path) -> bool:
    return file.suffix != ".gz" and _FROM.match(sniff(file, 200).split(b"\n", 1)[0]) is not None


def _one(file: Path, label: str) -> _Place | Skipped:
    size = file.stat().st_size
    if size > MAX_MESSAGE:
        return Skipped(label, None, f"larger than {MAX_MESSAGE >> 20} MB")
    with open(file, "rb") as stream:
        head = re.split(rb"\r?\n\r?\n", stream.read(), maxsplit=1)[0]
    return _place(file, label, None, 0, size, head, b"")


def _mbox(file: Path, label: str, meter: Meter) -> Iterator[_Place | Skipped]:
    """Follow the "From " lines of an mbox; only headers are kept in memory."""
    start = first = 0
    head, in_head, after_empty, separator = bytearray(), False, True, b""
    for number, offset, raw in lines(file, meter):
        if raw is not None and after_empty and _FROM.match(raw):
            if separator:
                yield _place(file, label, first, start, offset - start, bytes(head), separator)
            first, start, separator, head, in_head = number, offset + len(raw), raw, bytearray(), True
            after_empty = False
            continue
        empty = raw is not None and not raw.strip()
        in_head = in_head and not empty
        if in_head and raw is not None and len(head) < 1 << 20:
            head += raw
        after_empty = empty
    if separator:
        yield _place(file, label, first, start, file.stat().st_size - start, bytes(head), separator)


def _place(
    file: Path, label: str, line: int | None, offset: int, length: int, head: bytes, separator: bytes
) -> _Place | Skipped:
    if length > MAX_MESSAGE:
        return Skipped(label, line, f"larger than {MAX_MESSAGE >> 20} MB")
    message = message_from_bytes(head)
    labels = decoded_header(message, "X-Gmail-Labels")
    if _DRAFT.search(labels) or (not labels and _DRAFT.search(Path(label).parent.name or Path(label).stem)):
        return Skipped(label, line, "a draft, never sent")
    sender = next((address.lower() for _, address in getaddresses([decoded_header(message, "From")]) if address), "")
    sent = _SENT.search(labels if labels else label) is not None
    time = _time(message, separator)
    return _Place(0.0 if time is None else time, file, label, line, offset, length, sender, sent)


def _time(message: Message, separator: bytes) -> float | None:
    """Return the Date header's time, else the last hop's, else the one in the mbox's "From " line."""
    received = str(message.get("Received") or "").rpartition(";")[2]
    parts = separator.decode("ascii", "replace").split(maxsplit=2)
    for text in (str(message.get("Date") or ""), received, _mbox_date(parts[2]) if len(parts) > 2 else ""):
        try:
            return parsedate_to_datetime(text.strip()).timestamp()
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None


def _mbox_date(text: str) -> str:
    """Turn "Mon Jan  1 10:00:00 2024" or "Mon Jan 01 10:00:00 +0000 2024" into a mail date."""
    words = text.split()
    if len(words) < 5:
        return ""
    zone = words[4] if len(words) > 5 else "+0000"
    return f"{words[2]} {words[1]} {words[-1]} {words[3]} {zone}"


def _bytes(place: _Place) -> bytes:
    with open(place.path, "rb") as stream:
        stream.seek(place.offset)
        raw = stream.read(place.length)
    return _ESCAPED_FROM.sub(rb"\1", raw) if place.line is not None else raw


def _first_id(value: object) -> str:
    found = _ID.search(str(value or ""))
    return found.group() if found else ""
