"""``idiolect bench``: does personalization help, whom, and at what cost."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO, cast

import typer

from idiolect import config
from idiolect.cli.options import BackendName, Json
from idiolect.cli.output import console, emit, note, progress, safe, table
from idiolect.cli.root import PROOF, epilog, group
from idiolect.cli.session import passphrase
from idiolect.errors import ConfigError, InputError, SourceError

if TYPE_CHECKING:
    from idiolect.bench.run import Bench, Options
    from idiolect.config import Settings

bench = group(
    "bench",
    "Measure whether personalization helps, whom, and at what cost.",
    panel=PROOF,
    epilog=epilog("idiolect bench run lamp-2n --data DIR"),
)

METHODS = "retrieval,profile,default"
OWN_METHODS = "retrieval,profile,memory,author,default"

MethodNames = Annotated[
    str,
    typer.Option(
        "--method",
        metavar="NAMES",
        help="Methods with commas: NAME, NAME:setting=value, A+B for both at once, 'default' for what the settings "
        "serve, 'bm25' and 'dense' for textbook searches, NAME@other|random|recent|bm25|dense for another view. "
        "The controls none, other, random and recent always run.",
    ),
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting of the backend; may be repeated.")
]
Limit = Annotated[
    int | None, typer.Option(min=1, help="At most so many queries a task, from as many people as there are.")
]
Seed = Annotated[int, typer.Option(help="Draws people, queries, partners and random records.")]
Tokens = Annotated[int | None, typer.Option(min=0, help="Budget of the personal part of the prompt, in tokens.")]
Peers = Annotated[
    int, typer.Option(min=0, help="So many further people are read in where a method learns from others.")
]
ColdStart = Annotated[
    bool, typer.Option("--cold-start", help="Also run the methods with 0, 1, 2, 5, 10 and 20 records a person.")
]
Score = Annotated[
    str, typer.Option(help="How choices are scored: auto, likelihood or text.", metavar="HOW", show_default=True)
]
Out = Annotated[
    Path | None,
    typer.Option(dir_okay=False, help="Write the results here, and a line for each answer to a .jsonl beside it."),
]
CacheFile = Annotated[
    Path | None, typer.Option(dir_okay=False, help="Where answers are kept, so that a killed run goes on.")
]


@bench.command("tasks", epilog=epilog("idiolect bench tasks"))
def tasks(json: Json = False) -> None:
    """List the tasks with metrics, paper, licence and where the data is published."""
    from idiolect import registry

    found = [
        {
            "name": entry.name,
            "summary": entry.summary,
            "version": cast("Any", entry.make).version,
            "form": cast("Any", entry.make).form,
            "metrics": [metric.name for metric in cast("Any", entry.make).metrics],
            "predictors": list(cast("Any", entry.make).predictors),
            **entry.info,
        }
        for entry in registry.tasks
    ]
    if json:
        emit(found)
        return
    rows = table("name", "metrics", "what is asked", "licence of the data")
    for task in found:
        rows.add_row(task["name"], ", ".join(task["metrics"]), task["summary"], task["licence"])
    console().print(rows)


@bench.command(
    "run", epilog=epilog("idiolect bench run lamp-2n locomo --method retrieval,profile --data DIR --out result.json")
)
def run(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="TASK...",
            help="Tasks by name, with settings as NAME:setting=value; 'all' for all whose data is there.",
        ),
    ],
    method: MethodNames = METHODS,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", envvar="IDIOLECT_DATA", file_okay=False, help="Folder of the data sets."),
    ] = None,
    limit: Limit = None,
    seed: Seed = 0,
    tokens: Tokens = None,
    peers: Peers = 100,
    cold_start: ColdStart = False,
    score: Score = "auto",
    backend: BackendName = None,
    set_: Set = None,
    out: Out = None,
    cache: CacheFile = None,
    json: Json = False,
) -> None:
    """Run tasks over public data sets: every method beside every control, on the same people and questions."""
    from idiolect import registry

    if data is None or not data.is_dir():
        raise SourceError(f"there is no data folder {data or ''}. Name it with --data DIR or IDIOLECT_DATA.")
    chosen = _chosen(names, data)
    settings = _settings(backend, set_)
    options = replace(_options(settings, limit, seed, tokens, cold_start, score), peers=peers)
    documents = []
    with _opened(settings, method, options, cache) as (made, bars), _lines(out) as lines:
        for given in chosen:
            name, table = registry.read_settings(given)
            task = registry.build(registry.tasks.get(name), table)
            bars(f"{name}: loading", 0, 1)
            document = made.run(name, task, task.load(data), lines)
            documents.append(
                {
                    **document,
                    "command": _command(
                        [*_helper(settings), *_run_words(given, options)], method, options, backend, set_
                    ),
                }
            )
            _finish(documents, out, json)
    if json:
        emit(_whole(documents))


@bench.command("own", epilog=epilog("idiolect bench own --hold-out 5 --out own.json"))
def own(
    method: Annotated[
        str,
        typer.Option(metavar="NAMES", help="Methods as for 'bench run'."),
    ] = OWN_METHODS,
    hold_out: Annotated[int, typer.Option(min=1, help="So many of each person's latest records are asked for.")] = 5,
    least: Annotated[int, typer.Option(min=2, help="People with fewer records are left out.")] = 10,
    limit: Annotated[int | None, typer.Option(min=1, help="Look at so many people at most.")] = None,
    seed: Seed = 0,
    tokens: Tokens = None,
    cold_start: ColdStart = False,
    score: Score = "auto",
    backend: BackendName = None,
    set_: Set = None,
    out: Out = None,
    cache: CacheFile = None,
    json: Json = False,
) -> None:
    """Measure on your own users: hold out each one's latest records and foresee them from the earlier ones.

    Results hold neither text nor user ids. Another person's records do enter a prompt: that is the control 'other'.
    """
    from idiolect.bench.own import NAME, Own
    from idiolect.opening import open_store

    settings = _settings(backend, set_)
    options = _options(settings, None, seed, tokens, cold_start, score)
    store = open_store(settings, passphrase)
    try:
        with _opened(settings, method, options, cache) as (made, _), _lines(out) as lines:
            task = Own(hold_out, least)
            task = replace(task, likelihood=made.likely(task))
            dataset = task.held_out(store, (info.id for info in store.everybody()), limit, seed)
            made.people = lambda user: "" if (key := store.key(user)) is None else key.mac("bench").hex()[:12]
            document = made.run(NAME, task, dataset, lines, store)
            words = [*_helper(settings), "idiolect", "bench", "own", "--hold-out", str(hold_out), "--least", str(least)]
            words += [] if limit is None else ["--limit", str(limit)]
            documents = [{**document, "command": _command(words, method, options, backend, set_)}]
            _finish(documents, out, json)
    finally:
        store.close()
    if json:
        emit(_whole(documents))


@bench.command("report", epilog=epilog("idiolect bench report result.json --out report.html --markdown report.md"))
def report(
    files: Annotated[list[Path], typer.Argument(metavar="FILES", exists=True, dir_okay=False, help="Result files.")],
    out: Annotated[Path, typer.Option(dir_okay=False, help="The page to write.")] = Path("report.html"),
    markdown: Annotated[Path | None, typer.Option(dir_okay=False, help="Also write the same as Markdown.")] = None,
    svg: Annotated[Path | None, typer.Option(dir_okay=False, help="Also write the overview as a picture.")] = None,
) -> None:
    """Write one page with plots: methods by task, cold start, gain against cost, people helped and harmed."""
    from idiolect.bench import report as reports
    from idiolect.bench.result import read

    documents = [document for path in files for document in read(path)]
    _write(out, reports.html(documents))
    note(f"wrote {out}")
    if markdown is not None:
        _write(markdown, reports.markdown(documents))
        note(f"wrote {markdown}")
    if svg is not None:
        _write(svg, reports.overview_svg(documents))
        note(f"wrote {svg}")


@bench.command("compare", epilog=epilog("idiolect bench compare before.json after.json"))
def compare(
    a: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A result file.")],
    b: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Another one.")],
    json: Json = False,
) -> None:
    """Compare two runs method by method, on the people that both have."""
    from idiolect.bench import compare as comparing
    from idiolect.bench.result import read

    left = {document["task"]: document for document in read(a)}
    pairs = [(left[document["task"]], document) for document in read(b) if document["task"] in left]
    if not pairs:
        raise InputError(f"{a} and {b} have no task in common")
    found = [comparing.compare(*pair) for pair in pairs]
    if json:
        emit(found)
        return
    for one in found:
        typer.echo(safe(comparing.text(one)))


def _chosen(names: Sequence[str], data: Path) -> list[str]:
    from idiolect import registry

    if list(names) != ["all"]:
        for name in names:
            registry.tasks.get(registry.read_settings(name)[0])
        return list(dict.fromkeys(names))
    found = []
    for entry in registry.tasks:
        try:
            registry.build(entry, {}).load(data)
            found.append(entry.name)
        except SourceError as error:
            note(f"left out {entry.name}: {error}")
    return found


def _settings(backend: str | None, given: Sequence[str] | None) -> Settings:
    from idiolect import registry

    settings = config.load(overrides={} if backend is None else {"backend": backend})
    table: dict[str, Any] = dict(settings.backends.get(settings.backend, {}))
    for setting in given or ():
        key, sign, value = setting.partition("=")
        if not sign:
            raise ConfigError(f"--set takes KEY=VALUE, not {setting!r}")
        table[key] = registry.value_of(value)
    return replace(settings, backends={**settings.backends, settings.backend: table})


def _options(
    settings: Settings, limit: int | None, seed: int, tokens: int | None, cold_start: bool, score: str
) -> Options:
    from idiolect.bench.run import COLD_START, Options

    if score not in ("auto", "likelihood", "text"):
        raise typer.BadParameter(f"{score!r} is not auto, likelihood or text", param_hint="--score")
    budget = settings.prompt.tokens if tokens is None else tokens
    return Options(limit, seed, budget, COLD_START if cold_start else (), cast("Any", score))


@contextmanager
def _opened(
    settings: Settings, method: str, options: Options, cache: Path | None
) -> Iterator[tuple[Bench, Callable[[str, int, int], None]]]:
    """Open model, embedder and cache, and show progress while they are used."""
    from idiolect.bench.arms import arms
    from idiolect.bench.cache import Cache, CachedBackend, CachedEmbedder
    from idiolect.bench.run import Bench, backend_of
    from idiolect.opening import helper_of
    from idiolect.text.embedding import load_embedder

    chosen = arms(method, settings.methods)
    inner, told = backend_of(settings)
    kept = Cache(cache or _cache_path())
    embedder = load_embedder(settings.embedder)
    model = CachedBackend(inner, kept, repr(sorted(told["settings"].items())) + told["name"])
    written = helper_of(settings, deterministic=True)
    helper = None if written is None else CachedBackend(written, kept, f"helper {settings.helper}")
    with progress() as bars:
        bar = bars.add_task("starting", total=None, about="")

        def at(label: str, done: int, total: int) -> None:
            bars.update(bar, description=label, completed=done, total=total)

        try:
            wrapped = None if embedder is None else CachedEmbedder(embedder, kept)
            yield Bench(model, wrapped, chosen, options, told, at, helper=helper), at
        finally:
            if helper is not None and written is not None:
                written.close()
            model.close()


def _cache_path() -> Path:
    import os

    home = os.environ.get("IDIOLECT_HOME")
    if home:
        return Path(home) / "cache" / "bench.db"
    from platformdirs import user_cache_path

    return user_cache_path("idiolect") / "bench.db"


@contextmanager
def _lines(out: Path | None) -> Iterator[TextIO | None]:
    """Open the file of answers beside the results; it takes its name when the run is whole."""
    if out is None:
        yield None
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_suffix(".jsonl.part")
    with part.open("w", encoding="utf-8") as file:
        yield file
    part.replace(out.with_suffix(".jsonl"))


def _helper(settings: Settings) -> list[str]:
    return [f"IDIOLECT_HELPER={settings.helper}"] if settings.helper else []


def _run_words(task: str, options: Options) -> list[str]:
    limit = [] if options.limit is None else ["--limit", str(options.limit)]
    peers = [] if options.peers == type(options)().peers else ["--peers", str(options.peers)]
    return ["idiolect", "bench", "run", task, "--data", "DIR", *limit, *peers]


def _command(
    words: Sequence[str], method: str, options: Options, backend: str | None, given: Sequence[str] | None
) -> str:
    """Return the line that makes these numbers again, whatever folder the data is in; keys are left out."""
    words = [*words, "--method", method, "--seed", str(options.seed), "--tokens", str(options.tokens)]
    words += ["--cold-start"] if options.cold_start else []
    words += [] if options.scoring == "auto" else ["--score", options.scoring]
    words += [] if backend is None else ["--backend", backend]
    for setting in given or ():
        name = setting.partition("=")[0]
        words += ["--set", f"{name}=..." if "key" in name else setting]
    return shlex.join(words)


def _whole(documents: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return one task's document as it is, several under ``runs``."""
    return documents[0] if len(documents) == 1 else {"format": 1, "runs": list(documents)}


