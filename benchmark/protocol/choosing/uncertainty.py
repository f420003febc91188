"""The images about which a trained network is most uncertain: the highest mean entropy of its class probabilities."""

from scipy.special import entr

from benchmark.protocol.choosing.base import Pool, Strategy, highest


class Uncertainty(Strategy):
    title = "highest entropy of a run"
    networks = 1

    def choose(self, pool: Pool, count: int, draw: int) -> list[int]:
        scores = []
        for done, place in enumerate(pool.candidates, 1):
            total = sum(entr(each.mean(0)).sum() for each in pool.probabilities(place))
            record = pool.store.records[place]
            scores.append(float(total) / (record.height * record.width))
            pool.tell(done, "")
        return highest(scores, pool, count)
