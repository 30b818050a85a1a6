"""Every setting of the recipe, typed, bounded and described with its unit.

A profile (`configs/<name>.yaml`) states only what differs from the defaults here. Contradictions are
refused when the settings are loaded, before anything runs. Which fields change a stage's result, and so
belong to its key, is said by each section's `RESULT_NEUTRAL`: fields named there never enter a key.
"""

from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    """Base of all sections: unknown keys, values of another type, NaN and infinities are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, strict=True, allow_inf_nan=False)
    RESULT_NEUTRAL: ClassVar[frozenset[str]] = frozenset()

    def key_fields(self) -> dict[str, object]:
        """The fields that change a result, as JSON values; sections inside are filtered likewise."""
        fields: dict[str, object] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if name not in self.RESULT_NEUTRAL:
                fields[name] = [_key_of(one) for one in value] if isinstance(value, list) else _key_of(value)
        return fields


def _key_of(value: object) -> object:
    return value.key_fields() if isinstance(value, Section) else value


class Storage(Section):
    """Where artifacts live."""

    root: str = Field(
        ".thinkreward/store", min_length=1, description="store root: a folder, file:// or s3://bucket/prefix"
    )
    cache_dir: str = Field(".thinkreward/cache", description="local folder for downloaded artifacts")
    cache_max_gib: float = Field(
        50.0, gt=0, description="size at which the local cache drops what was used longest ago, GiB"
    )
    checksums: Literal["crc32", "md5", "none"] = Field(
        "crc32",
        description="what uploads to S3 carry: crc32 (Amazon's way), or for stores that refuse it none, or Content-MD5",
    )
    lease_ttl_s: float = Field(
        60.0, ge=1, description="seconds of silence after which a run counts as dead and is taken over"
    )


class Tracking(Section):
    """Where runs and registered models are recorded (MLflow)."""

    uri: str = Field(
        "sqlite:///.thinkreward/mlflow.db", description="MLflow tracking URI; file: stores are refused by MLflow 3"
    )
    experiment: str = Field("thinkreward", min_length=1, description="MLflow experiment name")
    registered_model: str = Field("thinkreward", min_length=1, description="name in the MLflow model registry")

    @model_validator(mode="after")
    def _no_password(self) -> Self:
        if "@" in urlsplit(self.uri).netloc and ":" in urlsplit(self.uri).netloc.rpartition("@")[0]:
            # The value is left out of the message, and of everything that settings are written into.
            raise ValueError(
                "uri holds a password: leave it out, and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD "
                "(a server), or PGPASSWORD (a database)"
            )
        return self

    @model_validator(mode="after")
    def _not_a_file_store(self) -> Self:
        if self.uri.startswith("file:") or ("://" not in self.uri and self.uri != "databricks"):
            raise ValueError(
                f"uri is {self.uri!r}, a file store, which MLflow 3 refuses: "
                "give sqlite:///PATH, or the http(s):// address of a tracking server"
            )
        return self


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
    processes: int = Field(
        1,
        ge=1,
        le=64,
        description="training processes on this node, whose number times micro_batch divides each batch; above 1 they "
        "start through torchrun",
    )
    stage_timeout_s: float = Field(86400.0, gt=0, description="seconds after which a stage's process group is ended")
    stall_timeout_s: float = Field(
        1800.0,
        gt=0,
        description="seconds without progress (no report, no processor used) after which a stage's process is ended "
        "and tried again; one that computes and reports nothing is given twelve times as long",
    )
    retries: int = Field(
        2, ge=0, le=100, description="further tries of a stage after what may pass: lost connections, 5xx, preemption"
    )
    retry_delay_s: float = Field(10.0, ge=0, description="seconds before the first further try; doubles each time")
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
    decoded_mib: float = Field(512.0, ge=0, description="memory of a process for media that stay decoded, MiB")
    gradient_checkpointing: bool = Field(False, description="recompute activations: less memory, about a third slower")
    checkpoints_kept: int = Field(2, ge=1, description="training checkpoints kept in the store while a stage runs")

    @property
    def decoded_bytes(self) -> int:
        """`decoded_mib` in bytes."""
        return int(self.decoded_mib * 2**20)


class Model(Section):
    """The base model and what it is shown.

    Which base it is enters the key of the stage that publishes it; all others have its digest among their inputs.
    """

    RESULT_NEUTRAL = frozenset({"base", "revision"})
    base: str = Field(
        "models/shapes/base", min_length=1, description="model directory, relative to the repository, or hub id"
    )
    revision: str | None = Field(None, description="hub revision of the base (a commit, for reproducible runs)")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32",
        description="compute type: frozen weights are kept and training is autocast in it, while trained weights are "
        "float32; float16 is for inference alone",
    )
    publish_dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="type that a training stage's model is saved in, rounded once at its end"
    )
    attention: Literal["sdpa", "eager", "flash_attention_2"] = Field("sdpa", description="attention implementation")
    max_pixels: int = Field(
        147_456, ge=1024, description="pixels an image or frame is reduced to at most (paper: 147456)"
    )
    max_frames: int = Field(8, ge=1, le=256, description="frames a video is sampled to at most (paper: 8)")

    @model_validator(mode="after")
    def _flash_attention_fits_dtype(self) -> Self:
        if self.attention == "flash_attention_2" and self.dtype == "float32":
            raise ValueError(
                "attention is flash_attention_2, which has no float32 kernels, but dtype is float32: "
                "set model.dtype=bfloat16, or model.attention=sdpa"
            )
        return self


class Lora(Section):
    """Low-rank adapters; the adapter is merged into the weights when the stage publishes its model."""

    rank: int = Field(64, ge=1, le=1024, description="adapter rank")
    alpha: int = Field(128, ge=1, description="adapter scale numerator")
    dropout: Fraction = Field(0.05, description="adapter dropout")


Reader = Literal[
    "conversations",
    "evalmuse",
    "gpt4o_t2i",
    "grpo_json",
    "hpdv2",
    "hpdv3",
    "imagegen_cot_reward",
    "llava_critic",
    "open_image_preferences",
    "own",
    "sharegpt_video_dpo",
    "text2video_rapidata",
    "video_dpo",
    "webdataset",
]
BenchmarkName = Literal[
    "genai_bench_image",
    "genai_bench_video",
    "mj_bench_video",
    "multimodal_reward_bench_2",
    "sharegpt_video",
    "videogen_reward_bench",
    "vl_reward_bench",
]
DATA_PLACE = "a folder, s3://bucket/prefix, or hf://datasets/OWNER/NAME"


class PublishedSource(Section):
    """A published data set that training pairs are taken from."""

    reader: Reader = Field(description="the layout it is published in (models/sources, docs/data.md)")
    path: str = Field(min_length=1, description=f"where its files are: {DATA_PLACE}")
    weight: float = Field(1.0, gt=0, description="its share of the pairs of a task, beside the other sources' weights")


class BenchmarkData(Section):
    """A benchmark's files."""

    name: BenchmarkName = Field(description="which benchmark")
    path: str = Field(min_length=1, description=f"where its files are: {DATA_PLACE}")


