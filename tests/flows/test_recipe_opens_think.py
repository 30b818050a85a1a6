"""The whole recipe, small, on a base whose chat template opens the reasoning block in the prompt."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from configs.load import load_settings
from models.pairs.preference import Task
from models.verdict.grammar import THINK_OPEN, Verdict
from models.verdict.parsing import parse_verdict
from tasks.pipeline.run import open_store
from tests.tasks import small_recipe as small

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]
BASE = small.REPOSITORY / "models" / "shapes" / "base"
HEADING = "'<|im_start|>assistant\\n'"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The recipe run once on a copy of the base with such a template, and what it said."""
    folder = tmp_path_factory.mktemp("recipe")
    base = folder / "base"
    shutil.copytree(BASE, base)
    template = base / "chat_template.jinja"
    opened = template.read_text().replace(HEADING, f"{HEADING} + '{THINK_OPEN}\\n'")
    assert opened.count(THINK_OPEN) == 1
    template.write_text(opened)
    return folder, small.run_json("run", folder=folder, model__base=str(base))


def test_every_stage_is_computed_and_the_cold_start_teaches_the_grammar(recipe: tuple[Path, dict[str, Any]]) -> None:
    _, said = recipe
    assert set(small.states(said).values()) == {"computed"}
    valid = {name: scores["valid_rate"] for name, scores in said["accuracy"].items()}
    assert valid["base"] < 0.02
    assert valid["cold-start"] > 0.2
    assert valid["grpo"] > 0.2


def test_sampled_reasoning_is_whole_and_some_of_it_is_kept(recipe: tuple[Path, dict[str, Any]]) -> None:
    folder, said = recipe
    settings = load_settings("shapes", small.sets(folder))
    store = open_store(settings)
    kind, digest = next(one for one in said["stages"] if one["name"] == "rejection-sampling")["artifacts"][
        "trajectories"
    ].split("/")
    table = pq.read_table(store.fetch(store.reference(kind, digest)) / "sampled.parquet")
    tasks = {pair["pair_id"]: Task(pair["task"]) for pair in _rates(store, kind, digest)}
    texts = list(zip(table["pair_id"].to_pylist(), table["text"].to_pylist(), strict=True))
    assert all(text.startswith(THINK_OPEN) for _, text in texts)
    assert any(isinstance(parse_verdict(text, tasks[one]), Verdict) for one, text in texts)
    assert table["rejection"].null_count > 0


def _rates(store: Any, kind: str, digest: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(
        store.fetch(store.reference(kind, digest)) / "pass_rates.parquet"
    ).to_pylist()
    return rows


def test_the_champion_loads_in_a_fresh_process_and_answers_in_the_grammar(recipe: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = recipe
    program = (
        "import mlflow, json\n"
        f"mlflow.set_tracking_uri('sqlite:///{folder}/mlflow.db')\n"
        "model = mlflow.pyfunc.load_model('models:/thinkreward@champion')\n"
        "from models.shapes.pairs import make_pair; from models.pairs.preference import Task\n"
        "rows = []\n"
        "for number in range(8):\n"
        "    made = make_pair(Task.IMAGE_GENERATION, number, seed=3, held_out=True)\n"
        "    a, b = made.blobs.values()\n"
        "    row = {'task': 'image_generation', 'prompt': made.pair.prompt, 'candidate_1': a, 'candidate_2': b}\n"
        "    rows.append(row)\n"
        "said = model.predict(rows, params={'max_tokens': 170})\n"
        "direct = model.predict(rows, params={'mode': 'direct', 'max_tokens': 24})\n"
        "valid = [[bool(one) for one in table['valid']] for table in (said, direct)]\n"
        "print(json.dumps([list(said['text']), *valid]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=small.environment(folder), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    texts, thinking, direct = json.loads(done.stdout.splitlines()[-1])
    assert all(text.startswith(THINK_OPEN) for text in texts)
    assert any(thinking)
    assert any(direct)
