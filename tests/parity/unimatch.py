"""UniMatch, derived view by view and pixel by pixel."""

import torch
from parity.fixmatch import dice_of, from_before, labels, surprise
from parity.supervised import sup
from torch import Tensor

from methods.base import Batch, Method
from methods.parts.views import boxes, strong

VARIANTS = ("no_cutmix", "threshold_80", "medical")


def derived(method: Method, batch: Batch, t: float) -> dict[str, Tensor]:
    y, surety = labels(method.net, batch.u)
    n, labelled, u = len(batch.u), len(batch.x), batch.u
    method.eval()
    image, *features = method.net.encoder(u)
    method.train()
    holes = [torch.nn.functional.dropout2d(feature, 0.5, training=True) for feature in features]
    z_holes = method.net.decoder([image, *holes])
    where = boxes(torch.cat([u, u]), p=method.cutmix)
    view, y_view, surety_view = (
        from_before(values, where) for values in (strong(torch.cat([u, u])), y.repeat(2, 1, 1), surety.repeat(2, 1, 1))
    )
    z = method.net(torch.cat([batch.x, view]))
    loss = dice_of if method.loss.__name__.endswith("dice") else surprise
    if loss is surprise:
        one, two = labelled + n, labelled + 2 * n
        first = loss(z[labelled:one], y_view[:n], surety_view[:n], method.threshold)
        second = loss(z[one:two], y_view[n:], surety_view[n:], method.threshold)
        of_views = first / 4 + second / 4
    else:  # one Dice over both views
        of_views = loss(z[labelled:], y_view, surety_view, method.threshold) / 2
    return {
        "sup": sup(z[:labelled], batch.y),
        "strong": of_views,
        "features": loss(z_holes, y, surety, method.threshold) / 2,
    }
