"""How the networks of a release are run."""

from __future__ import annotations

from dataclasses import dataclass

from synthct.tasks.prediction.release import FormName


@dataclass(frozen=True)
class PredictOptions:
    """How the networks are run: the result is the same to about one HU.

    Parameters
    ----------
    tta
        Also flip the axes that training flipped; the mean of all is taken.
    overlap
        Least overlap of neighbouring windows, as a fraction of the window.
    batch
        Windows that enter a network together; None: as many as the memory allows, at most 8.
    threads
        Windows that are computed at the same time; 0 is one for each core. Changes no HU.
    device
        ``cpu`` or ``cuda`` (onnxruntime-gpu).
    max_ram_gb
        Memory that the process may take [GB]; None: what the machine has left.
    int8
        Run the release's 8-bit graphs; the card says what they cost.
    student
        Run the one network that learned the ensemble's answers; the card says what it costs.
    form
        Run a smaller form of the release's networks: ``fast`` or ``small``. Empty: themselves.
    surest
        How many networks answer: those least spread over mirrorings on this very scan. None: all.
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
