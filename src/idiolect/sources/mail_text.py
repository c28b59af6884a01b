"""What a person wrote in a mail: decoding, HTML to text, and the cut between own words and quoted ones."""

from __future__ import annotations

import binascii
import re
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from html.parser import HTMLParser

_ATTRIBUTION = re.compile(
    r"^\s*(?:"
    r"On\s.{4,250}\swrote|Am\s.{4,250}\sschrieb.{0,120}|Le\s.{4,250}\sa\s+écrit|El\s.{4,250}\sescribió|"
    r"Il\s.{4,250}\sha\s+scritto|Em\s.{4,250}\sescreveu|Op\s.{4,250}\sschreef.{0,120}|"
    r"\d{4}-\d\d-\d\d.{4,200}\s(?:wrote|schrieb).{0,80}"
    r")\s*:\s*$",
    re.DOTALL,
)
_ATTRIBUTION_START = re.compile(r"^\s*(?:On|Am|Le|El|Il|Em|Op|\d{4}-\d\d-\d\d)")
_DIVIDER = re.compile(
    r"^\s*-{2,}\s*(?:Original Message|Original Appointment|Forwarded message|Ursprüngliche Nachricht|"
    r"Weitergeleitete Nachricht|Message d'origine|Mensaje original|Messaggio originale|Reply message)\s*-{2,}\s*$",
    re.IGNORECASE,
)
_HEADER_LINE = re.compile(
    r"^\s*\*?(From|Von|De|Da|Van|Sent|Gesendet|Envoyé|Enviado|Inviato|Verzonden|Date|Datum|Fecha|Data|To|An|À|Para|A|Aan|"
    r"Cc|Kopie|Subject|Betreff|Objet|Asunto|Oggetto|Assunto|Onderwerp)\s?:\*?\s",
    re.IGNORECASE,
)
_FROM_LINE = re.compile(r"^\s*\*?(From|Von|De|Da|Van)\s?:\*?\s", re.IGNORECASE)
_DEVICE = re.compile(
    r"^\s*(Sent from my \w|Get Outlook for |Von meinem .{2,40} gesendet|Envoyé de mon )", re.IGNORECASE
)
_MARKED_SECTION = re.compile(r"<!\[[^>]*>?")
"""Outlook's conditions; the standard parser raises on those that it does not know."""
_BLOCKS = {"p", "div", "tr", "table", "ul", "ol", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "section", "article", "hr"}
_HIDDEN = {"script", "style", "head", "title", "template"}


def decoded_header(message: Message, name: str) -> str:
    """Return a header as one line of text, whatever its charset claims; empty where there is none."""
    value = message.get(name)
    if value is None:
        return ""
    try:
        # Unfolded first, because decode_header() drops the space at the beginning of a line.
        parts = decode_header("".join(value.splitlines()) if isinstance(value, str) else value)
    except (HeaderParseError, binascii.Error, ValueError):
        parts = [(str(value), None)]
    text = "".join(part if isinstance(part, str) else decoded(part, charset) for part, charset in parts)
    return " ".join(text.split())


def decoded(raw: bytes, charset: str | None) -> str:
    """Decode bytes by their stated charset, else UTF-8, else Windows-1252; never fails."""
    for name in (charset or "utf-8", "utf-8", "cp1252"):
        try:
            return raw.decode(name)
        except (ValueError, LookupError):
            continue
    return raw.decode("latin-1")


def body(message: Message) -> str:
    """Return the text of a message: its plain parts, or its HTML where it has no plain ones; attachments left out."""
    plain: list[str] = []
    html: list[str] = []
    for part in message.walk():
        if part.is_multipart() or part.get_content_disposition() == "attachment":
            continue
        kind = part.get_content_type()
        if kind not in ("text/plain", "text/html"):
            continue
        raw = part.get_payload(decode=True)
        text = decoded(raw if isinstance(raw, bytes) else b"", part.get_content_charset()).replace("\r\n", "\n")
        if kind == "text/html":
            html.append(html_to_text(text))
        else:
            flowed = str(part.get_param("format") or "").lower() == "flowed"
            plain.append(unflow(text, str(part.get_param("delsp") or "").lower() == "yes") if flowed else text)
    return "\n".join(text for text in plain if text.strip()) or "\n".join(html)


def unflow(text: str, delete_space: bool = False) -> str:
    """Join the soft line ends of format=flowed text (RFC 3676); quoted lines stay as they are."""
    lines: list[str] = []
    joining = False
    for line in text.split("\n"):
        quoted = line.startswith(">")
        stripped = line if quoted else line.removeprefix(" ")
        if joining and not quoted and stripped != "-- ":
            lines[-1] += stripped
        else:
            lines.append(stripped)
        joining = not quoted and stripped.endswith(" ") and stripped != "-- "
        if joining and delete_space:
            lines[-1] = lines[-1][:-1]
    return "\n".join(lines)


