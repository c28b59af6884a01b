"""The LaMP and LongLaMP tasks on small invented files in the published formats."""

from __future__ import annotations

import json

import pytest

from idiolect.bench.task import Answer, Population, Query
from idiolect.errors import SourceError
from idiolect.registry import build, tasks

CITE = (
    'For an author who has written the paper with the title "{}", which reference is related? '
    'Just answer with [1] or [2] without explanation. [1]: "{}" [2]: "{}"'
)
CITED = CITE.format('On "quiet" pumps', 'Pumps, and "[2]" valves', "Bees in winter")
NEWS = "Which category ...? categories: [women, politics] article: A bill was passed."
FILM = "Which tag ...? tags: [comedy] description: A dog learns to sail."


def make(name):
    return build(tasks.get(name), {})


def official(folder, task, rows, golds):
    folder.mkdir(parents=True)
    (folder / "dev_questions.json").write_text(json.dumps(rows, indent=1))
    gold_rows = [{"id": row["id"], "output": gold} for row, gold in zip(rows, golds, strict=True)]
    (folder / "dev_outputs.json").write_text(json.dumps({"task": task, "golds": gold_rows}))


def write_lines(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def paper(title, abstract, **more):
    return {"id": title, "title": title, "abstract": abstract, **more}


@pytest.fixture
def citations(tmp_path):
    rows = [
        {"id": "100", "input": CITED, "profile": [paper("Valves", "On pumps."), paper('On "quiet" pumps', "Own.")]},
        {"id": "101", "input": "Something else?", "profile": [paper("Bees", "Honey.")]},
    ]
    official(tmp_path / "lamp" / "LaMP_1" / "dev", "LaMP_1", rows, ["[1]", "[2]"])
    return tmp_path


def test_an_official_question_is_the_prompt_byte_for_byte(citations):
    dataset = make("lamp-1").load(citations)
    (query,) = dataset.queries
    assert query.messages == ({"role": "user", "content": CITED},)
    assert (query.id, query.user, query.gold, query.options) == ("100", "100", "[1]", ("[1]", "[2]"))
    assert query.focus == 'Pumps, and "[2]" valves\nBees in winter'
    assert dataset.dropped == {
        "question that is not in the task's form": 1,
        "history record about what the person is asked": 1,
    }
    assert [(r.input, r.output, r.kind, r.time) for r in dataset.histories["100"]] == [
        ("Valves", "On pumps.", "content", 1.0)
    ]
    assert [path.name for path in dataset.files] == ["dev_questions.json", "dev_outputs.json"]


def test_overlap_scores_the_candidate_in_the_authors_field(citations):
    dataset = make("lamp-1").load(citations)
    predict = make("lamp-1").predictors["overlap"]
    scores = predict(dataset.queries[0], dataset.histories["100"], Population(dataset.histories, dataset.queries))
    assert scores == (2 / 3, 0.0)  # pumps and valves, not 2


def test_two_official_tasks_are_told_apart_by_their_fields(tmp_path):
    news = {
        "id": "1",
        "input": NEWS,
        "profile": [{"text": "A goal.", "category": "sports", "title": "Goal", "id": "a"}],
    }
    film = {"id": "1", "input": FILM, "profile": [{"description": "A cat.", "tag": "comedy", "id": "a"}]}
    official(tmp_path / "lamp" / "LaMP_2" / "dev", "LaMP_2", [news], ["politics"])
    official(tmp_path / "lamp" / "LaMP_2" / "new" / "dev", "LaMP_2", [film], ["comedy"])
    (about_news,) = make("lamp-2n").load(tmp_path).queries
    (about_film,) = make("lamp-2m").load(tmp_path).queries
    assert (about_news.focus, about_news.gold) == ("A bill was passed.", "politics")
    assert (about_film.focus, about_film.gold) == ("A dog learns to sail.", "comedy")
    assert about_news.messages[0]["content"] == NEWS


def test_nothing_dated_at_or_after_the_question_is_read(tmp_path):
    profile = [
        {"id": "a", "text": "Later.", "title": "C", "date": "2015-06-01"},
        {"id": "b", "text": "Same day.", "title": "B", "date": "2015-05-01"},
        {"id": "c", "text": "Before.", "title": "A", "date": "2014-05-01"},
    ]
    ask = "Generate a headline for the following article: News."
    dated = {"id": "1", "input": ask, "date": "2015-05-01", "profile": profile}
    official(
        tmp_path / "lamp" / "time" / "LaMP_4", "LaMP_4", [dated, {"id": "2", "input": ask, "profile": profile}], "TT"
    )
    dataset = make("lamp-4").load(tmp_path)
    assert [r.output for r in dataset.histories["1"]] == ["A"]
    assert [r.output for r in dataset.histories["2"]] == ["A", "B", "C"]
    assert all(r.time < q.time for q in dataset.queries for r in dataset.histories[q.user])
    assert dataset.dropped == {"history record dated at or after a query of the person": 2}


def test_splits_that_use_the_same_id_are_different_people(tmp_path):
    def row(text):
        return {"id": "1", "input": text, "profile": [{"id": "a", "text": "Old.", "title": text}]}

    for folder, text in (("LaMP_4/dev", "x: One"), ("time/LaMP_4/dev", "x: Two"), ("copy/dev", "x: One")):
        official(tmp_path / "lamp" / folder, "LaMP_4", [row(text)], ["Title"])
    dataset = make("lamp-4").load(tmp_path)
    assert len({query.user for query in dataset.queries}) == len(dataset.queries) == 2
    assert dataset.dropped == {"question that was read before": 1}


def test_authors_with_questions(tmp_path):
    history = [{"text": "A goal.", "category": "sports"}, {"text": "Asked.", "category": "crime"}, {"text": 3}]
    queries = [
        {"id": 7, "input": "asked.", "output": "politics"},
        {"id": 8, "input": "Odd.", "output": "cooking"},
        {"id": 7, "input": "asked.", "output": "politics"},
    ]
    quiet = {"author": "b", "history": history, "queries": []}
    path = tmp_path / "lamp" / "lamp2news_authors.jsonl"
    write_lines(path, {"author": "a", "history": history, "queries": queries}, quiet)
    dataset = make("lamp-2n").load(tmp_path)
    (query,) = dataset.queries
    assert (query.id, query.user, query.gold, query.time) == ("a/7", "a", "politics", 3.0)
    assert query.focus == "asked."
    assert query.messages[0]["content"].endswith("Article: asked.")
    assert all(label in query.messages[0]["content"] for label in query.options)
    assert [(r.input, r.output, r.kind, r.source) for r in dataset.histories["a"]] == [
        ("A goal.", "sports", "interaction", "lamp-2n")
    ]
    assert dataset.dropped == {
        "question without a usable gold answer or without a text": 1,
        "question that was read before": 1,
        "history item without the task's fields": 2,
        "history record about what the person is asked": 1,
        "person without a question": 1,
    }


def test_the_last_film_is_held_out_and_named_alike_for_everybody(tmp_path):
    films = [{"description": f"Film {n}", "tag": "comedy", "id": str(n)} for n in range(3)]
    other = [films[2] | {"tag": "action", "description": "film  2"}, films[0]]
    path = tmp_path / "lamp" / "lamp2movie_x.jsonl"
    write_lines(path, {"id": "1", "input": "?", "profile": films}, {"id": "2", "input": "?", "profile": other})
    dataset = make("lamp-2m").load(tmp_path)
    first, second = dataset.queries
    assert (first.focus, first.gold, second.focus) == ("Film 2", "comedy", "Film 0")
    assert [r.input for r in dataset.histories["1"]] == ["Film 0", "Film 1"]
    assert first.item == dataset.histories["2"][0].meta["item"]
    assert second.item == dataset.histories["1"][0].meta["item"]
    population = Population(dataset.histories, dataset.queries)
    assert make("lamp-2m").predictors["item mode"](first, dataset.histories["1"], population) == "action"


def test_stars_are_whole_and_a_product_is_asked_for_once(tmp_path):
    def review(product, text, score):
        return {"id": text, "product": product, "text": text, "score": score}

    profile = [review("Tea", "Weak.", 2.0), review("Jam", "Sweet.", 4.0), review("Tea", "Still weak.", 1.0)]
    write_lines(
        tmp_path / "lamp" / "lamp3_x.jsonl", {"id": "1", "profile": profile}, {"id": "2", "profile": profile[:1]}
    )
    dataset = make("lamp-3").load(tmp_path)
    (query,) = dataset.queries
    assert (query.gold, query.focus, query.options) == ("1", "Still weak.", ("1", "2", "3", "4", "5"))
    assert [(r.output, r.meta["product"]) for r in dataset.histories["1"]] == [("4", "Jam")]
    assert dataset.dropped["history too short to hold out its last item"] == 1


@pytest.mark.parametrize(
    ("text", "label"), [("5", "5"), (" 4.0\n", "4"), ("7", "7"), ("4 stars", None), ("nan", None), ("", None)]
)
def test_a_rating_is_the_whole_answer(text, label):
    task = make("lamp-3")
    assert task.parse(text, Query("q", "u", (), "5", task.labels)) == label


def test_ratings_that_cannot_be_parsed_count_as_the_farther_end():
    task = make("lamp-3")
    queries = [Query(gold, "u", (), gold, task.labels) for gold in "135"]
    answers = [Answer("x", task.parse("x", query)) for query in queries]
    assert sum(task.metrics[0].score(*pair) for pair in zip(queries, answers, strict=True)) / 3 == pytest.approx(10 / 3)


@pytest.mark.parametrize("text", ["1", "[3]", "The answer is [1]", ""])
def test_what_is_no_citation_label_is_no_answer(text):
    task = make("lamp-1")
    assert task.parse(text, Query("q", "u", (), "[1]", task.labels)) is None


def test_titles_are_asked_for_and_the_gold_is_not_in_the_history(tmp_path):
    profile = [paper("My Title", "Alpha."), paper("Other", "Beta."), paper("Last", "Gamma.")]
    asked = {"id": "1", "input": "Delta.", "output": "my  title", "profile": profile}
    write_lines(
        tmp_path / "lamp" / "lamp5_x.jsonl", asked, {"id": "2", "input": "?", "output": None, "profile": profile}
    )
    dataset = make("lamp-5").load(tmp_path)
    first, second = dataset.queries
    assert (first.focus, first.gold) == ("Delta.", "my  title")
    assert [r.output for r in dataset.histories["1"]] == ["Other", "Last"]
    assert (second.focus, second.gold) == ("Gamma.", "Last")
    assert make("lamp-5").parse(" A title \n", first) == "A title"


def test_tweets(tmp_path):
    def person(name, output):
        tweets = [{"id": str(n), "text": f"{name} says {n}"} for n in range(3)]
        return {"id": name, "input": f"{name} is tired.", "profile": tweets, "output": output}

    write_lines(
        tmp_path / "lamp" / "lamp7_x.jsonl", *(person(name, "so tired" if name == "a" else None) for name in "abcd")
    )
    dataset = make("lamp-7").load(tmp_path)
    groups = [(query.id, query.group) for query in dataset.queries]
    assert groups == [("a/next", "next"), ("a", "paraphrase"), *((f"{name}/next", "next") for name in "bcd")]
    later, said = dataset.queries[:2]
    assert (later.gold, said.gold, said.focus) == ("a says 2", "so tired", "a is tired.")
    assert later.reference == said.reference == ("a says 0", "a says 1")
    assert len(later.foils) == 2
    assert not any("a says" in foil for foil in later.foils)
    assert said.foils == ()
    rouge = make("lamp-7").metrics[3]
    assert rouge.score(later, Answer("so tired", None)) is None
    assert rouge.score(said, Answer("so tired", None)) == 1.0
    assert make("lamp-7").load(tmp_path).queries == dataset.queries


@pytest.mark.parametrize("name", ["lamp-1", "lamp-2n", "lamp-2m", "lamp-3", "lamp-4", "lamp-5", "lamp-7"])
def test_a_missing_folder_names_the_layout_and_the_publisher(tmp_path, name):
    with pytest.raises(SourceError, match=r"lamp-benchmark\.github\.io") as caught:
        make(name).load(tmp_path)
    assert str(tmp_path / "lamp") in str(caught.value)


def test_questions_without_outputs_are_no_task(citations):
    (citations / "lamp" / "LaMP_1" / "dev" / "dev_outputs.json").unlink()
    with pytest.raises(SourceError, match="outputs file beside it"):
        make("lamp-1").load(citations)


def test_broken_files_are_named(citations):
    write_lines(citations / "lamp" / "lamp5_x.jsonl", {"id": "1"})
    with pytest.raises(SourceError, match=r"lamp5_x\.jsonl, row 1"):
        make("lamp-5").load(citations)
    (citations / "lamp" / "LaMP_1" / "dev" / "dev_outputs.json").write_text('{"golds": 3}')
    with pytest.raises(SourceError, match=r"dev_outputs\.json"):
        make("lamp-1").load(citations)


def test_official_scores_are_compared_as_whole_stars(tmp_path):
    profile = [{"id": "a", "text": "Good.", "score": "4.0"}, {"id": "b", "text": "Odd.", "score": "many"}]
    row = {"id": "1", "input": "What is the score ...? review: Best: ever.", "profile": profile}
    official(tmp_path / "lamp" / "LaMP_3", "LaMP_3", [row], ["5.0"])
    dataset = make("lamp-3").load(tmp_path)
    assert [(q.gold, q.focus) for q in dataset.queries] == [("5", "Best: ever.")]
    assert [r.output for r in dataset.histories["1"]] == ["4"]
    assert dataset.dropped == {"history item without the task's fields": 1}


LONG = {
    "longlamp-abstract": (
        "abstract_generation_user",
        "name",
        'Generate an abstract for the title "Tides" using the following items: 1. moon.',
        [
            {"id": "1", "title": "tides", "abstract": "x", "year": 2001},
            {"id": "2", "title": "Sand", "abstract": "Dry."},
        ],
        'Tides" using the following items: 1. moon.',
    ),
    "longlamp-topic": (
        "topic_writing_user",
        "author",
        "Generate the content for a reddit post Tides",
        [{"id": "1", "summary": "Tides", "content": "x"}, {"id": "2", "summary": "Sand", "content": "Dry."}],
        "Tides",
    ),
    "longlamp-review": (
        "product_review_user",
        "reviewerId",
        "Generate the review text written by a reviewer who has given an overall rating of 4.0 for a product with "
        "description Tides. The summary of the review text is Wet.",
        [
            {"description": "Tides", "overall": "4.0", "reviewText": "x", "summary": "y"},
            {"description": "Sand", "overall": "4.0", "reviewText": "Dry.", "summary": "z"},
        ],
        "Tides. The summary of the review text is Wet.",
    ),
}


@pytest.mark.parametrize("name", LONG)
def test_longlamp_rows(tmp_path, name):
    folder, key, question, profile, focus = LONG[name]
    row = {key: "Ada", "input": question, "output": "A long text.", "profile": profile}
    write_lines(tmp_path / "longlamp" / folder / "test.jsonl", row, row | {"input": f"{question}!"}, row)
    dataset = make(name).load(tmp_path)
    query = dataset.queries[0]
    assert (query.user, query.gold, query.focus) == ("Ada", "A long text.", focus)
    assert query.messages[0]["content"] == question
    assert [(r.input, r.output) for r in dataset.histories["Ada"]] == [("Sand", "Dry.")]
    assert query.reference == ("Dry.",)
    assert dataset.dropped["question that was read before"] >= 1


@pytest.mark.parametrize("name", LONG)
def test_longlamp_absent_or_broken(tmp_path, name):
    with pytest.raises(SourceError, match=r"huggingface\.co/datasets/LongLaMP"):
        make(name).load(tmp_path)
    write_lines(tmp_path / "longlamp" / f"{LONG[name][0]}.jsonl", {"input": "x"})
    with pytest.raises(SourceError, match="row 1"):
        make(name).load(tmp_path)


def test_citations_asked_by_title_are_the_same_decisions(citations):
    whole, titles = make("lamp-1").load(citations), make("lamp-1-title").load(citations)
    (query,) = titles.queries
    assert query.options == ('Pumps, and "[2]" valves', "Bees in winter")
    assert query.gold == query.options[0]
    assert (query.user, query.time, query.item) == tuple(getattr(whole.queries[0], f) for f in ("user", "time", "item"))
    assert [(r.input, r.output) for r in titles.histories["100"]] == [("", "Valves")]
