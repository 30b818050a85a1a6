"""Overrides, the environment, and every refusal with its field, value, limit and fix."""

from collections.abc import Callable
from pathlib import Path

import pytest

from configs.load import SettingsError, active_profile, load_settings
from configs.schema import Lora

Write = Callable[[str], Path]


def refusal(profile: str | Path = "shapes", *overrides: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(str(profile), overrides)
    return str(caught.value)


class TestOverrides:
    def test_values_are_read_as_yaml(self) -> None:
        overrides = ["grpo.learning_rate=2e-5", "cold_start.freeze_vision=false", "distill.model=no"]
        settings = load_settings("shapes", overrides)
        assert settings.grpo.learning_rate == 2e-5
        assert settings.cold_start.freeze_vision is False
        assert settings.distill.model == "no"

    def test_the_last_of_two_wins(self) -> None:
        assert load_settings("shapes", ["seed=1", "seed=2"]).seed == 2

    def test_a_field_of_an_absent_section_brings_the_section(self) -> None:
        assert load_settings("shapes", ["grpo.lora.rank=16"]).grpo.lora == Lora(rank=16)

    def test_a_section_can_be_switched_off_again(self) -> None:
        assert load_settings("shapes", ["cold_start.lora.rank=16", "cold_start.lora=null"]).cold_start.lora is None

    def test_a_value_may_hold_an_equals_sign(self) -> None:
        assert load_settings("shapes", ["tracking.uri=postgresql://h/d?a=b"]).tracking.uri == "postgresql://h/d?a=b"

    def test_a_callers_settings_lie_between_profile_and_overrides(self) -> None:
        extra = {"grpo": {"pairs": 4, "max_tokens": 99}}
        settings = load_settings("shapes", ["grpo.pairs=2"], extra=extra)
        assert (settings.grpo.pairs, settings.grpo.max_tokens, settings.grpo.preset) == (2, 99, "modern")
        assert extra == {"grpo": {"pairs": 4, "max_tokens": 99}}


class TestRefusals:
    def test_an_unknown_profile_names_the_nearest_and_the_known(self) -> None:
        message = refusal("shape")
        assert "'shape'" in message
        assert "did you mean shapes?" in message
        assert "qwen3_5_9b, qwen3_vl_8b, shapes" in message

    def test_a_missing_file_is_named(self) -> None:
        assert "no/such.yaml" in refusal("no/such.yaml")

    def test_a_folder_is_no_profile(self, tmp_path: Path) -> None:
        assert "no such file" in refusal(tmp_path)

    @pytest.mark.parametrize(
        ("override", "told"),
        [
            ("grpo.gruop=8", ["grpo.gruop", "unknown", "did you mean grpo.group?"]),  # a slip of the finger
            ("gropo.group=8", ["gropo.group", "unknown"]),  # a section's slip
            ("learning_rate=1", ["cold_start.learning_rate", "grpo.learning_rate"]),  # without its section
            ("cold_start.lora.rnk=1", ["did you mean cold_start.lora.rank?"]),  # inside a section that is absent
            ("grpo.pairs.x=1", ["grpo.pairs takes a whole number above 0"]),  # below a plain value
            ("grpo={gruop: 8}", ["did you mean grpo.group?"]),  # inside a value
            ("grpo.xyzzy=1", ["grpo has preset, hard"]),  # nothing near: the fields that there are
            ("grpo.group=1", ["grpo.group: 1 ", "from 2 to 256", "default 8"]),
            ("promote.min_valid_rate=1.5", ["promote.min_valid_rate: 1.5", "from 0 to 1"]),
            ("promote.max_accuracy_drop=0.1", ["promote.max_accuracy_drop", "unknown"]),  # of older releases
            ("promote.margin=0.005", ["reference_margin 0.01 is above margin 0.005", "choose a reference_margin"]),
            ("promote.task_margin=0.01", ["task_margin 0.01 is below margin 0.02", "choose a task_margin"]),
            ("distill.pairs=0", ["distill.pairs: 0", "above 0"]),
            ("evaluate.pairs=-3", ["evaluate.pairs: -3", "above 0, or null"]),
            ("prepare.held_out_share=1", ["above 0 and below 1"]),
            ("distill.temperature=.nan", ["distill.temperature: nan", "not finite", "from 0 to 2"]),
            ("distill.timeout_s=.inf", ["distill.timeout_s: inf", "not finite"]),
            ("seed=1.0", ["seed: 1.0", "a whole number"]),  # a fraction is no whole number, even this one
            ("seed='1'", ["seed: '1'", "a whole number"]),  # nor is text
            ("cold_start.freeze_vision=yes", ["'yes'", "true or false"]),  # YAML 1.2 has no yes
            ("storage.root=", ["storage.root: null", "text"]),
            ("storage.root=''", ["too short", "at least 1 character"]),
            ("grpo.preset=moderm", ["'moderm'", "did you mean modern?", "one of paper, modern, gspo, dr_grpo, cispo"]),
            ("runtime.device=gpu", ["'gpu'", "one of auto, cpu, cuda"]),
            ("grpo=5", ["grpo: 5 is not a section", "grpo.preset"]),
            ("cold_start.batch=100", ["batch 100 is not a multiple of micro_batch 64", "choose"]),
            ("grpo.micro_batch=12", ["micro_batch 12 must divide", "choose 8 times"]),
            ("grpo.validate_every=15", ["15 is not a multiple of checkpoint_every 10"]),
            ("prepare.source=jsonl", ["path is empty", "set prepare.path"]),
            ("prepare.path=x", ["source is shapes", "set prepare.source=jsonl"]),
            ("tracking.uri=file:///tmp/x", ["'file:///tmp/x'", "sqlite:///"]),
            ("tracking.uri=mlruns", ["'mlruns'", "sqlite:///"]),
            ("model.attention=flash_attention_2", ["float32", "set model.dtype=bfloat16"]),
            ("grpo.rewards={format: 0, accuracy: 0, consistency: 0}", ["nothing is rewarded", "above 0"]),
            ("grpo.group", ["malformed", "section.field=value"]),
            ("=8", ["malformed"]),
            ("grpo..group=8", ["malformed"]),
            ("", ["malformed"]),
            ("grpo.pairs=[1", ["grpo.pairs", "'[1'"]),
            ("grpo={group: 8, group: 4}", ["'group'", "already"]),
        ],
    )
    def test_an_override_is_refused_in_one_line(self, override: str, told: list[str]) -> None:
        message = refusal("shapes", override)
        assert all(part in message for part in told), message
        assert override in message
        assert "\n" not in message

    def test_own_pairs_need_a_teacher_that_knows_them(self) -> None:
        message = refusal("shapes", "prepare.source=jsonl", "prepare.path=/data")
        assert "distill.teacher is embedded" in message
        assert "set distill.teacher=openai" in message

    def test_all_problems_are_told_at_once(self) -> None:
        message = refusal("shapes", "grpo.gruop=1", "oops", "seed=-1", "distill.pairs=0")
        assert len(message.splitlines()) == 4

    def test_a_problem_names_where_the_value_was_set(self, write: Write) -> None:
        path = write("grpo:\n  group: 1\nseed: -1\n")
        lines = refusal(path, "seed=-2").splitlines()
        assert [line for line in lines if "grpo.group: 1" in line and str(path) in line]
        assert [line for line in lines if "seed: -2" in line and "--set seed=-2" in line]

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("seed: 1\ngrpo: [1\n", ["line 3"]),  # a list that never ends
            ("seed: 1\n\tgrpo: 2\n", ["line 2"]),  # a tab
            ("seed: 1\ngrpo:\n  group: 8\nseed: 2\n", ["line 4", "'seed'", "line 1 already"]),  # twice
            ("grpo: {group: 8, group: 8}\n", ["line 1", "'group'"]),  # twice on one line
            ("seed: 1\n---\nseed: 2\n", ["line 2"]),  # two documents
            ("- seed\n", ["a list, not fields"]),
            ("shapes\n", ["a str, not fields"]),
            ("1: 2\n", ["key 1 is not a name"]),
            ("grpo:\n  1: 2\n", ["grpo.1", "unknown field"]),
            ("seed: 1\nx: \x07\n", ["line 2", "not allowed"]),  # a control character
            ("seed: !!python/object:os.system 1\n", ["line 1"]),  # no objects from YAML
            ("grpo: &g {rewards: *g}\n", ["grpo.rewards"]),  # refers to itself
            ("[" * 5000, ["too deeply"]),
            (f"seed: {'9' * 5000}\n", ["mine.yaml"]),  # more digits than Python reads
            ("grpo:\n  learning_rat: 1e-5\n", ["did you mean grpo.learning_rate?"]),
            ("grpo:\n", ["grpo: null is not a section"]),
        ],
    )
    def test_a_bad_file_is_refused_with_its_name_and_line(self, write: Write, text: str, told: list[str]) -> None:
        message = refusal(write(text))
        assert "mine.yaml" in message
        assert all(part in message for part in told), message

    def test_bytes_that_are_not_text_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "x.yaml").write_bytes(b"seed: \xff\xfe\n")
        assert "UTF-8" in refusal(tmp_path / "x.yaml")

    def test_a_long_value_is_cut(self) -> None:
        assert len(refusal("shapes", f"grpo.group={'x' * 3000}").split(" [--set")[0]) < 300


