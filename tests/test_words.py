"""Words of messages: the examples in the docstrings, and a unit that is named like nothing else."""

import doctest

from benchmark import words


def test_the_examples_of_the_docstrings_hold():
    found = doctest.testmod(words)
    assert found.attempted >= 2
    assert found.failed == 0


def test_counts_are_in_words():
    assert [words.some(count, "biopsy") for count in (0, 1, 2)] == ["0 biopsies", "1 biopsy", "2 biopsies"]


def test_patients_are_called_patients_unless_another_unit_is_named():
    text = "Patients of a patient, not inpatients."
    assert words.in_units(text, "patient") == text
    assert words.in_units(text, "slide") == "Slides of a slide, not inpatients."
