"""What a registered model takes from its `model_config`, which can be set when it is loaded or served.

    mlflow.pyfunc.load_model(uri, model_config={"device": "cuda"})
    SERVING_MODEL_CONFIG='{"files": true}' mlflow models serve -m models:/thinkreward@champion

MLflow lets only those be set that the model was saved with, so all of them are saved.
"""

from typing import Any

DEFAULTS: dict[str, Any] = {
    "device": "auto",
    "dtype": "float32",
    "attention": "sdpa",
    "batch": 64,
    "generation_tokens": None,  # of a batch at most, padding and those yet to be written included; none: no bound
    "max_pixels": 147_456,
    "max_frames": 8,
    "max_tokens": 1024,
    "files": "auto",  # whether a text may name a file of this machine; auto: yes, unless strangers ask over a network
    # Media are decoded in so many processes (0: in this one), each within so many seconds and MiB.
    "decoding_processes": 2,
    "decoding_timeout_s": 10.0,
    "decoding_memory_mib": 2048.0,
}
