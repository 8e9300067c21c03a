"""Representers: the prediction of a last layer as a sum over the training patients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthct.data.errors import DataError

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Representers:
    r"""A last layer fitted to training voxels, and the contribution of each patient to it.

    Parameters
    ----------
    patients
        Names, in the order of ``pulls``.
    weights
        Last layer (d,).
    pulls
        (patients, d): :math:`\sum_{i \in p} a_i \varphi_i`. Their sum is ``weights``.
    """

    patients: tuple[str, ...]
    weights: Floats
    pulls: Floats

    def predict(self, features: Floats) -> float:
        """Prediction for features (d,), in the unit of the targets."""
        return float(self.weights @ features)

    def shares(self, features: Floats) -> dict[str, float]:
        """Contribution of each patient, the largest first; their sum is :meth:`predict`."""
        values = self.pulls @ features
        order = np.argsort(-np.abs(values), kind="stable")
        return {self.patients[n]: float(values[n]) for n in order}


def fit_representers(
    samples: Mapping[str, tuple[Floats, Floats]], *, penalty: float = 1e-2
) -> Representers:
    r"""Ridge regression of targets on the features of the last layer, split by patient.

    .. math:: \min_w \frac1n \sum_i (w^\top \varphi_i - y_i)^2 + \lambda \lVert w \rVert^2

    At the minimum :math:`w = \sum_i a_i \varphi_i` with

    .. math:: a_i = -\frac{1}{2 \lambda n} \frac{\partial L}{\partial f_i}
              = \frac{y_i - f_i}{\lambda n}

    for the sum of squares :math:`L`, so the prediction at *x* is
    :math:`\sum_i a_i \langle \varphi_i, \varphi(x) \rangle`: a positive share raises the HU, and a
    large one comes from voxels that look like *x* to the network and that the layer has to be
    pulled towards. The paper's forms for :math:`\ell_1` and nuclear penalties are not here: last
    layers of these networks are small and dense.

    Parameters
    ----------
    samples
        Patient to features (n, d) and targets (n,).
    penalty
        :math:`\lambda` as a share of the mean squared feature.

    Raises
    ------
    DataError
        ``no-training-voxels``: there is nothing to fit.

    References
    ----------
    Tsai et al., Representer Point Selection for Explaining Regularized High-dimensional Models,
    ICML 2023, arXiv:2305.20002.
    """
    patients = tuple(samples)
    count = sum(len(targets) for _, targets in samples.values())
    if not count:
        raise DataError(
            "the training cases have no voxel inside their bodies",
            rule="an explanation needs the scans that the network was trained on",
            remedy="run the registration stage again",
            code="no-training-voxels",
        )
    size = next(iter(samples.values()))[0].shape[1]
    gram, moment, trace = np.zeros((size, size)), np.zeros(size), 0.0
    for features, targets in samples.values():
        gram += features.T @ features
        moment += features.T @ targets
        trace += float((features**2).sum())
    strength = penalty * trace / size  # lambda times n
    weights = np.linalg.solve(gram + strength * np.eye(size), moment)
    pulls = np.stack(
        [
            features.T @ (targets - features @ weights) / strength
            for features, targets in samples.values()
        ]
    )
    return Representers(patients, weights, pulls)