class Prepare(Section):
    """The preference data of all four tasks, in one schema with three splits: train, validation and held-out."""

    RESULT_NEUTRAL = frozenset({"decoding_processes"})
    source: Literal["shapes", "jsonl", "published"] = Field(
        "shapes",
        description="shapes: the embedded world; jsonl: your own pairs; published: the sets of prepare.sources",
    )
    path: str | None = Field(None, description="folder with pairs.jsonl and its media, for source jsonl")
    train_pairs: int = Field(1600, ge=1, description="training pairs a task (source shapes)")
    held_out_pairs: int = Field(400, ge=1, description="held-out pairs a task (source shapes)")
    validation_pairs: int = Field(100, ge=1, description="validation pairs a task (source shapes)")
    held_out_share: float = Field(
        0.1, gt=0, lt=1, description="share of the groups of pairs held out (sources jsonl and published)"
    )
    validation_share: float = Field(
        0.05, gt=0, lt=1, description="share of the groups of pairs that validate (sources jsonl and published)"
    )
    sources: list[PublishedSource] = Field([], description="published data sets to mix, for source published")
    pairs_per_task: int | None = Field(
        None, gt=0, description="pairs a task at most, chosen by the sources' weights; none: all (source published)"
    )
    max_bad_share: Fraction = Field(
        0.1, description="share of invalid rows above which an import stops, and so does a benchmark"
    )
    max_media_mib: float = Field(256.0, gt=0, description="size of one image or video at most, MiB")
    near_duplicate_bits: int = Field(
        4,
        ge=0,
        le=8,
        description="of 64 bits, how many perceptual hashes of one picture may differ in; also "
        "where pairs that show the same are kept in one split",
    )
    conflicts: Literal["drop", "majority", "keep"] = Field(
        "drop",
        description="the same pair with opposite labels, in published sets or in drops of the inbox: drop all, keep "
        "what most say, or keep all; a drop never wins against the source's own label",
    )
    inbox_share: float = Field(
        0.1,
        gt=0,
        le=1,
        description="share of a task's training pairs that one bringer of the inbox may have, rounded up: a drop, the "
        "drops whose rows all name one source, or one person's votes",
    )
    decontaminate: list[BenchmarkData] = Field(
        [], description="benchmarks whose media and captions no training pair may show"
    )
    decoding_processes: int = Field(2, ge=1, le=256, description="processes that decode the media that people bring")
    decoding_timeout_s: float = Field(
        60.0, gt=0, description="seconds that decoding one medium may take; one that takes longer is left out"
    )
    decoding_memory_mib: float = Field(
        4096.0, ge=256, description="memory that a decoding process may have, MiB; a medium that needs more is left out"
    )

    @model_validator(mode="after")
    def _path_fits_source(self) -> Self:
        if self.source == "jsonl" and not self.path:
            raise ValueError("source is jsonl but path is empty: set prepare.path to the folder that holds pairs.jsonl")
        if self.source != "jsonl" and self.path:
            raise ValueError(
                f"path is {self.path!r} but source is {self.source}, which reads none: set prepare.source=jsonl"
            )
        if (self.source == "published") != bool(self.sources):
            raise ValueError(
                f"source is {self.source} and sources has {len(self.sources)} data sets: name at least one for source "
                "published, and none for another"
            )
        return self

    @model_validator(mode="after")
    def _something_is_trained_on(self) -> Self:
        if self.held_out_share + self.validation_share >= 1:
            raise ValueError(
                f"held_out_share {self.held_out_share} and validation_share {self.validation_share} leave nothing to "
                "train on: choose shares whose sum is below 1"
            )
        return self

    @model_validator(mode="after")
    def _each_source_once(self) -> Self:
        named = [(one.reader, one.path) for one in self.sources]
        if len(set(named)) < len(named):
            raise ValueError("sources names the same reader and path twice: give its weight once")
        return self


