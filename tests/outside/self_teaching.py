"""Self Teaching (2026): believe your own most probable class. An example of a method that lives in another package.

L = L_sup + weight · mean over unlabelled pixels of −ln max_c p_c.
"""

from torch import Tensor, cat

from methods.base import Batch, Images, Logits, Method, register
from methods.parts.losses import cross_entropy, dice_ce
from methods.parts.nets import Arch


@register
class SelfTeaching(Method):
    title, year, venue, paper = "Self Teaching", 2026, "", "https://example.org/self-teaching"

    def __init__(self, arch: Arch, *, weight: float = 0.1):
        super().__init__()
        self.net, self.weight = arch.net(), weight

    def losses(self, batch: Batch, t: Tensor) -> dict[str, Tensor]:
        labelled, logits = len(batch.x), self.net(cat([batch.x, batch.u]))
        own = cross_entropy(logits[labelled:], logits[labelled:].argmax(1))
        return {"sup": dice_ce(logits[:labelled], batch.y), "own": self.weight * own}

    def predict(self, x: Images) -> Logits:
        return self.net(x)
