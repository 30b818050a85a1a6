"""Opening a reward model by the name that a person gives it.

    from thinkreward import reward_model

    judge = reward_model("champion")
    judge.compare_one(task="image_generation", prompt="a red cube", candidate_1="1.png", candidate_2="2.png")

A name is what `thinkreward judge --model` takes: a folder (`./model`, with a separator), `base`, an artifact's digest,
an alias or `models:/NAME@ALIAS` of the registry; or it is `endpoint:MODEL`, an OpenAI-compatible server's. Whoever has
the registry alone, and not the store, loads the same model with `mlflow.pyfunc` (models/judging/registry_model.py).
"""

from functools import partial

from configs.load import active_profile, load_settings
from configs.schema import Settings
from models.generation.endpoint import EndpointGenerator
from models.generation.protocol import HostedGenerator
from models.judging.reward_model import RewardModel
from tasks.judging.files import find_model
from tasks.stages.generators import ENDPOINT, identity_of, open_named

__all__ = ["ENDPOINT", "generator_of", "identity_of", "reward_model"]


def reward_model(name: str = "champion", settings: Settings | None = None, *, base_url: str = "") -> RewardModel:
    """The model of this name, loaded. `settings` are the active profile's unless given.

    `base_url` is where an endpoint answers, instead of OPENAI_BASE_URL. Raises `ConfigError` for a model that is not
    there, `TeacherRefused` for an endpoint without its address or key.
    """
    settings = settings or load_settings(active_profile())
    return RewardModel(
        generator_of(name, settings, base_url=base_url),
        max_pixels=settings.model.max_pixels,
        max_frames=settings.model.max_frames,
        max_tokens=settings.evaluate.max_tokens,
    )


def generator_of(name: str, settings: Settings, *, base_url: str = "") -> HostedGenerator | EndpointGenerator:
    """What writes the text of the model of this name; see `reward_model`."""
    return open_named(name, settings, partial(find_model, settings), base_url=base_url)