class EmbeddedTeacher(Section):
    """How often the embedded teacher errs, so that validation and retries earn their keep."""

    wrong_perception: Fraction = Field(0.06, description="share of answers in which it misreads a shape")
    broken_grammar: Fraction = Field(0.04, description="share of answers outside the grammar")
    rate_limited: Fraction = Field(0.02, description="share of requests answered 429 with Retry-After")
    server_error: Fraction = Field(0.02, description="share of requests answered 500")


class Distill(Section):
    """Reasoning asked from a teacher over any OpenAI-compatible endpoint, kept only if it proves right."""

    RESULT_NEUTRAL = frozenset(
        {"concurrency", "requests_per_minute", "tokens_per_minute", "timeout_s", "max_attempts", "batch_poll_s"}
    )
    pairs: Positive = Field(1200, description="image_generation pairs to ask about (paper: 10K)")
    other_pairs: int = Field(
        0, ge=0, description="pairs of each other task to ask about (paper: 0; a small model needs some to carry the "
        "layout over)"
    )  # fmt: skip
    teacher: Literal["embedded", "openai", "published"] = Field(
        "embedded",
        description="embedded: a local server reading pixels; openai: OPENAI_BASE_URL and OPENAI_API_KEY; published: "
        "nobody, the reasoning that comes with prepare.sources is taken",
    )
    model: str = Field("shapes-teacher", min_length=1, description="model name sent to the endpoint")
    temperature: float = Field(0.7, ge=0, le=2, description="sampling temperature asked for")
    max_tokens: Positive = Field(1024, description="tokens of an answer at most")
    max_reasks: int = Field(1, ge=0, le=10, description="further asks after a malformed answer")
    lenient: bool = Field(
        True,
        description="true: an answer that states a clear verdict in another layout (bold names, =22/30) is written "
        "again in the grammar; false: it is malformed. What is trained on is in the grammar either way",
    )
    max_cost_usd: float = Field(50.0, ge=0, description="dollars after which no request is sent; all paid for is kept")
    max_requests: Positive = Field(100_000, description="requests after which none is sent")
    usd_per_million_input: float = Field(2.5, ge=0, description="price of prompt tokens, dollars a million")
    usd_per_million_output: float = Field(10.0, ge=0, description="price of answer tokens, dollars a million")
    mode: Literal["online", "batch"] = Field(
        "online", description="batch: the OpenAI Batch API (upload, poll, collect)"
    )
    concurrency: int = Field(16, ge=1, le=1024, description="requests under way at once")
    requests_per_minute: float = Field(60_000, gt=0, description="client-side limit, requests a minute")
    tokens_per_minute: float = Field(60_000_000, gt=0, description="client-side limit, tokens a minute")
    timeout_s: float = Field(60.0, gt=0, description="seconds to wait for one answer")
    max_attempts: int = Field(6, ge=1, le=50, description="tries of one request against 429, 5xx and lost connections")
    batch_poll_s: float = Field(30.0, gt=0, description="seconds between polls of a batch")
    embedded: EmbeddedTeacher = Field(default_factory=EmbeddedTeacher, description="the embedded teacher's faults")


