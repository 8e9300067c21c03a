"""Cone-beam geometry, projectors and the analytic reconstruction.

* ``cone_beam``: a circular orbit, and the sampling projector that simulates projections.
* ``views``: any orbit; ``projector``: Joseph's method and its exact transpose, compiled
  (``kernels``) or in torch.
* ``fdk``: filtered back-projection; ``redundancy`` weights arcs and shifted detectors.
* ``sinogram``: projections with their geometry; ``rtk_geometry`` reads their files, ``rtk_writer``
  writes them.
"""
