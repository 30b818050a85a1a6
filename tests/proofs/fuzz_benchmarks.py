"""Listings of public benchmarks in every layout that their readers know; tests/proofs/fuzz_listings.py spoils them."""

from typing import Any

_PNG, _OTHER = {"bytes": b"png", "path": "1.png"}, {"bytes": b"x", "path": "2.png"}
_RANKED = {
    "id": "RLAIF-V-14", "query": "<image>\nHow many?", "response": ["Two.", "Three."], "human_ranking": [0, 1],
    "meta": {}, "models": ["a", "b"],
}  # fmt: skip
_VOTE = {"prompt": "a kite", "left_model": "a", "right_model": "b", "vote_type": "leftvote"}
_VIDEO_URLS = {"left_video": "https://host/a%20b.mp4", "right_video": "https://host/c.mp4?x=1"}
_PREFERRED = {
    "caption": "a kite", "video_0_path": "test/0_0.mp4", "video_1_path": "test/0_1.mp4", "discard": False,
    "overall_preference": "Video 1 better", "category_preference": {"Safety": "Same", "Bias": "Video 2 better"},
}  # fmt: skip
_PATHS = {"path_A": "videos/a.mp4", "path_B": "videos/b.mp4", "A_model": "a", "B_model": "b", "prompt": "a kite"}
_ASPECTS = {"VQ": "A", "MQ": "same", "TA": "B", "Overall": "B"}


def _pair(asked: list[Any], first: list[Any], second: list[Any]) -> dict[str, Any]:
    responses = {"response_a": {"response_content": first}, "response_b": {"response_content": second}}
    return {"id": "a", "prompt_content": asked, **responses, "chosen": "A"}


def _columns(words: str, image: Any, first: Any, second: Any) -> dict[str, Any]:
    texts = {"prompt_text": words, "response_a_text": first[0], "response_b_text": second[0]}
    images = {"prompt_images": image, "response_a_images": first[1], "response_b_images": second[1]}
    return {"pair_id": "a", **texts, **images, "chosen": "B"}


# The benchmark, its listing, and rows of it. `*.json` whose rows stand below "pairs" are named so in `IN_PAIRS`.
IN_PAIRS = ("t2i.json", "reasoning.json")
LISTINGS: tuple[tuple[str, str, tuple[dict[str, Any], ...]], ...] = (
    ("vl_reward_bench", "data.json", ({**_RANKED, "image": "1.png"},)),
    ("vl_reward_bench", "data.jsonl", ({**_RANKED, "image_path": "1.png"},)),
    ("vl_reward_bench", "data/test-0.parquet", ({**_RANKED, "image": _PNG, "meta": "x"},)),
    ("genai_bench_image", "data.json", ({**_VOTE, "image_left": "1.png", "image_right": "2.png"},)),
    ("genai_bench_image", "image_generation/test-0.parquet", ({**_VOTE, "left_image": _PNG, "right_image": _OTHER},)),
    ("genai_bench_video", "genai_bench_video.json", ({**_VOTE, "video_left": "a.mp4", "video_right": "b.mp4"},)),
    ("genai_bench_video", "data.jsonl", ({**_VOTE, **_VIDEO_URLS},)),
    ("genai_bench_video", "video_generation/test/0.parquet", ({**_VOTE, **_VIDEO_URLS},)),
    ("videogen_reward_bench", "videogen-rewardbench.csv", ({**_PATHS, **_ASPECTS, "fps_A": 8},)),
    ("videogen_reward_bench", "default/eval/0.parquet", ({**_PATHS, **_ASPECTS},)),
    ("sharegpt_video", "data.json", (
        {"prompt": "What?", "images": ["v/1.jpg", "v/2.jpg"], "responses": ["a", "b"],
         "answer": "Response 1 is better than Response 2."},
    )),
    ("sharegpt_video", "sft_dpo_17k.jsonl", (
        {"id": "a", "video": "v", "prompt": "<video>\nWhat?", "chosen": "yes", "rejected": {"value": "no"}},
    )),
    ("multimodal_reward_bench_2", "t2i.json", (
        _pair([["text", "a fox"]], [["image", "1.png"]], [["image", "2.png"]]),
    )),
    ("multimodal_reward_bench_2", "reasoning.json", (
        _pair([["image", "1.png"], ["text", "Which?"]], [["text", "a"]], [["text", "b"]]),
    )),
    ("multimodal_reward_bench_2", "t2i/0.parquet", (_columns("a fox", None, (None, [_PNG]), (None, [_OTHER])),)),
    ("multimodal_reward_bench_2", "data/reasoning-0.parquet", (
        _columns("<image_1> Which?", [_PNG], ("a", None), ("b", [])),
    )),
    ("mj_bench_video", "test.json", (_PREFERRED,)),
)  # fmt: skip