def _finish(documents: Sequence[Mapping[str, Any]], out: Path | None, json: bool) -> None:
    """Show the newest result, and write all that is there so far."""
    import orjson

    if not json:
        _show(documents[-1])
    if out is not None:
        _write(out, orjson.dumps(_whole(documents), default=repr).decode() + "\n")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{time.monotonic_ns()}")
    part.write_text(text, "utf-8")
    part.replace(path)


def _show(document: Mapping[str, Any]) -> None:
    main = document["main"]
    size = f"{document['people']:,} people, {document['queries']:,} queries"
    pilot = ", a pilot: fewer than 100 people" if document["pilot"] else ""
    typer.echo(safe(f"{document['task']}: {size}{pilot}; scored by {document['scored_by']}; {document['model']}"))
    present = {name for row in document["results"] for name in row["metrics"]}
    others = _others([m["name"] for m in document["metrics"][1:] if m["name"] in present])
    columns = ["method", f"{main} [95 %]", "gain on none", "p (Holm)", "helped", "harmed", *others, "tokens", "s"]
    rows = table(*columns, right=tuple(columns[1:]))
    for row in document["results"]:
        rows.add_row(*_cells(row, main, others))
    console(width=150).print(rows)
    sys.stdout.flush()


def _others(names: Sequence[str]) -> list[str]:
    """Return what stands beside the main metric: the task's second, and the finest one that there is."""
    fine = [name for name in ("calibrated_accuracy", "gold_probability") if name in names][:1]
    return list(dict.fromkeys([*names[:1], *fine, *names[1:2]]))[:2]


def _cells(row: Mapping[str, Any], main: str, others: Sequence[str]) -> list[str]:
    def shown(value: float | None, form: str = ".3f") -> str:
        return "-" if value is None or value != value else format(value, form)

    metrics, gain = row["metrics"], row["against"].get("none", {})
    found = metrics.get(main)
    whole = "-" if found is None else f"{found['mean']:.3f} [{shown(found['low'])}, {shown(found['high'])}]"
    share = [f"{gain[name] / max(1, gain['people']):.0%}" if gain else "" for name in ("helped", "harmed")]
    name = row["method"] if row["kind"] == "method" else f"{row['method']} ({row['kind']})"
    cost = ["", ""] if row["kind"] == "predictor" else [f"{row['prompt_tokens_mean']:.0f}", f"{row['seconds']:.0f}"]
    return [
        safe(name), whole, shown(gain["difference"], "+.3f") if gain else "",
        shown(gain.get("p_holm", gain["p"])) if gain else "", *share,
        *(shown(metrics[other]["mean"]) if other in metrics else "-" for other in others), *cost,
    ]  # fmt: skip
