"""Regularizers compared fairly: same pairs, folds, seeds and steps; differences to none.

* ``params``: arms (what is compared), pairs (what they are trained on), what they are scored on;
* ``misalign``: pairs whose CT was moved on purpose; ``alignments``: pairs registered otherwise;
* ``trial``: the unit, one network trained and its test cases scored; ``price``: its arithmetic;
* ``choose``: a strength by validation alone; ``effects``: paired differences; ``matrix``: trained
  on one alignment, scored on another; ``figure`` and ``page``: for people.
"""
