"""`thinkreward judge`, `benchmark`, `doctor`, `estimate` and `rehearse`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from flows.cli.console import counting_bar, out, plain_table, print_json, screen
from flows.cli.options import DEFAULT_PROFILE, Json, Profile, Sets, named, settings_from
from models.errors import ConfigError

Files = Annotated[list[Path] | None, typer.Argument(metavar="[A B]", help="the two images or videos to compare")]


def judge(
    files: Files = None,
    prompt: Annotated[str | None, typer.Option(help="the caption, or the question")] = None,
    about: Annotated[Path | None, typer.Option(help="the image or video that the question is about")] = None,
    answer: Annotated[list[str] | None, typer.Option(help="an answer to the question; give two")] = None,
    model: Annotated[
        str, typer.Option(help="registry alias, artifact digest, base, or a folder such as ./model")
    ] = "champion",
    direct: Annotated[bool, typer.Option("--direct", help="the answer alone, without reasoning")] = False,
    profile: Profile = DEFAULT_PROFILE,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Compare two images or videos for a caption, or two answers to a question; prints reasoning and verdict."""
    from tasks.judging.files import judge_files

    if not prompt:
        raise ConfigError("judge needs --prompt: the caption of the two files, or the question")
    if bool(files) == bool(answer) or len(files or answer or ()) != 2 or bool(about) != bool(answer):
        raise ConfigError(
            "judge takes either two files (judge --prompt CAPTION A.png B.png) or a question with its medium and two "
            "answers (judge --prompt QUESTION --about A.png --answer X --answer Y)"
        )
    response = judge_files(
        settings_from(profile, sets),
        prompt=prompt,
        files=files or [],
        about=about,
        answers=answer or [],
        model=model,
        mode="direct" if direct else "think",
    )
    if as_json:
        print_json(response)
    else:
        out.print(response["text"], markup=False)
        shown = [file.name for file in files or ()] or ["the first answer", "the second answer"]
        out.print(f"\n[bold]{escape(conclusion(response, shown))}[/]")
    if not response["valid"]:
        raise typer.Exit(1)


def conclusion(response: Mapping[str, Any], shown: Sequence[str]) -> str:
    """Which candidate is better as given, and whether the judge says the same with the candidates swapped.

    >>> both = ["a.png", "b.png"]
    >>> conclusion({"preferred": 2, "preferred_swapped": 1, "both_orders_agree": True, "answer": ""}, both)
    'candidate 2 (b.png) is better; both orders agree'
    >>> conclusion({"preferred": 1, "preferred_swapped": 1, "both_orders_agree": False, "answer": ""}, both)
    'candidate 1 (a.png) is better; swapped, the judge prefers candidate 2 (b.png): it depends on the order'
    """

    def named(preferred: int | str | None) -> str:
        return f"candidate {preferred} ({shown[preferred - 1]})" if isinstance(preferred, int) else "neither"

    if response["preferred"] is None:
        return str(response["answer"])
    first = "both are equally good" if response["preferred"] == "tie" else f"{named(response['preferred'])} is better"
    if response["both_orders_agree"]:
        return f"{first}; both orders agree"
    swapped = response["preferred_swapped"]
    if swapped is None:
        return f"{first}; swapped, the judge gives no valid verdict"
    turned_back = {1: 2, 2: 1}.get(swapped, swapped)
    return f"{first}; swapped, the judge prefers {named(turned_back)}: it depends on the order"


