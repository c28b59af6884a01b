from __future__ import annotations

from email import message_from_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idiolect.sources.mail_text import body, decoded_header, html_to_text, split_reply, unflow

REPLIES = [
    ("Hello\n\nBye", "Hello\n\nBye", ""),
    ("Yes.\n\nOn Mon, 1 Jan 2024, Ben <b@x.org> wrote:\n> Coming?\n>\n> Ben", "Yes.", "Coming?\n\nBen"),
    ("Yes.\n\nOn Mon, 1 Jan 2024 at 10:00, Ben Long-Name\n<ben@example.org> wrote:\n\n> Coming?", "Yes.", "Coming?"),
    ("> Coming?\nYes.\n> When?\nAt nine.", "Yes.\nAt nine.", "Coming?\nWhen?"),
    ("Ja.\n\nAm 01.01.24 um 10:00 schrieb Ben:\n> Kommst du?", "Ja.", "Kommst du?"),
    ("Oui.\n\nLe lun. 1 janv. 2024 à 10:00, Ben a écrit :\n> Viens-tu ?", "Oui.", "Viens-tu ?"),
    ("Sí.\n\nEl lun, 1 ene 2024, Ben escribió:\n> ¿Vienes?", "Sí.", "¿Vienes?"),
    ("Yes.\n\n-----Original Message-----\nFrom: Ben\nSent: Monday\nTo: Anna\nSubject: x\n\nComing?", "Yes.", "Coming?"),
    (
        "Yes.\n\nFrom: Ben\nSent: Monday\nTo: Anna\nSubject: x\n\nComing?\n\nFrom: Anna\nSent: Sunday\nTo: Ben\n\nOld",
        "Yes.",
        "Coming?",
    ),
    ("Yes.\n-- \nAnna\nTel. 1", "Yes.", ""),
    (
        "Yes.\n\nSent from my phone\n\nOn Mon, 1 Jan 2024, Ben wrote:\n> Coming?\n\nPS below",
        "Yes.\n\nPS below",
        "Coming?",
    ),
    ("Yes.\nOn 1 Jan 2024, Ben wrote:\n> Coming?\n> On 31 Dec 2023, Anna wrote:\n>> Party!", "Yes.", "Coming?"),
    ("Yes.\n\nOn 1 Jan 2024, Ben wrote:\n\nComing?", "Yes.", "Coming?"),
    ("On reflection I wrote: nothing\nFrom: here to there", "On reflection I wrote: nothing\nFrom: here to there", ""),
    ("> only a quote", "", "only a quote"),
    ("A\r\nB\r\n", "A\nB", ""),
    ("", "", ""),
]


@pytest.mark.parametrize(("text", "own", "quoted"), REPLIES)
def test_own_words_and_quoted_ones_are_parted(text, own, quoted):
    assert split_reply(text) == (own, quoted)


def test_html_becomes_text_with_marked_quotes():
    html = """<html><head><title>no</title><style>p {}</style></head><body><p>Dear&nbsp;Ben,<br>it is
      <b>so</b>.</p><ul><li>one</li><li>two</li></ul><script>x()</script>
      <div>On 1 Jan 2024, Ben wrote:</div><blockquote><p>Is it?</p><blockquote>Old</blockquote></blockquote></body>"""
    own, quoted = split_reply(html_to_text(html))
    assert own == "Dear Ben,\nit is so.\n\n- one\n\n- two"
    assert quoted == "Is it?"


def test_flowed_text_is_joined():
    assert (
        unflow("One \ntwo.\n> quoted \n> more\n stuffed\n-- \nAnna")
        == "One two.\n> quoted \n> more\nstuffed\n-- \nAnna"
    )
    assert unflow("日本 \n語", delete_space=True) == "日本語"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"Content-Type: text/plain; charset=l1\nContent-Transfer-Encoding: quoted-printable\n\nGr=FC=DFe", "Grüße"),
        (b"Content-Type: text/plain; charset=nonsense\n\nGr\xc3\xbc\xc3\x9fe", "Grüße"),
        (b"Content-Type: text/plain; charset=utf-8\n\nGr\xfc\xdfe \x81", "Grüße \x81"),
        (b"Content-Type: text/plain; charset=ascii\nContent-Transfer-Encoding: base64\n\n8J+YgA==", "\U0001f600"),
        (b"Content-Type: application/pdf\n\nx", ""),
        (b"\nno headers", "no headers"),
    ],
)  # fmt: skip
def test_bodies_survive_their_charset(raw, expected):
    assert body(message_from_bytes(raw)) == expected


def test_plain_is_taken_before_html_and_attachments_are_not():
    raw = b"""Content-Type: multipart/mixed; boundary=A

--A
Content-Type: multipart/alternative; boundary=B

--B
Content-Type: text/html

<p>html</p>
--B
Content-Type: text/plain

plain
--B--
--A
Content-Type: text/plain
Content-Disposition: attachment; filename=x.txt

attached
--A--
"""
    assert body(message_from_bytes(raw)).strip() == "plain"
    assert body(message_from_bytes(raw.replace(b"text/plain", b"text/x-plain"))).strip() == "html"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"=?utf-8?B?R3LDvMOfZQ==?= und\n =?iso-8859-1?Q?Gr=FC=DFe?=", "Grüße und Grüße"),
        (b"raw \xc3\xbc", "raw ü"),
        (b"(=?utf-8?Q?a?=) =?utf-8?Q?b?=\n =?utf-8?Q?c?=", "(a) bc"),
        (b"=?nonsense?Q?x?=", "x"),
    ],
)
def test_headers_are_decoded(value, expected):
    decoded = decoded_header(message_from_bytes(b"Subject: " + value + b"\n\n"), "Subject")
    assert decoded == expected


PIECES = st.sampled_from(
    rb"""\n|\n\n|--A|<![|<!--|<p|>|&#x110000;|=?utf-8?B?|?=|=|On |wrote:|charset=|Subject: |format=flowed
    |; charset*0*=utf-8''x
    |Content-Type: text/html|Content-Type: multipart/mixed; boundary=A|Content-Transfer-Encoding: base64
    |Content-Transfer-Encoding: uuencode""".replace(b"\n    ", b"")
    .replace(rb"\n", b"\n")
    .split(b"|")
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES | st.binary(max_size=5), max_size=20).map(b"".join))
def test_no_bytes_break_the_text(raw):
    message = message_from_bytes(raw)
    split_reply(body(message))
    decoded_header(message, "Subject")