class TestEnvironment:
    """Settings that belong to a machine rather than to the method."""

    def test_a_variable_sets_a_field(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("THINKREWARD__STORAGE__ROOT", "s3://bucket/prefix")
        monkeypatch.setenv("THINKREWARD__REJECTION_SAMPLING__SFT__BATCH", "32")
        settings = load_settings("shapes", ["rejection_sampling.sft.micro_batch=32"])
        assert settings.storage.root == "s3://bucket/prefix"
        assert settings.rejection_sampling.sft.batch == 32

    def test_it_lies_over_the_profile_and_below_what_is_typed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("THINKREWARD__GRPO__PAIRS", "7")
        assert load_settings("shapes").grpo.pairs == 7
        assert load_settings("shapes", ["grpo.pairs=9"]).grpo.pairs == 9
        assert load_settings("shapes", extra={"grpo": {"pairs": 8}}).grpo.pairs == 8

    @pytest.mark.parametrize(
        ("name", "value", "told"),
        [
            ("THINKREWARD__STORAGE__ROOTS", "x", "storage.root"),  # a misspelt field names the nearest
            ("THINKREWARD__GRPO__GROUP", "1", "THINKREWARD__GRPO__GROUP"),  # out of range: who said so
            ("THINKREWARD__GRPO__GROUP", "[", "cannot be read"),
        ],
    )
    def test_what_is_wrong_in_it_is_refused(
        self, name: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(name, value)
        with pytest.raises(SettingsError, match=told):
            load_settings("shapes")

    def test_it_names_the_profile(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert active_profile() == "shapes"
        monkeypatch.setenv("THINKREWARD_PROFILE", "qwen3_vl_8b")
        assert active_profile() == "qwen3_vl_8b"


class TestNightly:
    """The schedule is checked where it is set, not where Prefect would ignore it."""

    @pytest.mark.parametrize(
        ("override", "told"),
        [
            ("nightly.timezone=Vienna", "Europe/Vienna"),
            ("nightly.cron=every night", "five"),
            ("nightly.cron=0 2 * *", "five"),
        ],
    )
    def test_a_schedule_that_never_comes_is_refused(self, override: str, told: str) -> None:
        with pytest.raises(SettingsError, match=told):
            load_settings("shapes", [override])


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(SettingsError, match="MLFLOW_TRACKING_PASSWORD") as refused:
        load_settings("shapes", ["tracking.uri=https://me:hunter2@mlflow.example"])
    assert "hunter2" not in str(refused.value)


def many(processes: int) -> list[str]:
    """So many training processes of torchrun."""
    return ["runtime.distributed.engine=torchrun", f"runtime.distributed.processes={processes}"]


class TestEngines:
    @pytest.mark.parametrize(
        ("overrides", "fix"),
        [
            (["runtime.processes=2"], r"this field has moved: set runtime\.distributed\.processes"),
            (["runtime.distributed.processes=2"], r"engine none trains in one process.*engine=torchrun"),
            (["runtime.distributed.strategy=fsdp2"], r"engine none has one.*engine=torchrun"),
            (
                ["runtime.distributed.engine=torchrun", "runtime.distributed.nodes=2"],
                r"set runtime\.distributed\.rendezvous",
            ),
            (["runtime.distributed.rendezvous=node-0"], r"'node-0' is not host:port"),
            (["runtime.distributed.engine=slurm"], "none, torchrun, ray"),
        ],
    )
    def test_what_no_engine_can_start_is_refused_with_the_cure(self, overrides: list[str], fix: str) -> None:
        with pytest.raises(SettingsError, match=fix):
            load_settings("shapes", overrides)

    def test_a_profile_with_the_field_that_has_moved_says_where_to(self, tmp_path: Path) -> None:
        (tmp_path / "old.yaml").write_text("runtime:\n  processes: 2\n")
        with pytest.raises(SettingsError, match=r"runtime\.processes: this field has moved"):
            load_settings(str(tmp_path / "old.yaml"))


class TestBatches:
    @pytest.mark.parametrize(
        ("overrides", "fix"),
        [
            ([*many(3), "cold_start.batch=64"], "cold_start takes 64.*choose a number of processes"),
            (many(2), "cold_start takes 64 .* 2 processes .* x micro_batch 64 .*cold_start.micro_batch=32"),
            (
                [*many(2), "cold_start.micro_batch=32", "rejection_sampling.sft.micro_batch=16"],
                "grpo takes 64 .*grpo.micro_batch=32",
            ),
        ],
    )
    def test_one_that_cannot_be_divided_is_refused(self, overrides: list[str], fix: str) -> None:
        with pytest.raises(SettingsError, match=fix):
            load_settings("shapes", overrides)

    def test_what_the_refusal_says_to_set_is_taken(self) -> None:
        micro = ["cold_start.micro_batch=32", "rejection_sampling.sft.micro_batch=32", "grpo.micro_batch=32"]
        assert load_settings("shapes", [*many(2), *micro]).runtime.processes == 2

    def test_a_checkpoint_within_a_generation_is_refused(self) -> None:
        with pytest.raises(SettingsError, match="checkpoint_every=12"):
            load_settings("shapes", ["grpo.preset=gspo"])
        changed = ["grpo.preset=gspo", "grpo.checkpoint_every=12", "grpo.validate_every=12"]
        assert load_settings("shapes", changed).grpo.preset == "gspo"
