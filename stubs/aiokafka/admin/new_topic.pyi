from collections.abc import Mapping

class NewTopic:
    """With `replication_factor=-1` (the broker's default) the library wants an empty `replica_assignments`."""

    name: str
    def __init__(
        self,
        name: str,
        num_partitions: int,
        replication_factor: int,
        replica_assignments: Mapping[int, list[int]] | None = ...,
        topic_configs: Mapping[str, str] | None = ...,
    ) -> None: ...
