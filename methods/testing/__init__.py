"""Checks for methods, of this package and of any other: the contract, and the comparison with a second derivation."""
