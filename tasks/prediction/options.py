"""How the networks of a release are run."""

from __future__ import annotations

from dataclasses import dataclass

from synthct.tasks.prediction.release import FormName


@dataclass(frozen=True)
class PredictOptions:
    """How the networks are run.

    Parameters
    ----------
    tta
        Also predict with flips along the axes that were flipped in training, and average.
    overlap
        Minimum overlap of neighbouring windows, as a fraction of the window.
    batch
        Windows per batch; None: as many as the memory allows, at most 8.
    threads
        Windows that are computed in parallel; 0: one per core. Does not change the result.
    device
        ``cpu`` or ``cuda`` (onnxruntime-gpu).
    max_ram_gb
        Memory limit of the process [GB]; None: the machine's free memory.
    int8
        Run the release's 8-bit graphs; the card states their loss of accuracy.
    student
        Run the network distilled from the ensemble; the card states its loss of accuracy.
    form
        Run a smaller form of the release's networks: ``fast`` or ``small``. Empty: the networks
        themselves.
    surest
        Number of networks to use: those whose predictions of this scan vary least over mirrorings.
        None: all.
    harmonise
        Harmoniser that maps the scan to the intensities of the training scans. None: as trained.
    """

    tta: bool = True
    overlap: float = 0.5
    batch: int | None = None
    threads: int = 0
    device: str = "cpu"
    max_ram_gb: float | None = None
    int8: bool = False
    student: bool = False
    surest: int | None = None
    form: FormName = ""
    harmonise: str | None = None
