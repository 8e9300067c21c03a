"""Multi-resolution differentiable registration: any similarity, deformation model and penalty.

* ``contracts``: interfaces of similarities, deformations and the resolution level they use;
* ``pyramid``: resolution levels of an image, and resampling of displacements between levels;
* ``settings``: the settings of one registration;
* ``descent``: optimisation of one level with Adam; ``deform``: all levels, from two volumes to a
  displacement.
"""
