"""Speed: distillation from a teacher that is waited for, next to the ideal, requests x latency / concurrency.

    python -m tests.proofs.speed_distill [--full]

The pairs, the requests with their pictures, the client, its pace and budget, and the kept answers are those of the
stage (`tasks/stages/distill.py`); the teacher is a real socket in another process that sleeps
(`tests.proofs.slow_teacher`). One request goes ahead of all others, so that a wrong key costs one: that is in the
figure.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.proofs.speed_rows import Row, main_of, row

TARGET = 0.95
CONCURRENCY = 16


def rows(full: bool = False) -> Iterator[Row]:
    """One row."""
    from models.generation.endpoint_address import Endpoint
    from models.generation.limits import Limits
    from models.pairs.dataset import PreferenceDataset, write_dataset
    from models.pairs.preference import Task
    from models.shapes.pairs import make_pair
    from models.shapes.teacher_answers import Faults, answer_request
    from models.teacher.asking import ask_all
    from models.teacher.distillation import PairRequests, distill
    from tasks.stages.distill import KeptAnswers
    from tasks.store.artifacts import Store
    from tests.proofs.slow_teacher import slow_teacher

    latency_s, requests, rounds = (1.0, 1600, 3) if full else (1.0, 640, 2)
    ideal = requests * latency_s / CONCURRENCY
    taken = []
    with tempfile.TemporaryDirectory(prefix="thinkreward-speed-") as name:
        folder = Path(name)
        made = [make_pair(Task.IMAGE_GENERATION, at, seed=6, held_out=False) for at in range(requests)]
        blobs = {uri: data for one in made for uri, data in one.blobs.items()}
        (folder / "set").mkdir()
        write_dataset(folder / "set", {"train": [one.pair for one in made]}, blobs)
        dataset = PreferenceDataset(folder / "set", max_pixels=147_456, max_frames=8)
        pairs = dataset.pairs("train")
        body = json.loads(json.dumps({"messages": PairRequests(pairs, dataset)[0]}))
        with slow_teacher(latency_s, answer_request(body, Faults(), seed=0)) as teacher:
            endpoint = Endpoint(base_url=teacher.base_url, api_key="none", model="slow")
            for number in range(rounds):
                store, out = Store(str(folder / f"store-{number}")), folder / f"out-{number}"
                out.mkdir()
                kept = KeptAnswers(store.work("teacher", "0" * 64))
                limits = Limits(concurrency=CONCURRENCY)
                ask = partial(ask_all, endpoint=endpoint, limits=limits, store=kept, mode="online")
                begun = time.perf_counter()
                facts = distill(pairs, dataset, out, ask=ask)
                taken.append(time.perf_counter() - begun)
                if facts["answered"] != requests or facts["usage"]["requests"] != requests:
                    raise AssertionError(f"{facts['answered']} of {requests} were answered: {facts['usage']}")
    what = f"{requests} requests of {latency_s:g} s, {CONCURRENCY} at once"
    note = f"{rounds} rounds, {what}: {min(taken):.1f} s at best, {ideal:.1f} s ideal"
    yield row(
        "distillation, a teacher that is waited for, against the ideal", [ideal / one for one in taken], TARGET, note
    )


if __name__ == "__main__":
    sys.exit(main_of(rows, __doc__))
