"""The judge as MLflow serves it: this file is copied beside the weights and run when they are loaded.

    mlflow.set_tracking_uri("sqlite:////path/.thinkreward/mlflow.db")
    judge = mlflow.pyfunc.load_model("models:/thinkreward@champion")
    judge.predict([{"task": "image_generation", "prompt": "a cube", "candidate_1": "1.png", "candidate_2": "2.png"}])

models/request_rows.py tells the columns of requests and answers. Needs Thinkreward installed where it is loaded.
`model_config` (`load_model(uri, model_config={"device": "cuda"})`) sets what `DEFAULTS` names; `params` of `predict`
set mode, both_orders and max_tokens.
"""

import threading
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
}


class PairwiseJudge(PythonModel):
    """Judges rows of pairs, greedily. One request at a time: the model is one."""

    max_tokens: int = DEFAULTS["max_tokens"]

    def load_context(self, context: PythonModelContext) -> None:
        """Loads the weights. Raises `ModelError`, for instance for a directory without a processor."""
        from pathlib import Path

        from models.judge import Judge
        from models.request_rows import RequestMedia

        config = DEFAULTS | dict(context.model_config or {})
        self.max_tokens = config["max_tokens"]
        self.lock = threading.Lock()
        self.media = RequestMedia(max_pixels=config["max_pixels"], max_frames=config["max_frames"])
        self.judge = Judge.load(
            Path(context.artifacts["model"]),
            frames=self.media.frames,
            device=config["device"],
            dtype=config["dtype"],
            attention=config["attention"],
            batch=config["batch"],
        )

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """One row of answer for each row of request, under the same index.

        All rows are read before any is judged. Raises `DataError` or `MediaError` naming the row.
        """
        from models.request_rows import answer_row, read_mode, read_pairs

        given = params or {}
        rows = pd.DataFrame(model_input).astype(object)
        records = rows.to_dict("records")
        both_orders = bool(given.get("both_orders", False))
        with self.lock:
            try:
                modes = [read_mode(row, given.get("mode", "think"), number) for number, row in enumerate(records)]
                pairs = read_pairs(records, self.media)
                answers: list[dict[str, Any]] = [{} for _ in pairs]
                for mode in sorted(set(modes)):
                    numbers = [number for number, wanted in enumerate(modes) if wanted == mode]
                    judgments = self.judge.judge(
                        [pairs[number] for number in numbers],
                        mode,
                        both_orders=both_orders,
                        max_tokens=int(given.get("max_tokens", self.max_tokens)),
                    )
                    each = len(judgments) // len(numbers)
                    for at, number in enumerate(numbers):
                        answers[number] = answer_row(judgments[at * each : (at + 1) * each])
            finally:
                self.media.clear()
        return pd.DataFrame(answers, index=rows.index, dtype=object)


set_model(PairwiseJudge())