def html_to_text(html: str) -> str:
    """Return the text of HTML; quoted blocks get "> " before their lines, so that they are cut like plain ones."""
    parser = _Text()
    parser.feed(_MARKED_SECTION.sub("", html))
    parser.close()
    return parser.text()


class _Text(HTMLParser):
    """Collects visible text, line by line."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._lines: list[str] = []
        self._line = ""
        self._quotes = self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _HIDDEN:
            self._hidden += 1
        elif tag == "br" or tag in _BLOCKS:
            self._end_line()
        elif tag == "li":
            self._end_line()
            self._line = "- "
        elif tag == "blockquote":
            self._end_line()
            self._quotes += 1

    def handle_endtag(self, tag: str) -> None:
        if tag in _HIDDEN:
            self._hidden = max(self._hidden - 1, 0)
        elif tag in _BLOCKS or tag == "li":
            self._end_line()
        elif tag == "blockquote":
            self._end_line()
            self._quotes = max(self._quotes - 1, 0)

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            words = " ".join(data.replace("\xa0", " ").split())
            lead = " " if data[:1].isspace() and self._line and not self._line.endswith(" ") else ""
            self._line += lead + words + (" " if words and data[-1:].isspace() else "")

    def _end_line(self) -> None:
        line = self._line.rstrip() if self._line.strip() not in ("--", "-") else self._line
        self._lines.append("> " * self._quotes + line)
        self._line = ""

    def text(self) -> str:
        """Return what was collected, with at most one empty line in a row."""
        self._end_line()
        return re.sub(r"\n{3,}", "\n\n", "\n".join(self._lines)).strip("\n")


def split_reply(text: str) -> tuple[str, str]:
    """Return (own words, the words replied to) of a mail's text.

    Cut off are lines with ">", "On ... wrote:" in seven languages, Outlook's header blocks and dividers, and the
    signature after "-- ". Of what is quoted only the first level is returned.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    own: list[str] = []
    quoted: list[str] = []
    index, in_signature = 0, False
    while index < len(lines):
        line = lines[index]
        length = _attribution(lines, index)
        if _DIVIDER.match(line) or _is_header_block(lines, index):
            quoted += _below(lines, index)
            break
        if length:
            index += length
            if not _quotes_follow(lines, index):
                quoted += _first_level(lines[index:])
                break
            in_signature = False
            continue
        if line.lstrip().startswith(">"):
            quoted.append(line)
        elif in_signature or line in ("-- ", "--") or _DEVICE.match(line):
            in_signature = True
        else:
            own.append(line)
        index += 1
    return _tidy(own), _tidy(_unquote(quoted))


def _attribution(lines: list[str], index: int) -> int:
    """Return how many lines the "On ... wrote:" at ``index`` takes, 0 where there is none."""
    if not _ATTRIBUTION_START.match(lines[index]):
        return 0
    for length in (1, 2, 3):
        if _ATTRIBUTION.match(" ".join(lines[index : index + length])):
            return length
    return 0


def _quotes_follow(lines: list[str], index: int) -> bool:
    return next((line for line in lines[index:] if line.strip()), "").lstrip().startswith(">")


def _is_header_block(lines: list[str], index: int) -> bool:
    """Return whether a block like Outlook's "From: / Sent: / To: / Subject:" begins here."""
    if not _FROM_LINE.match(lines[index]):
        return False
    following = [line for line in lines[index + 1 : index + 6] if line.strip()]
    return sum(_HEADER_LINE.match(line) is not None for line in following[:3]) >= 2


def _below(lines: list[str], index: int) -> list[str]:
    """Return the quoted message that starts at a divider or header block, without its headers."""
    index += 1 if _DIVIDER.match(lines[index]) else 0
    while index < len(lines) and (_HEADER_LINE.match(lines[index]) or not lines[index].strip()):
        index += 1
    return _first_level(lines[index:])


def _first_level(lines: list[str]) -> list[str]:
    """Return the lines up to where an older message is quoted in turn."""
    for index, line in enumerate(lines):
        if line.startswith(">") or _DIVIDER.match(line) or _attribution(lines, index) or _is_header_block(lines, index):
            return lines[:index]
    return lines


def _unquote(lines: list[str]) -> list[str]:
    """Take one level of ">" away, and leave out what is quoted deeper."""
    found = []
    for line in lines:
        inner = line.lstrip().removeprefix(">").removeprefix(" ") if line.lstrip().startswith(">") else line
        if not inner.lstrip().startswith(">"):
            found.append(inner)
    return [line for index, line in enumerate(found) if not _attribution(found, index)]


def _tidy(lines: list[str]) -> str:
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in lines)).strip()
