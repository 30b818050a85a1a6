"""Training: fine-tuning, rejection sampling, GRPO and its rewards."""

from typing import Literal, Self

from pydantic import Field, model_validator

from configs.sections.base import Fraction, Positive, Section
from configs.sections.model import Lora


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
    stop_malformed: bool = Field(
        True,
        description="end a completion as soon as it cannot follow the grammar any more: what is right stays so, "
        "and a model that cannot think costs a token instead of max_tokens; false keeps malformed texts whole",
    )
    shard_pairs: Positive = Field(60, description="pairs a shard; an interrupted run redoes unfinished shards alone")
    keep_per_pair: Positive = Field(1, description="kept completions a pair at most")
    keep_cap: int | None = Field(None, gt=0, description="kept completions a task at most; none: all")
    sft: Sft = Field(default_factory=Sft, description="fine-tuning on what was kept")


class Rewards(Section):
    """Weights of the GRPO rewards; each reward is between 0 and 1."""

    format: float = Field(1.0, ge=0, description="weight of following the grammar")
    accuracy: float = Field(1.0, ge=0, description="weight of preferring what people prefer")
    consistency: float = Field(0.0, ge=0, description="weight of sums that add up and an answer that follows")
    decided: float = Field(
        0.0,
        ge=0,
        description="weight of a right answer that follows from unequal totals; with an equal weight of accuracy, a "
        "right answer after equal totals, which is a guess, earns half",
    )
    orders: float = Field(
        0.0,
        ge=0,
        description="weight of being right in both presentation orders: what a right answer earns is the share of the "
        "completions of the same pair swapped, in the same batch, that are right too; under presets that scale by the "
        "group's spread it only shifts accuracy against the other rewards",
    )
    accuracy_needs_format: bool | None = Field(
        None,
        description="whether accuracy is earned in the grammar alone; if not, the answer block is read whatever "
        "precedes it; none: as the preset has it (paper: no; the others: yes)",
    )

    @model_validator(mode="after")
    def _something_is_rewarded(self) -> Self:
        if not (self.format or self.accuracy or self.consistency or self.decided or self.orders):
            raise ValueError(
                "format, accuracy, consistency, decided and orders are all 0, so nothing is rewarded: set one above 0"
            )
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
    hard: Literal["wrong_only", "partial", "contested", "mixed", "below_one"] = Field(
        "mixed",
        description="pass rates trained on: wrong_only: 0 (paper); partial: strictly between 0 and 1; contested: "
        "those, nearest to 1/2 first; mixed: below 1, those between 0 and 1 first; below_one: below 1 in any order",
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
    steps_per_generation: int | None = Field(
        None,
        gt=0,
        description="optimizer steps that the completions of one generation are shared out to, each of "
        "prompts_per_step prompts; none: the preset's (gspo and cispo: 4, the others: 1)",
    )
    generation_passes: Positive = Field(
        1, description="times that each generation is optimised on before the next is sampled (GRPO's mu)"
    )
    refill: int = Field(
        0,
        ge=0,
        description="rounds of further prompts at most, sampled in place of pairs whose completions all earn the same "
        "(DAPO's dynamic sampling); further hard pairs first, else those trained on; 0: none",
    )
    epochs: float = Field(1.0, gt=0, description="passes over the pairs; many distinct pairs once beat few repeated")
    learning_rate: float = Field(1e-6, gt=0, le=1, description="peak learning rate (paper: 1e-6)")
    schedule: Literal["constant", "cosine", "linear"] = Field(
        "constant", description="learning rate schedule after the warm-up; cosine and linear end at 0"
    )
    warmup: Fraction = Field(0.0, lt=1, description="share of the steps that warm up")
    beta: float | None = Field(
        None, ge=0, description="weight of the KL divergence from the start; none: the preset's (paper: 0.04)"
    )
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

    @property
    def generation_steps(self) -> int:
        """Optimizer steps that the completions of one generation are shared out to."""
        return self.steps_per_generation or STEPS_A_GENERATION.get(self.preset, 1)

    @model_validator(mode="after")
    def _checkpoints_lie_between_generations(self) -> Self:
        steps = self.generation_steps * self.generation_passes
        if self.checkpoint_every % steps:
            raise ValueError(
                f"checkpoint_every is {self.checkpoint_every}, within a generation of {steps} steps under preset "
                f"{self.preset}, and a run resumed there would sample again: choose a multiple of {steps}, such "
                f"as checkpoint_every={-(-self.checkpoint_every // steps) * steps}, and a validate_every to match"
            )
        return self

    @model_validator(mode="after")
    def _both_orders_share_a_batch(self) -> Self:
        prompts = self.prompts_per_step * self.generation_steps
        if self.rewards.orders and prompts % 2:
            raise ValueError(
                f"grpo.rewards.orders compares both orders of a pair, and a generation of {prompts} prompts parts "
                f"them: choose prompts_per_step={self.prompts_per_step + 1}, or orders=0"
            )
        return self
