"""The mean over classes of a run as a mean over its images, so that intervals and tests of images hold for it."""

import numpy as np
from jaxtyping import Float


def class_mean(values: Float[np.ndarray, "images classes"]) -> Float[np.ndarray, "images"]:
    """Linearised values of one run: their mean over images is the mean over classes of the mean over images.

    Classes have scores in different images, and a rare class weighs as much as a frequent one: M = Σ_c m_c / K, where
    m_c is the mean over the n_c images that have a score of class c. With n images that have any score, image i has

      M + n/K · Σ_c (v_ic − m_c) / n_c

    (the linear approximation of a mean of ratios; Särndal, Swensson and Wretman, Model Assisted Survey Sampling, 1992,
    5.5). So images of a class that all score alike add nothing to the variance. A linearised value may lie outside of
    the range of the score.

    Args:
        values: the scores of the images of one run; nan where an image has no score of a class.

    Returns:
        One value for each image; nan where it has no score of any class. Classes without any score are left out.

    >>> class_mean(np.array([[0.9, np.nan], [0.7, np.nan], [np.nan, 0.2]]))
    array([0.575, 0.425, 0.5  ])
    """
    there = ~np.isnan(values)
    counts = there.sum(0)
    values, there, counts = values[:, counts > 0], there[:, counts > 0], counts[counts > 0]
    scored = there.any(1)
    if not scored.any():
        return np.full(len(values), np.nan)
    means = np.where(there, values, 0).sum(0) / counts
    residuals = (np.where(there, values - means, 0) / counts).sum(1)
    return np.where(scored, means.mean() + scored.sum() / len(counts) * residuals, np.nan)