class Sft(Section):
    """Supervised fine-tuning (TRL): loss on the completion only, vision tower frozen by default."""

    RESULT_NEUTRAL = frozenset({"checkpoint_every"})
    epochs: float = Field(3.0, gt=0, description="passes over the data (paper: 3)")
    learning_rate: float = Field(2.5e-6, gt=0, le=1, description="peak learning rate (paper: 2.5e-6)")
    schedule: Literal["cosine", "linear", "constant"] = Field("cosine", description="learning rate schedule")
    warmup: Fraction = Field(0.03, description="share of the steps that warm up (paper: 0.03)")
    batch: Positive = Field(128, description="completions an optimizer step, over all processes (paper: 128)")
    micro_batch: Positive = Field(8, description="completions a device handles at once; divides batch")
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay")
    max_grad_norm: float = Field(1.0, gt=0, description="norm that a step's gradient is clipped to")
    freeze_vision: bool = Field(True, description="leave the vision tower as it is")
    lora: Lora | None = Field(None, description="train low-rank adapters instead of all weights")
    direct_pairs: int = Field(
        0,
        ge=0,
        description="training pairs a task answered directly among the reasoning, so that judging without it is not "
        "forgotten (paper: 0)",
    )
    checkpoint_every: Positive = Field(100, description="optimizer steps between checkpoints")

    @model_validator(mode="after")
    def _micro_divides_batch(self) -> Self:
        if self.batch % self.micro_batch:
            raise ValueError(
                f"batch {self.batch} is not a multiple of micro_batch {self.micro_batch}: "
                "choose a micro_batch that divides it"
            )
        return self


