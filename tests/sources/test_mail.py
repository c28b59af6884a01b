from __future__ import annotations

import pytest

from idiolect import sources
from idiolect.errors import SourceError


def mail(sender, text, *, day=1, name="", subject="Plan", extra=""):
    head = f"From: {sender}\nTo: ben@example.org\nDate: {day:02d} Jan 2024 10:00:00 +0100\nSubject: {subject}\n"
    return (head + (f"Message-ID: <{name}@x>\n" if name else "") + f"{extra}\n{text}\n").encode()


def mbox(*messages):
    return b"".join(b"From someone@x Mon Jan  1 10:00:00 2024\n" + message + b"\n" for message in messages)


@pytest.fixture
def takeout(tmp_path):
    path = tmp_path / "All mail.mbox"
    path.write_bytes(
        mbox(
            mail("Ben <ben@example.org>", "Coming?", name="1"),
            mail("Ben <ben@example.org>", "Hello?", day=2, name="2"),
            mail(
                "Anna <Anna@example.org>",
                "Yes.\n\n>From here on.\n\nFrom now on, always at 9.\n\nOn 1 Jan, Ben wrote:\n> Coming?\n-- \nAnna",
                day=4,
                name="4",
                extra="References: <1@x> <2@x>\nX-Gmail-Labels: Sent,Important\n",
            ),
            mail("anna@example.org", "Earlier.", day=3, name="3", extra="In-Reply-To: <1@x>\nX-Gmail-Labels: Sent\n"),
            mail("anna@example.org", "Earlier.", day=3, name="3", extra="X-Gmail-Labels: Sent\n"),
            mail("anna@example.org", "> nothing", day=5, extra="X-Gmail-Labels: Sent\n"),
            mail("anna@example.org", "Half", day=6, extra="X-Gmail-Labels: Drafts\n"),
        )
    )
    return path


def test_only_own_mail_without_quotes_in_time(takeout, read):
    records, skipped = read(takeout, "anna", "mail")
    assert [(record.output, record.input, record.time) for record in records] == [
        ("Earlier.", "Plan", 1704272400.0),
        ("Yes.\n\nFrom here on.\n\nFrom now on, always at 9.", "Plan\n\nComing?", 1704358800.0),
    ]
    assert [record.meta for record in records] == [{"subject": "Plan", "session": "<1@x>"}] * 2
    assert {(record.user_id, record.kind, record.source) for record in records} == {("anna", "content", "mail")}
    begins = [number for number, line in enumerate(takeout.open(), 1) if line.startswith("From someone")]
    assert [(item.line, item.reason) for item in skipped] == [
        (begins[6], "a draft, never sent"),
        (None, "note: anna@example.org, sender of 4 of 4 messages in the sent folders, is taken for the person; "
         "if that is wrong, set address"),
        (begins[5], "no words of one's own in it"),
        (None, "2 x message of other senders"),
        (None, "1 x second copy of a message"),
    ]  # fmt: skip


@pytest.mark.parametrize("address", ["BEN@example.org, other@x.org", ("ben@example.org",)])
def test_the_address_can_be_given(takeout, read, address):
    records, skipped = read(takeout, "ben", "mail", address=address)
    assert [record.output for record in records] == ["Coming?", "Hello?"]
    assert not any(item.is_note for item in skipped)


def test_a_folder_of_everything(tmp_path, read):
    for name, raw in {
        "Inbox/1.eml": mail("ben@example.org", "a", name="a"),
        "Inbox/2.eml": mail("ben@example.org", "b", name="b"),
        "Sent/3.eml": mail("anna@example.org", "c", day=2, name="c"),
        "maildir/.Sent/cur/1700000000.x:2,S": mail("anna@example.org", "d", day=1, name="d"),
        "Sent.mbox": mbox(mail("anna@example.org", "e", day=3, name="e")),
        "notes.pdf": b"%PDF",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(raw)
    records, skipped = read(tmp_path, "anna", "mail")
    assert [record.output for record in records] == ["d", "c", "e"] or [record.output for record in records] == [
        "d",
        "e",
    ]
    assert any("file of type .pdf" in item.reason for item in skipped)


def test_dates_that_are_missing_or_broken(tmp_path, read):
    path = tmp_path / "a.mbox"
    no_date = b"From: anna@example.org\nMessage-ID: <%d@x>\n%s\nx\n"
    path.write_bytes(
        mbox(no_date % (1, b"Date: nonsense\n"))
        + b"From 123@xxx Tue Jan 02 10:00:00 +0100 2024\n"
        + no_date % (2, b"")
        + b"\nFrom anna 10:00\n"
        + no_date % (3, b"Received: by x; Wed, 3 Jan 2024 10:00:00 +0000\n")
        + b"\nFrom anna 10:00\n"
        + no_date % (4, b"Date: 99999999999\n")
    )
    records, _ = read(path, "anna", "mail")
    assert [record.time for record in records] == [0.0, 1704103200.0, 1704186000.0, 1704276000.0]


def test_no_sender_at_all(tmp_path):
    (tmp_path / "a.eml").write_bytes(b"Subject: x\n\ny")
    with pytest.raises(SourceError, match="address="):
        list(sources.read(tmp_path / "a.eml", "anna", format="mail"))


def test_arbitrary_bytes_never_break_the_reader(tmp_path):
    path = tmp_path / "a.eml"
    for raw in (
        b'From: \xff\xfe <a@b.c>\nSubject: =?x?q?=ff?=\nContent-Type: text/plain; charset="\xff"\n\n\xff',
        b"From: a@b.c\nContent-Type: multipart/mixed\n\nno boundary",
        b"From: a@b.c\nContent-Transfer-Encoding: base64\n\n!!!!=",
        b"From: a@b.c\nContent-Type: text/plain; charset=idna\n\n" + b"x" * 100,
        b"From: a@b.c\nContent-Type: text/plain; charset=zlib_codec\n\nabc",
        b"From: a@b.c\nContent-Type: text/html\n\n<![bogus <p>&#xffffffff; <!-- open",
        b"From: a@b.c\nDate: Mon, 32 Foo 99999 99:99:99 +9999\n\nx",
    ):
        path.write_bytes(raw)
        assert len(list(sources.read(path, "anna", format="mail"))) >= 1
