"""Comparison of regularizers on the same pairs, folds, seeds and steps, with a control without.

* ``params``: arms (what is compared), pairs (training data), references (for scores);
* ``misalign``: pairs whose CT is displaced deliberately; ``alignments``: other registrations;
* ``trial``: the unit, one network trained and its test cases scored; ``price``: its arithmetic;
* ``choose``: strengths chosen on validation patients; ``effects``: paired differences;
  ``matrix``: trained on one alignment, scored on another; ``figure`` and ``page``: the page.
"""
