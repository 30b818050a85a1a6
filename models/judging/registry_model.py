"""The judge as MLflow serves it: this file is copied beside the weights and run when they are loaded.

    mlflow.set_tracking_uri("sqlite:////path/.thinkreward/mlflow.db")
    judge = mlflow.pyfunc.load_model("models:/thinkreward@champion")
    judge.predict([{"task": "image_generation", "prompt": "a cube", "candidate_1": "1.png", "candidate_2": "2.png"}])

models/judging/request_rows.py describes the columns of requests and answers. What it imports of Thinkreward is copied
too, under another name (tasks/tracking/packaging.py): nothing but the listed requirements is needed where it is loaded.
`model_config` (`load_model(uri, model_config={"device": "cuda"})`) sets what models/judging/registry_defaults.py names;
`params` of `predict` set mode, both_orders and max_tokens.

Under `mlflow models serve` callers are strangers: texts are no paths, errors are sent without the places and the stack
trace that MLflow would send along, and what MLflow has given up on stops.
"""

import logging
import os
import sys
import time
from copy import copy
from typing import Any

import pandas as pd
from mlflow.environment_variables import MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel, PythonModelContext

log = logging.getLogger("thinkreward.judge")

# What there is in a process in which MLflow's scoring server or MLServer answers requests.
SERVERS = ("mlflow.pyfunc.scoring_server.app", "mlserver")
SERVING_VARIABLE = "_MLFLOW_IS_IN_SERVING_ENVIRONMENT"  # which MLflow sets to "true"


def served() -> bool:
    """Whether requests come from others than whoever loaded the model."""
    return os.environ.get(SERVING_VARIABLE) == "true" or any(name in sys.modules for name in SERVERS)


class PairwiseJudge(PythonModel):
    """Judges rows of pairs, greedily. One request at a time: the model is one."""

    files: bool | str = "auto"

    def load_context(self, context: PythonModelContext) -> None:
        """Loads the weights. Raises `ModelError`, for instance for a directory without a processor."""
        from pathlib import Path

        from models.errors import ModelError
        from models.generation.open import LocalOptions, open_generator
        from models.judging.registry_defaults import DEFAULTS
        from models.judging.reward_model import RewardModel
        from models.media.decoding import decoders_within

        config = DEFAULTS | dict(context.model_config or {})
        if config["files"] not in (True, False, "auto"):
            raise ModelError(f'files is {config["files"]!r} in model_config: give true, false or "auto"')
        self.files = config["files"]
        options = LocalOptions(
            **{name: config[name] for name in ("device", "dtype", "attention", "batch")},
            tokens=config["generation_tokens"],
        )
        limits = (config[f"decoding_{name}"] for name in ("processes", "timeout_s", "memory_mib"))
        self.judge = RewardModel(
            open_generator(Path(context.artifacts["model"]), options),
            **{name: config[name] for name in ("max_pixels", "max_frames", "max_tokens")},
            decoding=decoders_within(*limits),
        )

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """One row of answer for each row of request, under the same index.

        All rows are read before any is judged. Raises `DataError` or `MediaError` naming the row; when served,
        `MlflowException` with their message, and without details that are not meant for strangers.
        """
        from models.errors import DataError

        judge = copy(self.judge)
        strangers = served()
        judge.files = not strangers if self.files == "auto" else bool(self.files)
        if not strangers:
            return _answers(judge, model_input, params or {})
        judge.generator = _WhileAwaited(judge.generator, MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT.get())
        try:
            return _answers(judge, model_input, params or {})
        except DataError as error:
            raise MlflowException(str(error), INVALID_PARAMETER_VALUE) from None
        except Exception as error:
            log.exception("a request failed")
            message = f"the judge failed ({type(error).__name__}): the server's log has the details"
            raise MlflowException(message, INTERNAL_ERROR) from None


class _WhileAwaited:
    """A local generator for a request that MLflow answers with 504 after `seconds`, without stopping its work.

    MLflow does not notify a model of a caller that disconnects; only that time is known.
    """

    def __init__(self, inner: Any, seconds: float) -> None:
        self.inner = inner
        self.until = time.monotonic() + seconds

    @property
    def identity(self) -> Any:
        """See `Generator.identity`."""
        return self.inner.identity

    def generate(self, conversations: Any, params: Any, **options: Any) -> Any:
        """See `LocalGenerator.generate`. Raises `Cancelled` once the time is over."""
        return self.inner.generate(conversations, params, is_cancelled=lambda: time.monotonic() > self.until, **options)


def _answers(judge: Any, model_input: pd.DataFrame, params: dict[str, Any]) -> pd.DataFrame:
    rows = pd.DataFrame(model_input).astype(object)
    outcomes = judge.compare(
        rows.to_dict("records"),
        mode=params.get("mode", "think"),
        both_orders=bool(params.get("both_orders", False)),
        max_tokens=params.get("max_tokens"),
    )
    return pd.DataFrame([outcome.row() for outcome in outcomes], index=rows.index, dtype=object)


set_model(PairwiseJudge())