class RejectionSampling(Section):
    """Sampling the cold-started model on all four tasks, keeping what is right, and fine-tuning on it."""

    RESULT_NEUTRAL = frozenset({"shard_pairs"})
    pairs: Positive = Field(600, description="training pairs a task to sample on (paper: about 105K in all)")
    samples: int = Field(4, ge=1, le=256, description="samples a pair and presentation order")
    temperature: float = Field(1.0, gt=0, le=2, description="sampling temperature")
    max_tokens: Positive = Field(1024, description="tokens of a completion at most")
    shard_pairs: Positive = Field(60, description="pairs a shard; an interrupted run redoes unfinished shards alone")
    keep_per_pair: Positive = Field(1, description="kept completions a pair at most")
    keep_cap: int | None = Field(None, gt=0, description="kept completions a task at most; none: all")
    sft: Sft = Field(default_factory=Sft, description="fine-tuning on what was kept")


class Rewards(Section):
    """Weights of the GRPO rewards; each reward is between 0 and 1."""

    format: float = Field(1.0, ge=0, description="weight of following the grammar")
    accuracy: float = Field(1.0, ge=0, description="weight of preferring what people prefer")
    consistency: float = Field(0.0, ge=0, description="weight of sums that add up and an answer that follows")
    accuracy_needs_format: bool | None = Field(
        None,
        description="whether accuracy is earned in the grammar alone; if not, the answer block is read whatever "
        "stands before it; none: as the preset has it (paper: no; the others: yes)",
    )

    @model_validator(mode="after")
    def _something_is_rewarded(self) -> Self:
        if not (self.format or self.accuracy or self.consistency):
            raise ValueError("format, accuracy and consistency are all 0, so nothing is rewarded: set one above 0")
        return self


# Optimizer steps that the completions of one generation serve, for presets whose clips are made for more than one.
STEPS_A_GENERATION = {"gspo": 4, "cispo": 4}


class Grpo(Section):
    """Group-relative policy optimisation on what rejection sampling still got wrong."""

    RESULT_NEUTRAL = frozenset({"checkpoint_every", "completions_every"})
    preset: Literal["paper", "modern", "gspo", "dr_grpo", "cispo"] = Field(
        "paper",
        description="paper: loss grpo, scaled by the group's spread, beta 0.04; modern: dapo, batch scale, beta 0, "
        "clip-higher, truncated completions masked, accuracy gated on valid format; gspo: ratios of whole answers, "
        "four steps a generation; dr_grpo: no scaling, no length bias; cispo: clipped weights, four steps a "
        "generation; all in docs/training.md",
    )
    hard: Literal["wrong_only", "partial", "mixed", "below_one"] = Field(
        "mixed",
        description="pass rates trained on: wrong_only: 0 (paper); partial: strictly between 0 and 1; "
        "mixed: below 1, those between 0 and 1 first; below_one: below 1 in any order",
    )
    pairs: Positive = Field(320, description="distinct pairs at most; each is shown in both presentation orders")
    solved_share: Fraction = Field(0.25, description="share of pairs already solved, mixed in against forgetting")
    validation_pairs: Positive = Field(
        160,
        description="pairs of the validation split, at most and evenly over the tasks, to choose the checkpoint on",
    )
    group: int = Field(8, ge=2, le=256, description="completions a prompt (paper: 8)")
    prompts_per_step: Positive = Field(8, description="prompts an optimizer step")
    micro_batch: Positive = Field(
        64, description="completions a device handles at once; divides group x prompts_per_step"
    )
    epochs: float = Field(1.0, gt=0, description="passes over the pairs; many distinct pairs once beat few repeated")
    learning_rate: float = Field(1e-6, gt=0, le=1, description="learning rate (paper: 1e-6)")
    max_grad_norm: float = Field(1.0, gt=0, description="norm that a step's gradient is clipped to")
    no_spread_steps: int = Field(
        20,
        ge=0,
        description="steps in a row in which no group's completions differ in reward, after which training ends early; "
        "0: never",
    )
    temperature: float = Field(1.0, gt=0, le=2, description="sampling temperature (paper: 1.0)")
    max_tokens: Positive = Field(1024, description="tokens of a completion at most")
    freeze_vision: bool = Field(True, description="leave the vision tower as it is")
    lora: Lora | None = Field(None, description="train low-rank adapters instead of all weights")
    rewards: Rewards = Field(default_factory=Rewards, description="reward weights")
    checkpoint_every: Positive = Field(10, description="optimizer steps between checkpoints")
    validate_every: Positive = Field(10, description="optimizer steps between validations")
    completions_every: Positive = Field(10, description="optimizer steps between logged tables of completions")

    @model_validator(mode="after")
    def _batches_divide(self) -> Self:
        step = self.group * self.prompts_per_step
        if step % self.micro_batch or self.micro_batch % self.group:
            raise ValueError(
                f"micro_batch {self.micro_batch} must divide group x prompts_per_step = {step} and be a multiple of "
                f"group {self.group}: choose {self.group} times a divisor of {self.prompts_per_step}"
            )
        if self.validate_every % self.checkpoint_every:
            raise ValueError(
                f"validate_every {self.validate_every} is not a multiple of checkpoint_every {self.checkpoint_every}: "
                "a checkpoint is what gets validated"
            )
        return self

    @model_validator(mode="after")
    def _checkpoints_lie_between_generations(self) -> Self:
        steps = STEPS_A_GENERATION.get(self.preset, 1)
        if self.checkpoint_every % steps:
            raise ValueError(
                f"checkpoint_every is {self.checkpoint_every}, within a generation of {steps} steps that preset "
                f"{self.preset} takes, and a run resumed there would sample again: choose a multiple of {steps}, such "
                f"as checkpoint_every={-(-self.checkpoint_every // steps) * steps}, and a validate_every to match"
            )
        return self


