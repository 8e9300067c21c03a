"""Digital patients with known ground truth, of which the embedded cohort consists.

    anatomy (labels on a fine raster)  --deformation-->  CT, MR and CBCT of three days

* ``tissues``: the table of tissues: HU, T1, T2, T2*, PD with their sources, and the structure
  (bone, lung, air, fat, ...) each belongs to for evaluation.
* ``shapes``, ``canvas``: smooth implicit shapes, painted in order into a label raster.
* ``spine``, ``ribcage``, ``trees``: parts that several regions share.
* ``head`` + ``neck`` + ``face``, ``thorax``, ``abdomen``: the regions; ``anatomy`` chooses.
* ``deformation``: the smooth, known map between two days.
* ``sampling``: a raster on another grid through the deformation, with partial volumes.
* ``ct``, ``mr``, ``cbct``: the simulated scanners; ``cone_beam`` and ``fdk`` are the
  differentiable projector and the analytic reconstruction, which other packages use too.
* ``imager``, ``scanners``: what a cone-beam imager measures and corrects, and imagers drawn at
  random.
* ``patient``: one patient, all scans and their ground truth.

Coordinates are LPS millimetres in (z, y, x) order with the isocentre at zero: z to the head,
y to the back, x to the patient's left.
"""
