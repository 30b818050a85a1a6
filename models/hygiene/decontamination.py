"""Training pairs that would give away a benchmark.

Out goes, of whatever task, a pair that shows a medium of a benchmark (the same bytes, or near by its perceptual hash),
and of the generation tasks one that has a caption of a benchmark, image or video alike. A question gives nothing away:
thousands of pictures share `What is in the image?`. Where in doubt a pair goes: a training pair too few costs little,
a benchmark that was trained on measures nothing.
"""

from collections.abc import Iterable, Mapping

from models.hygiene.dedup_record import DedupRecord, normalised_text, ordered
from models.hygiene.duplicates import NEAR_BITS
from models.hygiene.near_index import DistinctMedia, NearIndex
from models.hygiene.removal import FilterResult, RemovedPair


def decontaminated(
    pairs: Iterable[DedupRecord], benchmarks: Mapping[str, Iterable[DedupRecord]], within: int = NEAR_BITS
) -> FilterResult:
    """Without what shows a benchmark; the reason names it and its pair, of several the first by name and id.

    Raises `ConfigError` for a distance beyond 16, `DataError` for a benchmark that has an id twice.
    """
    training = ordered(pairs)
    public = [(name, pair) for name in sorted(benchmarks) for pair in ordered(benchmarks[name])]
    shown = _first_to_show(public)
    captions = _first_to_ask(public)
    alike = _near_ones(training, public, shown, within)
    kept: list[DedupRecord] = []
    removed: list[RemovedPair] = []
    for pair in training:
        reason = _objection(pair, shown, alike, captions)
        if reason:
            removed.append(RemovedPair(pair.source, pair.id, reason))
        else:
            kept.append(pair)
    return FilterResult(kept, removed)


def _objection(
    pair: DedupRecord, shown: Mapping[str, str], alike: Mapping[str, str], captions: Mapping[str, str]
) -> str:
    for sha256 in pair.media:
        if sha256 in shown:
            return f"benchmark medium: shows one of {shown[sha256]}"
    for sha256 in pair.media:
        if sha256 in alike:
            return f"near benchmark medium: shows what looks like one of {alike[sha256]}"
    whose = captions.get(normalised_text(pair.prompt)) if pair.task.judges_media else None
    return f"benchmark prompt: has that of {whose}" if whose else ""


def _first_to_show(public: Iterable[tuple[str, DedupRecord]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, pair in public:
        for sha256 in pair.media:
            found.setdefault(sha256, _called(name, pair))
    return found


def _first_to_ask(public: Iterable[tuple[str, DedupRecord]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, pair in public:
        if pair.task.judges_media:
            found.setdefault(normalised_text(pair.prompt), _called(name, pair))
    return found


def _near_ones(
    training: list[DedupRecord], public: list[tuple[str, DedupRecord]], shown: Mapping[str, str], within: int
) -> dict[str, str]:
    """The training media that look like one of a benchmark, and the first pair that shows that one."""
    media = DistinctMedia([*(pair for _, pair in public), *training], within)
    index = NearIndex(media, list(zip(media.numbers.values(), strict=True)), [0] * len(media.numbers))
    named = list(media.numbers)
    found: dict[str, str] = {}
    for sha256, called in shown.items():  # in the order of the benchmarks' names and ids
        for number in index.near(media.numbers[sha256]):
            found.setdefault(named[number], called)
    return found


def _called(benchmark: str, pair: DedupRecord) -> str:
    return f"{benchmark}, pair {pair.id}"
