"""Solvers of entropic transport: Sinkhorn's scaling, and Newton's method on the dual."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix, diags, hstack, vstack
from scipy.sparse.linalg import LinearOperator, cg

from synthct.data.errors import DataError
from synthct.tasks.transport.plan import Floats, Plan, Problem

HALVINGS = 12
"""Maximum halvings of a Newton step before one pass of Sinkhorn's scaling."""

FACTOR = 10.0
"""Newton steps start when every row sum is correct within this factor: before that they would all
be halved, and rows whose mass has underflowed would make the system singular."""

RIDGE = 1e-9
"""Added to the diagonal of the Hessian, as a fraction of it."""

CG_TOLERANCE, CG_ITERATIONS = 1e-3, 500
"""Relative residual at which conjugate gradients end, and their largest number."""


@dataclass(frozen=True)
class Sinkhorn:
    r"""Row and column sums are made exact in turn, on logarithms.

    .. math:: f_i = -\varepsilon \log \sum_j b_j e^{(g_j - C_{ij})/\varepsilon}, \qquad
              g_j = -\varepsilon \log \sum_i a_i e^{(f_i - C_{ij})/\varepsilon}

    Parameters
    ----------
    tolerance
        Error of the row sums at which it ends, as a fraction of the mass.
    iterations
        Largest number of passes.

    References
    ----------
    Cuturi, Sinkhorn Distances, NeurIPS 2013, arXiv:1306.0895; on logarithms: Peyré & Cuturi,
    Computational Optimal Transport, arXiv:1803.00567, section 4.4.
    """

    tolerance: float = 1e-9
    iterations: int = 100_000

    def __call__(self, problem: Problem) -> Plan:
        """Solve ``problem``."""
        f, error = problem.rows(np.zeros(problem.b.size)), np.inf
        for done in range(1, self.iterations + 1):
            g = problem.columns(f)
            exact = problem.rows(g)
            # Row i of the plan of (f, g) sums to a_i exp((f_i - exact_i) / eps).
            off = problem.a * np.abs(np.expm1((f - exact) / problem.eps))
            error = float(off.sum() / problem.a.sum())
            if error <= self.tolerance:
                return problem.plan(f, g, done)
            f = exact
        raise diverged(self.iterations, error, self.tolerance)


@dataclass(frozen=True)
class SparseNewton:
    r"""Sinkhorn's scaling, then Newton steps whose Hessian keeps the large entries of the plan.

    The dual :math:`\langle f, a\rangle + \langle g, b\rangle - \varepsilon \sum_{ij} P_{ij}` has
    the Hessian

    .. math:: -\frac{1}{\varepsilon}
              \begin{pmatrix} \mathrm{diag}(P 1) & P \\ P^T & \mathrm{diag}(P^T 1) \end{pmatrix}.

    At a small :math:`\varepsilon` nearly all of *P* lies on few entries. Those below ``sparsity``
    of both their row and their column sum are left out of the off-diagonal blocks, which makes the
    system diagonally dominant, and conjugate gradients solve it in time proportional to what is
    kept. A step is halved until the dual rises; where it does not, or where a row sum is still off
    by a factor of ten, Sinkhorn's scaling makes one pass. Each pass ends with exact column sums.

    Parameters
    ----------
    tolerance
        Error of the row sums at which it ends, as a fraction of the mass.
    warm_up
        Passes of Sinkhorn's scaling before the first Newton step.
    sparsity
        Entries of the plan below this fraction of their row and column are dropped from the
        Hessian.
    iterations
        Largest number of passes, those of the warm-up included.

    References
    ----------
    Tang, Shavlovsky, Rahmanian, Tardini, Thekumparampil, Xiao & Ying, Accelerating Sinkhorn
    Algorithm with Sparse Newton Iterations, ICLR 2024, arXiv:2401.12253.
    """

    tolerance: float = 1e-9
    warm_up: int = 50
    sparsity: float = 1e-3
    iterations: int = 2000

    def __call__(self, problem: Problem) -> Plan:
        """Solve ``problem``."""
        f = np.zeros(problem.a.size)
        g = problem.columns(f)
        for done in range(1, self.iterations + 1):
            f = problem.rows(g) if done <= self.warm_up else self._newton(problem, f, g)
            g = problem.columns(f)
            error = problem.row_error(problem.mass(f, g))
            if error <= self.tolerance:
                return problem.plan(f, g, done)
        raise diverged(self.iterations, error, self.tolerance)

    def _newton(self, problem: Problem, f: Floats, g: Floats) -> Floats:
        """The next potential *f*; that of *g* follows from it."""
        mass = problem.mass(f, g)
        sums = mass.sum(axis=1)
        if not ((sums > problem.a / FACTOR) & (sums < problem.a * FACTOR)).all():
            return problem.rows(g)
        residual = problem.a - sums
        step = self._direction(problem, mass, residual)
        value, slope = _dual(problem, f, g), float(step @ residual)
        size = 1.0
        for _ in range(HALVINGS):
            tried = f + size * step
            if _dual(problem, tried, problem.columns(tried)) >= value + 1e-4 * size * slope:
                return tried
            size /= 2
        return problem.rows(g)

    def _direction(self, problem: Problem, mass: Floats, residual: Floats) -> Floats:
        rows, columns = mass.sum(axis=1), mass.sum(axis=0)
        least = self.sparsity * np.minimum(rows[:, None], columns[None, :])
        kept = csr_matrix(np.where(mass >= least, mass, 0.0))
        # Points that exchange mass with each other alone are singular blocks without the ridge.
        diagonal = (1 + RIDGE) * np.concatenate([rows, columns])
        upper, lower = diags(diagonal[: rows.size]), diags(diagonal[rows.size :])
        system = vstack([hstack([upper, kept]), hstack([kept.T, lower])], format="csr")
        inverse = LinearOperator(system.shape, lambda x: x / diagonal, dtype=np.float64)
        wanted = np.concatenate([residual, np.zeros(columns.size)])
        # Relative to the residual, which shrinks: the steps become exact as they converge.
        found, _ = cg(
            system, problem.eps * wanted, rtol=CG_TOLERANCE, maxiter=CG_ITERATIONS, M=inverse
        )
        return np.asarray(found[: rows.size], np.float64)


def _dual(problem: Problem, f: Floats, g: Floats) -> float:
    """Value of the dual where the column sums are exact, up to a constant."""
    return float(problem.a @ f + problem.b @ g)


def diverged(iterations: int, error: float, tolerance: float) -> DataError:
    """The error of a solver that did not converge."""
    return DataError(
        f"after {iterations} passes the row sums of the plan are off by {error:.2g} of the mass",
        rule=f"a plan is found when they are off by at most {tolerance:g}",
        where="transport plan",
        remedy="raise eps, allow more passes, or use the sparse Newton solver",
        code="transport-diverged",
    )
