"""Images from cone-beam projections: analytic, algebraic, and with a prior of the registry.

* ``problem``: the data term and the prior, with what is needed to minimise their sum.
* ``methods``: the algorithms by name.
* ``solve``: run one, with a stopping rule, history, progress and checkpoints.
* ``job``: from files to files, behind ``synthct reconstruct``; ``page`` writes its report.
"""
