"""How far a synthetic CT can be off where nobody can look: intervals, and when to distrust them."""