class Evaluate(Section):
    """Greedy judging of the held-out pairs, thinking and direct, both presentation orders."""

    pairs: int | None = Field(None, gt=0, description="held-out pairs a task at most; none: all of them")
    max_tokens: Positive = Field(1024, description="tokens of a thinking answer at most")
    bootstrap: Positive = Field(2000, description="resamples of the 95 % intervals")
    examples: Positive = Field(6, description="right and wrong judgments shown in the report, each a task")


class Promote(Section):
    """The gate before the alias `champion` moves."""

    RESULT_NEUTRAL = frozenset({"approval_timeout_s"})
    min_valid_rate: Fraction = Field(0.95, description="share of valid reasoning at least")
    min_both_orders: Fraction = Field(0.5, description="share of pairs right in both orders at least")
    reference: str = Field(
        "",
        description="the model held against besides the champion: a version, an alias or a model's digest; "
        "empty: the alias reference, which stays at the best model so far",
    )
    margin: Fraction = Field(
        0.02,
        description="accuracy that may be lost against the champion, as a fraction (0.01 is a point): the lower end of "
        "the paired 95 % interval has to lie above minus this, as with every margin here; 1 switches a test off",
    )
    reference_margin: Fraction = Field(0.01, description="the same against the reference, a fraction")
    task_margin: Fraction = Field(0.05, description="accuracy that may be lost in any one task, a fraction")
    both_orders_margin: Fraction = Field(
        0.04, description="share of pairs right in both orders that may be lost, a fraction"
    )
    calibration_margin: Fraction = Field(0.02, description="by how much the Brier score (0 to 1) may rise")
    position_bias_margin: Fraction = Field(
        0.03, description="by how much the share of answers for the first candidate may move away from one half"
    )
    approval: bool | None = Field(
        None,
        description="after the gate, wait for a person's yes in the Prefect UI before the alias champion moves; none: "
        "where training pairs came through the inbox",
    )
    approval_timeout_s: float = Field(86400.0, gt=0, description="seconds to wait for that yes; silence is a no")

    @model_validator(mode="after")
    def _margins_are_ordered(self) -> Self:
        if self.reference_margin > self.margin:
            raise ValueError(
                f"reference_margin {self.reference_margin} is above margin {self.margin}, so champions could be walked "
                "down from the reference: choose a reference_margin no larger than margin"
            )
        if self.task_margin < self.margin:
            raise ValueError(
                f"task_margin {self.task_margin} is below margin {self.margin}, but the interval of one task is wider "
                "than that of all: choose a task_margin no smaller than margin"
            )
        return self


