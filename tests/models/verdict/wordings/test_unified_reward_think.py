"""Reading prompts out of scripts written as upstream writes them; the words here are our own."""

from pathlib import Path

import pytest

from models.errors import ConfigError
from models.pairs.preference import Candidate, Media, PreferencePair, Task
from models.verdict.wordings.unified_reward_think import (
    DIRECTORY,
    SCRIPTS,
    Template,
    digest,
    read_template,
    template,
    text,
)

CAPTIONED, ANSWERED = frozenset({"prompt"}), frozenset({"Query", "R1", "R2"})

IN_A_MESSAGE = r"""
raise SystemExit("a script that is read is never run")
prompt = ""
messages = [{"role": "user", "content": [
    {"type": "image", "image": image1},
    {"type": "text", "text": f"Compare, \'Image 1\' first.\n<think>\n1. Colour: ...\n</think>\nCaption: [{prompt}]"},
]}]
print(f"Acc.: {correct} / {total}")
"""
TRIPLE_QUOTED = """
def frames(path):
    raise ValueError(f"Cannot open video: {path}")

problem = f'''Compare videos of 「{prompt}」.

        1. Name: \\n            a line (1\u201310) {{kept}}
        '''
"""
PIECES = r"""
messages = [{"role": "user", "content": [
    {"type": "text", "text": "Judge the answers:\n" \
        "1. Clarity: is it clear?\n" \
        f"Question: {Query}\nAnswer 1: [{R1}]\nAnswer 2: [{R2}]\n"}
]}]
"""
IN_BRACKETS = r"""
prompt_text = (
    "Judge the answers.\n\n"
    f"Question: {Query}\n"
    f"Answer 1: {R1}\n"
    f"Answer 2: {R2}\n"
)
"""


def script(folder: Path, content: str) -> Path:
    path = folder / "infer.py"
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("content", "holes", "expected"),
    [
        (
            IN_A_MESSAGE, CAPTIONED,
            "Compare, 'Image 1' first.\n<think>\n1. Colour: ...\n</think>\nCaption: [<caption>]",
        ),
        (
            TRIPLE_QUOTED, CAPTIONED,
            "Compare videos of 「<caption>」.\n\n        1. Name: \n            a line (1\u201310) {kept}\n        ",
        ),
        (
            PIECES, ANSWERED,
            "Judge the answers:\n1. Clarity: is it clear?\nQuestion: <query>\nAnswer 1: [<one>]\nAnswer 2: [<other>]\n",
        ),
        (IN_BRACKETS, ANSWERED, "Judge the answers.\n\nQuestion: <query>\nAnswer 1: <one>\nAnswer 2: <other>\n"),
    ],
)  # fmt: skip
def test_a_prompt_is_read_character_for_character(
    content: str, holes: frozenset[str], expected: str, tmp_path: Path
) -> None:
    values = {"prompt": "<caption>", "Query": "<query>", "R1": "<one>", "R2": "<other>"}
    assert read_template(script(tmp_path, content), holes).filled(values) == expected


def test_what_fills_a_hole_is_not_filled_again() -> None:
    assert Template(("", " and ", ""), ("R1", "R2")).filled({"R1": "{R2}", "R2": "b"}) == "{R2} and b"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("problem = 'no hole'\n", "holds 0 prompts"),
        ("problem = f'{caption}'\n", "holds 0 prompts"),
        ("a = f'one {prompt}'\nb = f'two {prompt}'\n", "holds 2 prompts"),
        ("problem = (\n", "cannot be read"),
        ("\0", "cannot be read"),
    ],
)
def test_a_script_of_another_layout_is_refused(content: str, found: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=found):
        read_template(script(tmp_path, content), CAPTIONED)


def test_the_same_prompt_twice_in_a_script_is_one(tmp_path: Path) -> None:
    twice = script(tmp_path, "a = f'one {prompt}'\nb = f'one {prompt}'\n")
    assert read_template(twice, CAPTIONED).literals == ("one ", "")


