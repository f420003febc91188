"""The warning that few test patients need."""

from scipy.special import stdtrit

FEWEST_PATIENTS = 10  # docs/statistics.md simulates no fewer


def warning(patients: int) -> str:
    """A sentence on what a test set of so few patients can show.

    The mean of n differences is significant if it exceeds t₁₋₀.₀₂₅(n − 1) / √n times their standard deviation over
    patients.

    Args:
        patients: number of test patients, or of what else the images are grouped by.

    Returns:
        The sentence; "" with `FEWEST_PATIENTS` or more, for which simulations show that intervals hold.
    """
    if patients >= FEWEST_PATIENTS:
        return ""
    if patients < 2:
        return (
            "All test images come from one patient, so the results cannot be generalised to other patients; that needs "
            "images of more patients."
        )
    needed, usual = (float(stdtrit(n - 1, 0.975)) / n**0.5 for n in (patients, 2 * FEWEST_PATIENTS))
    return (
        f"The test images come from only {patients} patients. A difference is significant only if it exceeds "
        f"{needed:.1f} times its standard deviation over patients (with {2 * FEWEST_PATIENTS} patients: {usual:.1f} "
        "times). Masks of more patients help more than more runs."
    )
