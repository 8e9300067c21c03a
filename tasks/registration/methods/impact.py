"""Torch engine with features of a pretrained network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from synthct.data.errors import UsageError
from synthct.tasks.registration.methods import METHODS
from synthct.tasks.registration.methods.torch_engine import EngineMethod


@METHODS.register("impact")
@dataclass(frozen=True)
class Impact(EngineMethod):
    """Features of any TorchScript network, for any two modalities it was trained on.

    Parameters
    ----------
    network
        TorchScript file; results are keyed by its content.
    """

    network: str | None = None
    compares: ClassVar[str] = "impact"
    bending: ClassVar[float] = 300.0

    def __post_init__(self) -> None:
        if not self.network or not Path(self.network).is_file():
            raise UsageError(
                f"there is no file {self.network!r}" if self.network else "no network is named",
                rule="method 'impact' compares features of a TorchScript network",
                where="network",
                remedy="name a file, or use method 'mind', which needs none",
                code="impact-network",
            )

    def similarity_options(self) -> Mapping[str, Any]:
        """The given parameters of the similarity, and the network."""
        return {**self.similarity, "network": self.network}

    def facts(self) -> dict[str, Any]:
        """The settings, with the hash of the network in place of its path."""
        from synthct.tasks.registration.similarities.feature_network import network_hash

        facts = super().facts()
        facts["similarity_options"].pop("network")
        return {**facts, "network_sha256": network_hash(Path(str(self.network)))}