def test_a_missing_clone_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DIRECTORY, raising=False)
    with pytest.raises(ConfigError, match=f"clone https://.* and set {DIRECTORY}"):
        template(Task.IMAGE_GENERATION, "think", "qwen25")
    monkeypatch.setenv(DIRECTORY, str(tmp_path))
    with pytest.raises(ConfigError, match=r"holds no script \*infer_cot_image_generation\.py"):
        template(Task.IMAGE_GENERATION, "think", "qwen25")


LATER = ("UnifiedReward-Think-qwen3vl-inference", "UnifiedReward-Think-qwen3-inference")  # before and after a renaming


def clone(folder: Path, extra: str = "", later: str = LATER[1]) -> Path:
    """A clone in upstream's layout, with words of our own."""
    think = folder / "UnifiedReward-Think"
    prefix = {LATER[0]: "qwen3vl", LATER[1]: "qwen3"}[later]
    for task in Task:
        holes = "{prompt}" if task.judges_media else "{Query} {R1} {R2}"
        noun = task.media_kind.capitalize() if task.judges_media else "Answer"
        line, block = f"1. Colour: {noun} 1 (x/10)", f"1. Colour:\\n    {noun} 1 (x/10)"
        scripts = {
            think / "inference_qwen" / task / f"qwen_infer_cot_{task}.py": f"{line} {holes}",
            think / "inference_qwen" / later / f"{prefix}_infer_cot_{task}.py": f"{block} {holes}",
            think / "inference_llava" / task / f"infer_cot_{task}.py": f"other words {line} {holes}",
            think / "benchmark_evaluation" / SCRIPTS["qwen25", "direct"].get(task, "none.py"): f"which? {holes}",
        }
        for path, words in scripts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            first = "from llava.mm_utils import process_images\n" if "llava" in str(path.parent.parent.name) else ""
            path.write_text(f"{first}problem = f'{extra}{words}'\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("later", LATER)
def test_prompts_are_found_by_content_whatever_their_folder_is_called(
    later: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DIRECTORY, str(clone(tmp_path, later=later)))
    for task in Task:
        early, late = template(task, "think", "qwen25"), template(task, "think", "qwen3vl")
        assert (early.in_blocks, late.in_blocks) == (False, True)
        assert early.literals[0].startswith("1. Colour: ")
    assert template(Task.VIDEO_GENERATION, "direct", "qwen25").literals == ("which? ", "")


def test_two_different_prompts_for_one_task_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = clone(tmp_path)
    (folder / "copy_infer_cot_image_generation.py").write_text("a = f'1. Tone: Image 1 (x/10) {prompt}'\n")
    monkeypatch.setenv(DIRECTORY, str(folder))
    with pytest.raises(ConfigError, match=r"its 3 scripts .* holds 2 prompts"):
        template(Task.IMAGE_GENERATION, "think", "qwen25")


def test_a_pair_of_answers_fills_the_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DIRECTORY, str(clone(tmp_path)))
    one = PreferencePair(
        id="a", task=Task.IMAGE_UNDERSTANDING, prompt="What is it?", source="test", preferred=2,
        context=(Media(kind="image", uri="a.png", sha256="0" * 64),),
        candidates=(Candidate(text="a kite"), Candidate(text="a dog")),
    )  # fmt: skip
    assert text(one, "think", "qwen3vl").endswith("What is it? a kite a dog")


def test_the_digest_tells_other_prompts_apart_and_knows_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = []
    for name, extra in (("one", ""), ("two", ""), ("three", "newer ")):
        monkeypatch.setenv(DIRECTORY, str(clone(tmp_path / name, extra)))
        digests.append((digest("qwen25"), digest("qwen3vl")))
    assert digests[0] == digests[1] != digests[2]
    assert digests[0][0] != digests[0][1]
