from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Run
from idiolect.cli.demo import people
from idiolect.cli.demo.sides import verdict


def test_two_people_of_forty_records() -> None:
    assert list(people.about()) == ["tove", "rocco"]
    for user in people.about():
        records = list(people.records(user))
        assert len({record.id for record in records}) == 40
        assert len(Counter(record.kind for record in records)) == 6
        times = [record.time for record in records]
        assert times == sorted(times)
        assert times[-1] - times[0] > 340 * 86400


def test_what_they_chose_stands_in_no_record() -> None:
    for question in people.questions():
        for user, choice in question.chose.items():
            assert not any(choice.rstrip(".").lower() in record.text.lower() for record in people.records(user))


def test_demo_in_json(run: Run, home: Path) -> None:
    done = run("demo", "--fast", "--json").json
    assert [round_["ask"] for round_ in done["rounds"]] == [question.ask for question in people.questions()]
    for round_ in done["rounds"]:
        assert round_["sides"]["anyone"]["used"] == []
        assert round_["sides"]["tove"]["used"]
        assert round_["sides"]["rocco"]["used"]
    assert done["summary"]["choices"] == 2 * len(people.questions())
    assert [receipt["removed"]["records"] for receipt in done["receipts"]] == [40, 40]
    assert not home.exists(), "the user's own folder was touched"


def test_demo_side_by_side(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    done = run("demo", "--fast")
    assert "for tove" in done.out
    assert "really chose" in done.out
    assert "nats" in done.out
    assert "Now erased: 2 people, 80 records" in done.err
    assert not list(tmp_path.glob("idiolect-demo-*"))


def test_offline_refuses_to_fetch(run: Run) -> None:
    assert "idiolect models pull smollm2" in run("demo", "--offline", code=1).err


def test_the_verdict_is_honest() -> None:
    counts: dict[str, Any] = {"choices": 10, "mean_gain_over_anyone": 1.0, "mean_gain_over_other": -1.0}
    good = verdict({**counts, "own_over_anyone": 9, "own_over_other": 8})
    assert "9 of 10" in good
    assert "no evidence" not in good
    assert "no evidence" in verdict({**counts, "own_over_anyone": 9, "own_over_other": 5})


def talk(folder: Path) -> Path:
    """Write a small file in LoCoMo's form; its text is made up."""
    turns = [
        {"speaker": "Ada", "dia_id": "D1:1", "text": "I finally adopted a greyhound called Biscuit."},
        {"speaker": "Bo", "dia_id": "D1:2", "text": "Lovely! I am repainting the boat shed this week."},
        {"speaker": "Ada", "dia_id": "D1:3", "text": "Which colour for the shed?"},
        {"speaker": "Bo", "dia_id": "D1:4", "text": "Dark green, like the old one."},
    ]
    rows = [
        {"question": "What is the name of Ada's greyhound?", "answer": "Biscuit", "evidence": ["D1:1"], "category": 1},
        {"question": "Which colour is Bo's shed?", "answer": "green", "evidence": ["D1:2; D1:4"], "category": 2},
        {"question": "Which year?", "answer": 2020, "evidence": ["D1:3"], "category": 3},
        {"question": "Not answerable?", "adversarial_answer": "x", "evidence": ["D1:1"], "category": 5},
        {"question": "Evidence elsewhere?", "answer": "x", "evidence": ["D9:9"], "category": 1},
        {"question": "No evidence?", "answer": "x", "evidence": [], "category": 1},
    ]
    talk = {"speaker_a": "Ada", "speaker_b": "Bo", "session_1_date_time": "1:56 pm on 8 May, 2023", "session_1": turns}
    folder.mkdir()
    (folder / "locomo10.json").write_text(json.dumps([{"sample_id": "conv-1", "qa": rows, "conversation": talk}]))
    return folder


def test_dialogues(run: Run, tmp_path: Path) -> None:
    data = talk(tmp_path / "locomo")
    done = run("demo", "--fast", "--data", str(data), "--json").json
    asked = {entry["question"]["ask"]: entry for entry in done["questions"]}
    assert len(asked) == 3
    biscuit = asked["What is the name of Ada's greyhound?"]
    assert biscuit["ranks"] == [1]
    assert biscuit["in_prompt"] == 1
    assert biscuit["gain"] > 0
    assert asked["Which colour is Bo's shed?"]["question"]["evidence"] == ["D1:2", "D1:4"]
    assert asked["Which year?"]["question"]["gold"] == "2020"
    assert done["summary"]["evidence_all"] == 3
    assert done["receipts"][0]["removed"]["records"] == 4


def test_dialogues_are_drawn_by_seed(run: Run, tmp_path: Path) -> None:
    data = str(talk(tmp_path / "locomo") / "locomo10.json")

    def drawn(seed: int) -> list[str]:
        found = run("demo", "--fast", "--data", data, "--questions", "2", "--seed", str(seed), "--json").json
        return [entry["question"]["ask"] for entry in found["questions"]]

    assert drawn(1) == drawn(1)
    assert len({tuple(drawn(seed)) for seed in range(5)}) > 1
    shown = run("demo", "--fast", "--data", data, "--questions", "1")
    assert "right answer" in shown.out
    assert "Evidence in the prompt" in shown.out


def test_dialogues_wrong_input(run: Run, tmp_path: Path) -> None:
    assert "published at" in run("demo", "--fast", "--data", "nowhere", code=1).err
    file = tmp_path / "x.json"
    file.write_text("[1]")
    assert "no LoCoMo questions" in run("demo", "--fast", "--data", str(file), code=1).err


@pytest.mark.models
def test_the_small_model_is_moved_by_whose_records_it_reads(run: Run, models_here: None) -> None:
    done = run("demo", "--offline", "--json").json
    assert done["summary"]["own_over_anyone"] >= 7
    assert done["summary"]["own_over_other"] >= 7
    for round_ in done["rounds"]:
        assert len({side["answer"] for side in round_["sides"].values()}) == 3


@pytest.mark.data
def test_real_dialogues(run: Run, data_folder: Path) -> None:
    done = run("demo", "--fast", "--data", str(data_folder / "locomo"), "--json").json
    assert done["summary"]["questions"] == 8
    assert done["summary"]["hit_at_10"] >= 4  # by words alone
    assert sum(receipt["removed"]["records"] for receipt in done["receipts"]) == 5882