class Nightly(Section):
    """Scheduled retraining on what came into the store's inbox."""

    cron: str = Field("0 2 * * *", description="when the deployment nightly/default runs, as cron writes it")
    timezone: str = Field("UTC", min_length=1, description="time zone of the cron line, an IANA name")
    inbox_quiet_s: float = Field(
        60.0,
        ge=0,
        description="seconds a drop must have lain unchanged: one still being copied waits for the next night",
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


class Settings(Section):
    """One profile, complete."""

    RESULT_NEUTRAL = frozenset({"profile", "storage", "tracking", "runtime", "nightly", "serve"})
    profile: str = Field("shapes", min_length=1, description="the profile's name")
    seed: int = Field(0, ge=0, lt=2**31, description="seed of all that is random")
    storage: Storage = Field(default_factory=Storage, description="where artifacts live")
    tracking: Tracking = Field(
        default_factory=Tracking, description="where runs and registered models are recorded (MLflow)"
    )
    runtime: Runtime = Field(default_factory=Runtime, description="how stages use this machine")
    model: Model = Field(default_factory=Model, description="the base model and what it is shown")
    prepare: Prepare = Field(default_factory=Prepare, description="the preference data of all four tasks")
    distill: Distill = Field(default_factory=Distill, description="reasoning asked from a teacher")
    cold_start: Sft = Field(default_factory=Sft, description="fine-tuning of the base on the distilled reasoning")
    rejection_sampling: RejectionSampling = Field(
        default_factory=RejectionSampling, description="sampling on all four tasks and fine-tuning on what is right"
    )
    grpo: Grpo = Field(default_factory=Grpo, description="policy optimisation on what is still wrong")
    evaluate: Evaluate = Field(default_factory=Evaluate, description="judging the held-out pairs")
    promote: Promote = Field(default_factory=Promote, description="the gate before the alias champion moves")
    nightly: Nightly = Field(default_factory=Nightly, description="scheduled retraining on what came into the inbox")
    serve: Serve = Field(default_factory=Serve, description="the judge service")

    @model_validator(mode="after")
    def _teacher_knows_the_source(self) -> Self:
        if self.prepare.source != "shapes" and self.distill.teacher == "embedded":
            raise ValueError(
                f"prepare.source is {self.prepare.source} but distill.teacher is embedded, which knows the shapes "
                "world alone: set distill.teacher=openai and distill.model"
            )
        if self.prepare.source != "published" and self.distill.teacher == "published":
            raise ValueError(
                f"distill.teacher is published but prepare.source is {self.prepare.source}, which comes without "
                "reasoning: set prepare.source=published and prepare.sources, or another teacher"
            )
        return self

    @model_validator(mode="after")
    def _batches_divide_among_processes(self) -> Self:
        optimised = self.grpo.group * self.grpo.prompts_per_step
        sampled = self.rejection_sampling.sft
        for name, batch, micro, unit in (
            ("cold_start", self.cold_start.batch, self.cold_start.micro_batch, 1),
            ("rejection_sampling.sft", sampled.batch, sampled.micro_batch, 1),
            ("grpo", optimised, self.grpo.micro_batch, self.grpo.group),
        ):
            processes = self.runtime.processes
            if batch % (processes * micro):
                fitting = [n for n in range(unit, micro + 1, unit) if not batch % (processes * n)]
                raise ValueError(
                    f"{name} takes {batch} completions a step, which runtime.processes {processes} x micro_batch "
                    f"{micro} does not divide: "
                    + (
                        f"set {name}.micro_batch={fitting[-1]}"
                        if fitting
                        else f"choose a number of processes that divides {batch // unit}"
                    )
                )
        return self
