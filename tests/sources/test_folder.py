from __future__ import annotations

import os

from idiolect import sources
from idiolect.sources.jsonl import to_line


def test_short_files_whole_long_ones_by_heading(tmp_path, read):
    (tmp_path / "b").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "a.md").write_text('---\ntitle: "My day"\ndate: 2024-05-08\ntags: [x]\n---\n# Morning\nCoffee.\n')
    (tmp_path / "b" / "long.md").write_text(
        "Start.\n\n# One\n" + "x" * 50 + "\n```\n# not a heading\n```\n## Two ##\nEnd.\n# Empty\n"
    )
    (tmp_path / "c.txt").write_bytes(b"Win\r\ndows")
    (tmp_path / "d.txt").write_bytes("wide ü".encode("utf-16"))
    (tmp_path / "e.txt").write_bytes(b"bad \xff")
    (tmp_path / "f.txt").write_bytes(b" \n")
    (tmp_path / "g.pdf").write_bytes(b"%PDF")
    (tmp_path / "link.md").symlink_to("/etc/hostname")
    for file in tmp_path.rglob("*.*"):
        if not file.is_symlink():
            os.utime(file, (1000, 1000))
    records, skipped = read(tmp_path, "anna", "folder", long=40)
    assert [(record.input, record.output) for record in records] == [
        ("My day", "# Morning\nCoffee."),
        ("c", "Win\ndows"),
        ("d", "wide ü"),
        ("long", "Start."),
        ("long: One", "x" * 50 + "\n```\n# not a heading\n```"),
        ("long: Two", "End."),
    ]
    assert [record.time for record in records] == [1715126400.0] + [1000.0] * 5
    assert records[3].meta == {"session": "b/long.md", "title": "long"}
    assert [(item.file, item.reason) for item in skipped] == [
        ("e.txt", "not UTF-8 at byte offset 4"),
        ("f.txt", "no text in it"),
        (tmp_path.name, "1 x file of type .pdf"),
        (tmp_path.name, "1 x hidden folder"),
        (tmp_path.name, "1 x symbolic link"),
    ]


def test_an_edited_file_is_a_new_record(tmp_path, read):
    path = tmp_path / "a.md"
    ids = set()
    for text in ("one", "two"):
        path.write_text(f"---\ndate: 2024-05-08\n---\n{text}")
        ids.add(read(path, "anna", "folder")[0][0].id)
    assert len(ids) == 2


def test_a_name_that_is_not_utf8_can_be_stored(tmp_path, read):
    (tmp_path / os.fsdecode(b"n\xffme.md")).write_text("x")
    (record,), _ = read(tmp_path, "anna", "folder")
    assert record.meta == {"session": "n\ufffdme.md", "title": "n\ufffdme"}
    assert to_line(record)


def test_other_formats_come_before_a_folder(tmp_path):
    (tmp_path / "note.md").write_text("x")
    assert sources.detect(tmp_path) == "folder"
    (tmp_path / "a.eml").write_text("From: a@example.org\n\nx")
    assert sources.detect(tmp_path) == "mail"
