"""Greedy k-centre (Sener and Savarese, ICLR 2018, https://arxiv.org/abs/1708.00489): each image far from all before it.

Differences from the paper: distances are between mean-pooled features of the pretrained encoder that runs start from,
because there may be no trained network yet; the robust version with a solver is left out.
"""

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from scipy.spatial.distance import cdist

from benchmark.protocol.choosing.base import Pool, Strategy
from benchmark.runs import Run
from methods.parts.nets import Arch

LONGEST = 512  # pixels of the longer side of an image that the encoder sees


class KCentre(Strategy):
    title = "k-centre on features of the pretrained encoder"

    def choose(self, pool: Pool, count: int, draw: int) -> list[int]:
        features = _features([*pool.annotated, *pool.candidates], pool)
        known, candidates = np.split(features, [len(pool.annotated)])
        chosen: list[int] = []
        if not len(known):
            chosen = [int(np.random.default_rng(draw).integers(len(candidates)))]
            known = candidates[chosen]
        distance = cdist(candidates, known).min(1)
        while len(chosen) < count:
            distance[chosen] = -1
            chosen.append(int(distance.argmax()))
            distance = np.minimum(distance, cdist(candidates, candidates[chosen[-1:]])[:, 0])
        return [pool.candidates[k] for k in chosen]


def _features(places: list[int], pool: Pool) -> Float[np.ndarray, "images channels"]:
    """The mean of the coarsest features of each image."""
    encoder = Arch(Run.encoder, weights=Run.weights).encoder().to(pool.device).eval()
    found = []
    for done, place in enumerate(places, 1):
        image = Image.fromarray(np.asarray(pool.store.image(place)))
        small = np.array(image.reduce(-(-max(image.size) // LONGEST)))
        x = torch.from_numpy(small).to(pool.device).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            found.append(encoder(x)[-1].mean((0, 2, 3)).cpu().numpy())
        pool.tell(done, "")
    return np.stack(found)
