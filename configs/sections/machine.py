"""How stages, the schedule and the service use a machine: nothing here is in a key."""

from typing import Literal, Self
from zoneinfo import available_timezones

from pydantic import Field, model_validator

from configs.sections.base import Positive, Section
from configs.sections.distributed import Distributed


class Runtime(Section):
    """How stages use this machine. Nothing here changes a result's meaning, so nothing here is in a key.

    What remains is rounding: threads, the device and batch sizes change the order of sums, and with it last digits. A
    GPU draws other samples of the same distribution than a CPU.
    """

    threads: int = Field(
        2, ge=1, le=256, description="CPU threads of a compute process (oversubscription costs up to 8x)"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where models run; auto takes a GPU if there is one"
    )
    distributed: Distributed = Field(
        default_factory=Distributed,
        description="training on several devices and machines; the number of processes times micro_batch divides each "
        "batch",
    )
    stage_timeout_s: float = Field(86400.0, gt=0, description="seconds after which a stage's process group is ended")
    stall_timeout_s: float = Field(
        1800.0,
        gt=0,
        description="seconds without progress (no report, no processor used) after which a stage's process is ended "
        "and retried; one that computes and reports nothing is given twelve times as long",
    )
    retries: int = Field(
        2, ge=0, le=100, description="retries of a stage after transient errors: lost connections, 5xx, preemption"
    )
    retry_delay_s: float = Field(10.0, ge=0, description="seconds before the first retry; doubles each time")
    generation_batch: int = Field(160, ge=1, description="sequences generated together")
    generation_tokens: Positive | None = Field(
        None,
        description="tokens at most of the sequences generated together, prompts and completions with their padding; "
        "one that is longer is generated alone; none: generation_batch alone bounds them",
    )
    micro_tokens: Positive | None = Field(
        None,
        description="tokens at most that training handles on a device at once, padding included, in micro-batches of "
        "like length beside micro_batch; one sequence that is longer is alone; none: micro_batch alone bounds them",
    )
    shared_prefix: bool = Field(
        True,
        description="GRPO computes each prompt with its media once for all completions of its group, to the same "
        "gradients; Qwen2-VL, Qwen2.5-VL and Qwen3-VL with model.attention=sdpa, others compute it for each",
    )
    decoded_mib: float = Field(512.0, ge=0, description="memory of a process for media that stay decoded, MiB")
    gradient_checkpointing: bool = Field(False, description="recompute activations: less memory, about a third slower")
    checkpoints_kept: int = Field(2, ge=1, description="training checkpoints kept in the store while a stage runs")

    @property
    def processes(self) -> int:
        """Training processes on all nodes."""
        return self.distributed.world

    @property
    def decoded_bytes(self) -> int:
        """`decoded_mib` in bytes."""
        return int(self.decoded_mib * 2**20)


class Nightly(Section):
    """Scheduled retraining on what came into the store's inbox."""

    cron: str = Field("0 2 * * *", description="when the deployment nightly/default runs, as cron writes it")
    timezone: str = Field("UTC", min_length=1, description="time zone of the cron line, an IANA name")
    inbox_quiet_s: float = Field(
        60.0,
        ge=0,
        description="seconds a submission must be unchanged: one still being copied waits for the next night",
    )

    @model_validator(mode="after")
    def _zone_exists(self) -> Self:
        if self.timezone not in available_timezones():
            raise ValueError(f"timezone {self.timezone!r} is unknown: give an IANA name such as Europe/Vienna or UTC")
        return self

    @model_validator(mode="after")
    def _cron_has_five_fields(self) -> Self:
        if len(self.cron.split()) != 5:
            raise ValueError(
                f"cron {self.cron!r} has {len(self.cron.split())} fields: give five, minute hour day month weekday, "
                "such as 0 2 * * *"
            )
        return self


class Serve(Section):
    """The judge service, `thinkreward serve`. Nothing here is in a key."""

    batch: int = Field(32, ge=1, le=1024, description="texts generated together at most")
    waiting: int = Field(256, ge=1, description="texts that may wait for their batch; beyond them requests get 429")
    requests: int = Field(64, ge=1, le=1024, description="requests running at once; beyond them requests get 429")
    pause_ms: float = Field(5.0, ge=0, description="milliseconds that a batch waits for others to join it")
    timeout_s: float = Field(120.0, gt=0, description="seconds a request may take, waiting included")
    max_body_mib: float = Field(64.0, gt=0, description="size of a request at most, MiB")
    follow_s: float = Field(30.0, gt=0, description="seconds between looks at whether the alias names another model")
    decoding_processes: int = Field(2, ge=1, le=256, description="processes that decode the media of requests")
    decoding_timeout_s: float = Field(10.0, gt=0, description="seconds that decoding one medium of a request may take")
    decoding_memory_mib: float = Field(2048.0, ge=256, description="memory that a decoding process may have, MiB")
