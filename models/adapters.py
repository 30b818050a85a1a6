"""A model with adapters around it, and the one within."""

from typing import Any


def without_adapters(model: Any) -> Any:
    """The model that PEFT's wrapper holds, or `model` itself where nothing wraps it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
