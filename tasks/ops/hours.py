"""How long a run takes on its devices: from rates that somebody states, or from a rehearsal that measured them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from configs.schema import Settings, Sft
from models.errors import ConfigError
from models.pairs.preference import Task
from tasks.ops.base_shape import base_shape
from tasks.ops.counting import ORDERS, StageWork, There, pairs_there, work_of
from tasks.ops.estimate import MODELS, Quantity, grpo_steps
from tasks.ops.rehearse import repeated, scaled_down
from tasks.ops.stage_memory import prompt_tokens

KINDS = ("training", "sampling")
FORM = "give a number, or training=NUMBER and sampling=NUMBER"


def rates_of(words: Sequence[str]) -> dict[str, float]:
    """Tokens a second of training and sampling, from `1500` for both, or `training=4000` and `sampling=900`.

    Raises `ConfigError` for what is none of these, and where one of the two is missing.

    >>> rates_of(["1500"]), rates_of(["training=4000", "sampling=900"])
    ({'training': 1500.0, 'sampling': 1500.0}, {'training': 4000.0, 'sampling': 900.0})
    """
    rates: dict[str, float] = {}
    for word in words:
        kind, equals, text = word.rpartition("=")
        try:
            rate = float(text)
        except ValueError:
            rate = 0.0
        if not 0 < rate < float("inf") or (equals and kind not in KINDS):
            raise ConfigError(f"--tokens-per-second {word!r} is no rate: {FORM}")
        rates |= {kind: rate} if equals else dict.fromkeys(KINDS, rate)
    if missing := [kind for kind in KINDS if kind not in rates]:
        raise ConfigError(f"--tokens-per-second does not name {missing[0]}: {FORM}")
    return rates


def assumed_hours(settings: Settings, rates: Mapping[str, float]) -> list[Quantity]:
    """Hours of each part at stated rates of one device: tokens trained on, prompts with them, and tokens sampled.

    Raises `ConfigError` for a base whose shape is unknown here.
    """
    shape = base_shape(settings)
    if shape is None:
        raise ConfigError(
            f"model.base is {settings.model.base}, of whose shape nothing is known here, so that its tokens cannot be "
            "counted: download the base once, or give a rehearsal with --measured"
        )
    work, r, g, e = _work(settings), settings.rejection_sampling, settings.grpo, settings.evaluate
    prompts = {task: prompt_tokens(settings, shape, task) for task in Task}
    mean = sum(prompts.values()) / len(prompts)

    def tuned(sft: Sft, pairs: Mapping[Task, int], tokens: int) -> float:
        reasoning = sum(count * (prompts[task] + tokens) for task, count in pairs.items())
        return (reasoning + work.direct(sft) * mean) * sft.epochs

    sampled = sum(work.sampled.values()) * ORDERS * r.samples * r.max_tokens
    rollouts = work.optimised * ORDERS * g.group * g.epochs
    rounds = 1 + grpo_steps(settings, work) // g.validate_every
    validated = work.validating * ORDERS * rounds * g.max_tokens
    parts = [
        ("cold-start", tuned(settings.cold_start, work.asked, settings.distill.max_tokens), 0.0),
        ("sampling", 0.0, float(sampled)),
        ("sampling-sft", tuned(r.sft, work.kept, r.max_tokens), 0.0),
        ("grpo", rollouts * (mean + g.max_tokens), rollouts * g.max_tokens + validated),
        ("judging", 0.0, float(work.judged * ORDERS * MODELS * e.max_tokens)),
    ]
    return _rows([(name, *_at(rates, settings, trained, made)) for name, trained, made in parts])


def _at(rates: Mapping[str, float], settings: Settings, trained: float, made: float) -> tuple[float, str]:
    """Hours of so many tokens trained on, shared by the processes, and so many sampled, by one; and how."""
    processes = settings.runtime.processes
    hours = trained / rates["training"] / processes / 3600 + made / rates["sampling"] / 3600
    shared = f" on each of {processes} devices" if processes > 1 else ""
    parts = [f"{trained:,.0f} tokens trained on at {rates['training']:g} a second{shared}"] if trained else []
    parts += [f"{made:,.0f} tokens sampled at {rates['sampling']:g} a second"] if made else []
    return hours, f"assumed: {', '.join(parts)}, all at their longest"


def measured_hours(settings: Settings, file: Path) -> list[Quantity]:
    """Hours of each part at the seconds a step that a rehearsal of these settings measured.

    Raises `ConfigError` for a file that `thinkreward rehearse --json` did not write, for one of a reduced copy, and
    where it was made with other settings.
    """
    rehearsal = _rehearsal(file)
    if rehearsal["reduced"]:
        raise ConfigError(
            f"{file} is a rehearsal of a reduced copy, whose figures are not the profile's: rehearse where the whole "
            "model fits, or state a rate with --tokens-per-second"
        )
    by_name = {row["stage"]: row for row in rehearsal["stages"]}
    found: list[tuple[str, float | None, str]] = []
    for part in repeated(settings, scaled_down(settings, smaller=False), _work(settings)):
        row = by_name.get(part.name, {})
        seconds = row.get("seconds_per_step")
        if seconds is None:
            found.append((part.name, None, f"not measured: {row.get('note', 'the rehearsal has no such stage')}"))
            continue
        if row["note"] != part.what:
            raise ConfigError(
                f"{file} measured {part.name} by {row['note']!r}, where these settings take {part.what!r}: rehearse "
                "with these settings, `thinkreward rehearse --json`"
            )
        how = f"measured on {rehearsal['device']}: {part.times:,.0f} x {seconds:g} s, {part.what}"
        found.append((part.name, float(seconds) * part.times / 3600, how))
    return _rows(found)


def _rehearsal(file: Path) -> dict[str, Any]:
    """What `rehearse --json` wrote. Raises `ConfigError` for any other file."""
    try:
        rehearsal = json.loads(file.read_text(encoding="utf-8").strip().splitlines()[-1])
        rows = [(row["stage"], row["note"], row["seconds_per_step"]) for row in rehearsal["stages"]]
        if not isinstance(rehearsal["reduced"], bool) or not isinstance(rehearsal["device"], str):
            raise TypeError("reduced and device")
        if any(seconds is not None and not float(seconds) >= 0 for _, _, seconds in rows):
            raise ValueError("seconds_per_step")
    except OSError as error:
        raise ConfigError(f"--measured {file} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise ConfigError(
            f"--measured {file} is not what `thinkreward rehearse --json` prints: write that into the file"
        ) from error
    return dict(rehearsal)


def _work(settings: Settings) -> StageWork:
    found = pairs_there(settings)
    return work_of(settings, found if isinstance(found, There) else None)


def _rows(found: Sequence[tuple[str, float | None, str]]) -> list[Quantity]:
    rows = [Quantity(f"hours, {name}", "unknown" if hours is None else _said(hours), how) for name, hours, how in found]
    known = [hours for _, hours, _ in found if hours is not None]
    missing = "" if len(known) == len(found) else " of those that are known"
    return [
        *rows,
        Quantity("hours, all", _said(sum(known)), f"sum{missing}; without preparing, the teacher and loading"),
    ]


def _said(hours: float) -> str:
    """Hours with as many digits as mean something.

    >>> _said(0.0123), _said(3.21), _said(1234.5)
    ('0.01', '3.2', '1,234')
    """
    return f"{hours:.2f}" if hours < 1 else f"{hours:.1f}" if hours < 100 else f"{hours:,.0f}"
