"""The one factory of generators: a model in this process, or an endpoint."""

from pathlib import Path

import pytest

from models.errors import ModelError, TeacherRefused
from models.generation.endpoint import EndpointGenerator
from models.generation.open import EndpointOptions, LocalOptions, identify_generator, open_generator
from models.generation.protocol import HostedGenerator

BASE = Path(__file__).resolve().parents[3] / "models" / "shapes" / "base"


def test_a_folder_is_opened_in_this_process_as_the_options_say() -> None:
    options = LocalOptions(device="cpu", dtype="bfloat16", batch=3, tokens=700)
    generator = open_generator(BASE, options)
    assert isinstance(generator, HostedGenerator)
    assert (generator.batch, generator.micro_tokens) == (3, 700)
    assert generator.identity == identify_generator(BASE, options)
    assert generator.identity.precision == "bfloat16"
    assert generator.count_tokens("a b") == len(generator.processor.tokenizer("a b")["input_ids"])


def test_an_endpoint_is_opened_by_its_models_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://there:8000/v1")
    generator = open_generator("m", EndpointOptions())
    assert isinstance(generator, EndpointGenerator)
    assert generator.endpoint.base_url == "http://there:8000/v1"
    assert generator.identity == identify_generator("m", EndpointOptions())
    elsewhere = open_generator("m", EndpointOptions(base_url="http://here:1/v1"))
    assert (elsewhere.endpoint.base_url, elsewhere.endpoint.model) == ("http://here:1/v1", "m")


def test_what_cannot_be_opened_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="processor"):
        open_generator(tmp_path, LocalOptions(device="cpu"))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(TeacherRefused, match="OPENAI_API_KEY is not set") as refused:
        open_generator("m", EndpointOptions())
    assert "distill" not in str(refused.value), "a judge has no embedded teacher to choose"
