"""The preference data: published layouts and benchmarks by name, mixing, splits, cleaning, decoding."""

from typing import Literal, Self

from pydantic import Field, model_validator

from configs.sections.base import Fraction, Section

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
    held_out_pairs: int = Field(
        360,
        ge=1,
        description="held-out pairs a task (source shapes); 360, since the tasks have 8, 5, 9 and 6 kinds of pair, "
        "which then have equal shares: 40 pairs or more each",
    )
    validation_pairs: int = Field(
        360, ge=1, description="validation pairs a task (source shapes); 360 as for held_out_pairs"
    )
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
        description="the same pair with opposite labels, in published sets or in submissions: drop all, keep "
        "the majority's, or keep all; a submission never wins against the source's own label",
    )
    inbox_share: float = Field(
        0.1,
        gt=0,
        le=1,
        description="share of a task's training pairs that one contributor to the inbox may have, rounded up: a "
        "submission, the submissions whose rows all name one source, or one person's votes",
    )
    decontaminate: list[BenchmarkData] = Field(
        [], description="benchmarks whose media and captions no training pair may show"
    )
    decoding_processes: int = Field(2, ge=1, le=256, description="processes that decode the media that people bring")
    decoding_timeout_s: float = Field(
        60.0, gt=0, description="seconds that decoding one medium may take; one that takes longer is invalid"
    )
    decoding_memory_mib: float = Field(
        4096.0, ge=256, description="memory that a decoding process may have, MiB; a medium that needs more is invalid"
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
