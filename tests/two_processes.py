"""Two processes take steps with every method, and the leading one tells how far they are from one process's steps."""

import copy
import json
import sys
from pathlib import Path

import torch

import methods
from benchmark.protocol.distributed import Team, join
from methods.base import Batch, Method
from methods.parts.nets import Arch

STEPS, SIZE = 3, 32
ARCH = Arch("tu-test_efficientnet", weights="none", width=32)


def batch(step: int) -> Batch:
    """Three images of each kind: a number that two processes cannot halve."""
    random = torch.Generator().manual_seed(step)
    x, u = (torch.rand(3, 3, SIZE, SIZE, generator=random, dtype=torch.float64) for _ in range(2))
    return Batch(x, torch.randint(2, (3, SIZE, SIZE), generator=random), u)


def taught(method: Method, processes: Team) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    """The losses of a few steps, and where they lead."""
    optimiser = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], 1e-3)
    processes.attach(method, optimiser)
    losses = []
    for step in range(STEPS):
        torch.manual_seed(step)
        terms = method.losses(batch(step), torch.tensor((step + 1) / STEPS))
        sum(terms.values()).backward()
        optimiser.step()
        optimiser.zero_grad()
        method.after_step()
        losses.append({name: term.item() for name, term in terms.items()})
    return losses, method.state_dict()


def apart(name: str, processes: Team) -> dict[str, float]:
    """The largest relative difference of losses, and the largest of weights."""
    torch.manual_seed(0)
    method = methods.build(name, ARCH).double().train()
    alone_losses, alone = taught(copy.deepcopy(method), Team())
    losses, weights = taught(method, processes)
    pairs = [(a[term], b[term]) for a, b in zip(alone_losses, losses, strict=True) for term in a]
    return {
        "losses": max(abs(a - b) / max(abs(a), 1e-6) for a, b in pairs),
        "weights": max((alone[key].double() - weights[key].double()).abs().max().item() for key in alone),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    processes = join(torch.device("cpu"))
    found = {name: apart(name, processes) for name in sys.argv[2:] or methods.names()}
    if processes.is_main:
        Path(sys.argv[1]).write_text(json.dumps(found))
