"""Thinkreward's Python interface: open a reward model, compare and rank candidates, use it as a trainer's reward.

    import thinkreward

    judge = thinkreward.reward_model("champion")
    judge.compare_one(task="image_generation", prompt="a red cube", candidate_1="1.png", candidate_2="2.png")

Everything here is stable; `models` and `tasks`, where it is from, are not. docs/serving.md and docs/rewards.md show how
it is used. Errors are `ThinkrewardError` and its subclasses, in `models/errors.py`.
"""

from models.errors import ConfigError, MediaError, ModelError, ThinkrewardError
from models.judging.answer_watch import JudgeSilent
from models.judging.ranking import Ranking
from models.judging.reward_functions import answer_reward_function, image_reward_function
from models.judging.reward_model import Outcome, RewardModel
from models.pairs.preference import Task
from tasks.judging.judges import reward_model

__all__ = [
    "ConfigError",
    "JudgeSilent",
    "MediaError",
    "ModelError",
    "Outcome",
    "Ranking",
    "RewardModel",
    "Task",
    "ThinkrewardError",
    "answer_reward_function",
    "image_reward_function",
    "reward_model",
]
