"""The judge as MLflow serves it: this file is copied beside the weights and run when they are loaded.

    mlflow.set_tracking_uri("sqlite:////path/.thinkreward/mlflow.db")
    judge = mlflow.pyfunc.load_model("models:/thinkreward@champion")
    judge.predict([{"task": "image_generation", "prompt": "a cube", "candidate_1": "1.png", "candidate_2": "2.png"}])

models/request_rows.py tells the columns of requests and answers. What it imports of Thinkreward travels with it under
a name of its own (tasks/bundling.py): nothing but the listed requirements is needed where it is loaded.
`model_config` (`load_model(uri, model_config={"device": "cuda"})`) sets what `DEFAULTS` names; `params` of `predict`
set mode, both_orders and max_tokens.
"""

from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

DEFAULTS: dict[str, Any] = {
    "device": "auto",
    "dtype": "float32",
    "attention": "sdpa",
    "batch": 64,
    "max_pixels": 147_456,
    "max_frames": 8,
    "max_tokens": 1024,
    "decoding_processes": 2,  # for what callers send: a codec that crashes or hangs costs its request; 0: this process
    "decoding_timeout_s": 10.0,
    "decoding_memory_mib": 2048.0,
}


class PairwiseJudge(PythonModel):
    """Judges rows of pairs, greedily. One request at a time: the model is one."""

    def load_context(self, context: PythonModelContext) -> None:
        """Loads the weights. Raises `ModelError`, for instance for a directory without a processor."""
        from pathlib import Path

        from models.decoding import decoders_within
        from models.generation.local import LocalGenerator
        from models.reward_model import RewardModel

        config = DEFAULTS | dict(context.model_config or {})
        generator = LocalGenerator.load(
            Path(context.artifacts["model"]),
            **{name: config[name] for name in ("device", "dtype", "attention", "batch")},
        )
        limits = (config[f"decoding_{name}"] for name in ("processes", "timeout_s", "memory_mib"))
        self.judge = RewardModel(
            generator,
            **{name: config[name] for name in ("max_pixels", "max_frames", "max_tokens")},
            decoding=decoders_within(*limits),
        )

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """One row of answer for each row of request, under the same index.

        All rows are read before any is judged. Raises `DataError` or `MediaError` naming the row.
        """
        given = params or {}
        rows = pd.DataFrame(model_input).astype(object)
        outcomes = self.judge.compare(
            rows.to_dict("records"),
            mode=given.get("mode", "think"),
            both_orders=bool(given.get("both_orders", False)),
            max_tokens=given.get("max_tokens"),
        )
        return pd.DataFrame([outcome.row() for outcome in outcomes], index=rows.index, dtype=object)


set_model(PairwiseJudge())
