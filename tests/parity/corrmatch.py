"""CorrMatch, derived place by place, region by region and pixel by pixel."""

import math

import torch
from parity.fixmatch import from_before, surprise
from parity.supervised import sup
from torch import Tensor

from methods.base import Batch, Method
from methods.parts.views import boxes, strong

VARIANTS = ("no_regions", "regions_all")
PLACE = 16  # pixels: a crop of 32 has 2 × 2 places


def derived(method: Method, batch: Batch, t: float) -> dict[str, Tensor]:
    u, labelled = batch.u, len(batch.x)
    method.eval()
    image, *features = method.net.encoder(u)
    weak = method.net.decoder([image, *features]).detach()
    method.train()
    where, view = boxes(u, p=method.cutmix), strong(u)
    alike, weak_corr = correlated(method, features[-2], weak)
    p = weak.softmax(1)
    y, confidence = p.argmax(1), p.amax(1)
    tau = 0.999 * 0.85 + 0.001 * sum(tops := best(y, confidence)) / len(tops)
    sure = confidence >= tau
    view, y_mix, sure_mix, p_mix = (from_before(values, where) for values in (view, y, sure, p))
    y_prop, sure_prop = y_mix, sure_mix
    if method.regions:
        places = alike.shape[1]
        chosen = torch.randint(places, (max(1, round(method.regions * places)),)).tolist()
        y_prop, sure_prop = propagated(alike.detach(), chosen, y_mix, sure_mix, where, tau, weak.shape[1])
    view_features = method.net.encoder(torch.cat([batch.x, view]))
    z = method.net.decoder(view_features)
    corr = correlated(method, view_features[-2], z.detach())[1]
    holes = [torch.nn.functional.dropout2d(feature, 0.5, training=True) for feature in features]
    z_holes = method.net.decoder([image, *holes])
    certain = torch.ones_like(batch.y, dtype=torch.bool)
    return {
        "sup": sup(z[:labelled], batch.y),
        "sup_corr": surprise(corr[:labelled], batch.y, certain, 1) * batch.y.numel() / (batch.y != 255).sum(),
        "strong": surprise(z[labelled:], y_prop, sure_prop, 1) / 2,
        "fp": surprise(z_holes, y, sure, 1) / 2,
        "kl": divergence(p_mix, z[labelled:], sure_mix) / 2,
        "corr": surprise(weak_corr, y, sure, 1) / 4 + surprise(corr[labelled:], y_prop, sure_prop, 1) / 4,
    }


def best(y: Tensor, confidence: Tensor) -> list[float]:
    """The largest confidence of each class that is there."""
    return [confidence[y == c].max().item() for c in sorted(set(y.flatten().tolist()))]


def correlated(method: Method, feature: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """A for each image, and the enlarged logits after it."""
    n, classes, height, width = z.shape
    places = [(r, c) for r in range(height // PLACE) for c in range(width // PLACE)]
    feature = torch.relu(method.correlate.project[1](method.correlate.project[0](feature)))
    matrices, spread = [], []
    for i in range(n):
        q = [method.correlate.query(feature[i, :, r, c].view(1, -1, 1, 1)).flatten() for r, c in places]
        k = [method.correlate.key(feature[i, :, r, c].view(1, -1, 1, 1)).flatten() for r, c in places]
        a = torch.stack([torch.stack([torch.exp((mine * its).sum() / 16) for its in k]) for mine in q])
        a = a / a.sum(1, keepdim=True)
        of_place = [z[i, :, r * PLACE : (r + 1) * PLACE, c * PLACE : (c + 1) * PLACE].mean((1, 2)) for r, c in places]
        matrices.append(a)
        spread.append(torch.stack([sum(w * value for w, value in zip(row, of_place, strict=True)) for row in a], 1))
    low = torch.stack(spread).view(n, classes, height // PLACE, width // PLACE)
    return torch.stack(matrices), torch.nn.functional.interpolate(low, (height, width), mode="bilinear")


def propagated(
    alike: Tensor, chosen: list[int], y: Tensor, sure: Tensor, box: Tensor, tau: float, classes: int
) -> tuple[Tensor, Tensor]:
    """Labels and sureness after propagation, each place by a vote of the trusted regions that cover it."""
    across, before, sure_before, y, sure = y.shape[2] // PLACE, y, sure, y.clone(), sure.clone()
    for i in range(len(y)):
        votes = torch.zeros(alike.shape[1], classes)
        for row in chosen:
            a = alike[i, row]
            inside = ((a - a.min()) / (a.max() - a.min()) > 0.5).nonzero().flatten().tolist()
            counts, pixels = [0] * classes, 0
            for r, c in (pixel for place in inside for pixel in pixels_of(place, across)):
                pixels += not box[i, r, c]
                if sure_before[i, r, c] and not box[i, r, c]:
                    counts[before[i, r, c]] += 1
            if sum(counts) and sum(counts) >= tau * pixels and max(counts) > tau * sum(counts):
                votes[inside, counts.index(max(counts))] += 1
        for place, vote in enumerate(votes):
            for r, c in pixels_of(place, across) if vote.any() else ():
                if not box[i, r, c]:
                    y[i, r, c], sure[i, r, c] = vote.argmax(), True
    return y, sure


def pixels_of(place: int, across: int) -> list[tuple[int, int]]:
    top, left = PLACE * (place // across), PLACE * (place % across)
    return [(r, c) for r in range(top, top + PLACE) for c in range(left, left + PLACE)]


def divergence(p: Tensor, z: Tensor, sure: Tensor) -> Tensor:
    """KL(p ‖ softmax z), summed over the sure pixels, over the number of all."""
    mine, its = p.movedim(1, -1)[sure], z.softmax(1).movedim(1, -1)[sure]
    return (mine * torch.log(mine / its)).sum() / math.prod(sure.shape)
