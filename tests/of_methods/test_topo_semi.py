"""TopoSemiSeg's pulls, by hand."""

import torch

from methods.parts.persistence import pulls

ON = torch.tensor(True)
GLANDS = torch.tensor([[0.95, 0.1, 0.9, 0.3, 0.4]])  # two glands and a little noise
TEACHER = torch.tensor([[1.0, 0.0, 0.85, 0.05, 0.05]])  # the same two, clearer


def to(maps: torch.Tensor) -> dict[int, float]:
    """The values to which the pixels of a row are pulled, each pulled once."""
    count, total, square = maps[:, 0, 0]
    torch.testing.assert_close(total**2, count * square)
    return {i: round(total[i].item(), 4) for i in count.nonzero().flatten().tolist()}


def test_a_gland_is_pulled_to_the_teachers_and_noise_to_its_own_saddle():
    pulled = to(pulls(GLANDS[None], TEACHER[None], ON, 0.7, 100))
    assert pulled == {0: 1.0, 2: 0.85, 1: 0.0, 4: 0.3, 3: 0.4}


def test_a_gland_that_the_teacher_does_not_have_is_noise():
    pulled = to(pulls(GLANDS[None], torch.tensor([[[1.0, 0, 0, 0, 0]]]), ON, 0.7, 100))
    assert pulled == {0: 1.0, 2: 0.1, 1: 0.9, 4: 0.3, 3: 0.4}


def test_tiles_know_nothing_of_each_other():
    f, q = torch.rand(2, 2, 5, 7)
    whole = pulls(f, q, ON, 0.3, 4)
    for rows in (slice(0, 4), slice(4, 5)):
        for columns in (slice(0, 4), slice(4, 7)):
            here = pulls(f[:, rows, columns].contiguous(), q[:, rows, columns].contiguous(), ON, 0.3, 4)
            assert torch.equal(whole[:, :, rows, columns], here)


def test_the_number_of_threads_changes_no_bit():
    f, q = torch.rand(2, 2, 9, 8)
    before, maps = torch.get_num_threads(), []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        maps.append(pulls(f, q, ON, 0.3, 4))
    torch.set_num_threads(before)
    assert torch.equal(*maps)


def test_a_saddle_between_three_glands_is_pulled_twice():
    star = torch.tensor([[0.0, 0.9, 0.0], [0.8, 0.2, 0.7], [0.0, 0.0, 0.0]])
    count, total, _ = pulls(star[None], star[None], ON, 0.9, 3)[:, 0]
    assert count[1, 1] == 2
    assert total[1, 1].item() == torch.tensor(0.8 + 0.7)


def test_before_its_warm_up_nothing_is_pulled():
    assert not pulls(GLANDS[None], TEACHER[None], torch.tensor(False), 0.7, 100).any()