def benchmark(
    sets_at: Annotated[list[str], typer.Argument(metavar="NAME=PLACE...", help="benchmarks and where their files are")],
    judge: Annotated[list[str] | None, typer.Option(help="as `thinkreward judge --model`, or endpoint:MODEL")] = None,
    direct: Annotated[bool, typer.Option("--direct", help="the answer alone, without reasoning")] = False,
    one_order: Annotated[bool, typer.Option("--one-order", help="one seeded order a pair, not both")] = False,
    votes: Annotated[int, typer.Option(help="sampled answers to each presentation; the majority counts")] = 1,
    temperature: Annotated[float | None, typer.Option(help="of sampling; none: greedy, or 1 with votes")] = None,
    to: Annotated[Path, typer.Option("--out", help="the leaderboard's HTML file")] = Path("leaderboard.html"),
    profile: Profile = DEFAULT_PROFILE,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Measure judges on public benchmarks by their papers' protocols and ours; writes a leaderboard page."""
    from models.generation.endpoint_fields import describe_fields
    from tasks.data.commands import place_of
    from tasks.judging.benchmarks import Protocol
    from tasks.judging.leaderboard import run_benchmarks

    settings = settings_from(profile, sets)
    protocol = Protocol.of(settings, direct=direct, both_orders=not one_order, votes=votes, temperature=temperature)
    form = "NAME=PLACE, such as vl_reward_bench=data/VL-RewardBench"
    places = [place_of(name, place) for name, place in named(sets_at, "benchmark", form).items()]
    judges = list(dict.fromkeys(judge or ["champion"]))
    with counting_bar(quiet=as_json) as on_progress:
        benched = run_benchmarks(settings, places, judges, protocol, on_progress)
    to.write_text(benched.page, encoding="utf-8")
    if as_json:
        print_json({**benched.scores, "leaderboard": str(to), "artifact": benched.ref.digest})
        return
    out.print(plain_table(benched.table))
    for name, sent in benched.scores["sent"].items():
        if sent["refused"]:
            out.print(f"{name}: {describe_fields(sent)}", markup=False)
    out.print(f"\nleaderboard  {to}\nartifact     leaderboard {benched.ref.short}", markup=False)


def doctor(profile: Profile = DEFAULT_PROFILE, sets: Sets = None, as_json: Json = False) -> None:
    """Check versions, accelerator, storage, MLflow and teacher; each line says ok or what to do."""
    from tasks.ops.doctor import examine

    checks = examine(settings_from(profile, sets))
    if as_json:
        print_json({"checks": [vars(check) for check in checks], "ok": all(check.ok for check in checks)})
    else:
        for check in checks:
            out.print(f"{'[green]ok[/]  ' if check.ok else '[red]fix[/] '} {check.name:<12} {check.detail}")
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


def estimate(
    rates: Annotated[
        list[str] | None,
        typer.Option(
            "--tokens-per-second",
            metavar="[KIND=]RATE",
            help="hours at this rate of one device; KIND is training or sampling, none for both",
        ),
    ] = None,
    measured: Annotated[
        Path | None, typer.Option(help="hours at the rates of a rehearsal: what `rehearse --json` printed, in a file")
    ] = None,
    profile: Profile = DEFAULT_PROFILE,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Say what a run would take: pairs, teacher calls and dollars, samples, steps, memory, hours and disk."""
    from tasks.ops.estimate import estimate_run
    from tasks.ops.hours import assumed_hours, measured_hours, rates_of

    settings = settings_from(profile, sets)
    if rates and measured:
        raise ConfigError("--tokens-per-second and --measured both say how fast it goes: give one of the two")
    rows = [] if not rates else assumed_hours(settings, rates_of(rates))
    rows += [] if measured is None else measured_hours(settings, measured)
    rows = [*estimate_run(settings), *rows]
    if as_json:
        print_json({"estimate": [vars(row) for row in rows]})
        return
    out.print(plain_table([["what", "amount", "how"], *([row.what, row.amount, row.how] for row in rows)]))


def rehearse(profile: Profile = DEFAULT_PROFILE, sets: Sets = None, as_json: Json = False) -> None:
    """Run two steps of each stage on a random model of the profile's architecture: memory, rates and hours."""
    from tasks.ops.rehearse import rehearse as rehearse_profile

    done = rehearse_profile(settings_from(profile, sets), lambda name: screen.print(f"rehearsing: {name}"))
    if as_json:
        print_json(done.as_json())
        return
    out.print(done.summary, markup=False)

    def shown(figure: float | None) -> str:
        return "-" if figure is None else f"{figure:,.2f}"

    rows = [
        [
            one.stage,
            *map(shown, (one.peak_memory_gib, one.tokens_per_second, one.seconds_per_step, one.hours)),
            one.note,
        ]
        for one in done.stages
    ]
    out.print(plain_table([["stage", "peak GiB", "tokens/s", "s/step", "hours", "note"], *rows]))
