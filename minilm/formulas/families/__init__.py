"""The entries, one file per family of formulas; each has a tuple FORMULAS."""
