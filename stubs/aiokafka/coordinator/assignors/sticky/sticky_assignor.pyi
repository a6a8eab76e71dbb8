from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.structs import TopicPartition

class StickyPartitionAssignor(AbstractPartitionAssignor):
    """Its memory (`member_assignment`, `generation`) is class attributes: subclass it once per group."""

    DEFAULT_GENERATION_ID: int
    name: str
    version: int
    member_assignment: list[TopicPartition] | None
    generation: int
    @classmethod
    def assign(
        cls, cluster: ClusterMetadata, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]: ...
    @classmethod
    def metadata(cls, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata: ...
    @classmethod
    def on_assignment(cls, assignment: ConsumerProtocolMemberAssignment) -> None: ...
    @classmethod
    def on_generation_assignment(cls, generation: int) -> None: ...
    _latest_partition_movements: Any
