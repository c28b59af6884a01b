from __future__ import annotations

import json

import pytest

from idiolect import sources

GOLD = "GOLD-ANSWER"


def question(*items, **more):
    return {"id": "100", "input": "the question", "profile": list(items), "output": GOLD} | more


@pytest.mark.parametrize(
    ("item", "more", "expected"),
    [
        ({"text": "t", "title": "h", "category": "sports"}, {}, ("t", "sports", "interaction", {"title": "h"})),
        ({"description": "film", "tag": "dark"}, {}, ("film", "dark", "interaction", {})),
        ({"text": "nice", "score": "5"}, {}, ("nice", "5", "interaction", {})),
        ({"text": "nice", "score": 4.0, "product": "p"}, {}, ("nice", "4", "interaction", {"product": "p"})),
        ({"text": "t", "title": "h"}, {}, ("t", "h", "content", {})),
        ({"abstract": "a", "title": "h"}, {}, ("a", "h", "content", {})),
        (
            {"abstract": "a", "title": "h"},
            {"input": "For an author ..., which reference is related? ..."},
            ("h", "a", "content", {}),
        ),
        ({"text": "tweet"}, {}, ("", "tweet", "content", {})),
    ],
)
def test_each_task_has_its_input_and_output(tmp_path, read, item, more, expected):
    path = tmp_path / "questions.json"
    path.write_text(json.dumps([question({"id": "1", **item}, **more)]))
    (record,), (note,) = read(path, expect="lamp")
    assert (record.input, record.output, record.kind, record.meta) == expected
    assert (record.user_id, record.source, record.time) == ("100", "lamp", 0.0)
    assert note.reason == "note: 1 questions are the test and were left out"


def test_authors_json_lines_dates_and_no_gold(tmp_path, read):
    rows = [
        {"author": "a1", "history": [{"text": "t1", "title": "h1"}], "queries": [{"input": "q", "output": GOLD}] * 3},
        question({"text": "late", "date": "2015-02-01", "id": "1"}, {"text": "early", "date": "2014-02-01", "id": "2"}),
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + '\n{"id": \n{"id": "9"}\n')
    records, skipped = read(path, expect="lamp")
    assert [(record.user_id, record.output) for record in records] == [("a1", "h1"), ("100", "early"), ("100", "late")]
    assert records[1].time == 1391212800.0
    assert not any(GOLD in str(record) for record in records)
    assert [item.line for item in skipped] == [3, 4, None]
    assert {record.user_id for record in read(path, "all")[0]} == {"all"}


def test_two_files_with_the_same_author_names_do_not_collide(tmp_path, read):
    ids = []
    for name, item in (("a.json", {"text": "t", "title": "h"}), ("b.json", {"text": "u", "category": "c"})):
        (tmp_path / name).write_text(json.dumps([{"author": "a1", "history": [item], "queries": []}]))
        ids += [record.id for record in read(tmp_path / name, expect="lamp")[0]]
    assert len(set(ids)) == 2


def test_unknown_items_and_the_answer_file(tmp_path, read):
    path = tmp_path / "a.json"
    path.write_text(json.dumps([question({"song": "x"}, 5)]))
    assert [item.reason for item in sources.read(path, format="lamp")] == [
        "user 100, item 0: none of LaMP's fields in it",
        "user 100, item 1: none of LaMP's fields in it",
        "note: 1 questions are the test and were left out",
    ]
    path.write_text(json.dumps({"task": "LaMP_2", "golds": [{"id": "1", "output": "x"}]}))
    with pytest.raises(sources.SourceError, match="answers"):
        list(sources.read(path, format="lamp"))


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "records", "users"),
    [
        ("LaMP_1_questions_full_profile_sample", 1197, 12),
        ("LaMP_2news_questions_full_profile_sample", 326, 11),
        ("lamp1_dev_user", 904, 163),
        ("lamp1_train_user_subset", 3398, 652),
        ("lamp2movie_dev_user", 3080, 496),
        ("lamp2news_authors", 1631, 71),
        ("lamp3_amazon_grocery", 3687, 369),
        ("lamp4_authors", 4679, 254),
        ("lamp5_dev_user", 1740, 348),
        ("lamp7_dev_user", 17429, 1039),
    ],
)
def test_counts_of_the_public_files(data, read, name, records, users):
    found, skipped = read(data / "lamp" / f"{name}.jsonl", expect="lamp")
    assert (len(found), len({record.user_id for record in found})) == (records, users)
    assert all(item.is_note for item in skipped)
