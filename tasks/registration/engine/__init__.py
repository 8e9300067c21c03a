"""Differentiable registration: any similarity, any deformation, any penalty on it, coarse to fine.

* ``contracts``: what a similarity and a deformation are, and the level of the pyramid they work on;
* ``pyramid``: the levels of an image, and displacements from one level to the next;
* ``settings``: the names and numbers of one registration;
* ``descent``: one level, by Adam; ``deform``: all of them, from two volumes to a displacement.
"""
