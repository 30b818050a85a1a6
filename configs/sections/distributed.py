"""How a training is spread over devices and machines: nothing here is in a key."""

import re
from typing import Literal, Self

from pydantic import Field, model_validator

from configs.sections.base import Section

RENDEZVOUS = re.compile(r"^[^\s:/]+:\d{1,5}$")


class Distributed(Section):
    """The engine that starts a training's processes, and how they share the model.

    The number of processes changes no result beyond rounding: the batch of a step is that of all together.
    """

    engine: Literal["none", "torchrun", "ray"] = Field(
        "none",
        description="what starts the training's processes; none: the stage trains in its own; torchrun: PyTorch's "
        "elastic launcher; ray: Ray Train (pip install 'thinkreward[ray]')",
    )
    nodes: int = Field(1, ge=1, le=1024, description="machines that train together")
    processes: int = Field(1, ge=1, le=64, description="training processes a node, one for each device")
    rendezvous: str = Field("", description="host:port where the nodes of torchrun meet, on the first node")
    address: str = Field(
        "auto", min_length=1, description="address of the Ray cluster, such as head:6379; auto: one of this machine"
    )
    strategy: Literal["ddp", "fsdp2", "deepspeed"] = Field(
        "ddp",
        description="how processes share the model; ddp: each holds all of it; fsdp2: weights, gradients and optimizer "
        "are sharded; deepspeed: ZeRO stage 3",
    )
    restarts: int = Field(
        3, ge=0, le=100, description="times that all processes are started again after one of them died"
    )

    @property
    def world(self) -> int:
        """Training processes on all nodes."""
        return self.nodes * self.processes

    @model_validator(mode="after")
    def _engine_starts_them(self) -> Self:
        if self.engine != "none":
            return self
        if self.world > 1:
            raise ValueError(
                f"engine none trains in one process, and {self.nodes} x {self.processes} are asked for: "
                "set runtime.distributed.engine=torchrun, or ray on a Ray cluster"
            )
        if self.strategy != "ddp":
            raise ValueError(
                f"strategy {self.strategy} shares a model among processes, and engine none has one: "
                "set runtime.distributed.engine=torchrun and processes, or strategy=ddp"
            )
        return self

    @model_validator(mode="after")
    def _nodes_can_meet(self) -> Self:
        if self.rendezvous and not RENDEZVOUS.match(self.rendezvous):
            raise ValueError(f"rendezvous {self.rendezvous!r} is not host:port: give such as node-0:29500")
        if self.engine == "torchrun" and self.nodes > 1 and not self.rendezvous:
            raise ValueError(
                f"{self.nodes} nodes of torchrun need a place to meet: set runtime.distributed.rendezvous to host:port "
                "of the first node"
            )
        return self
