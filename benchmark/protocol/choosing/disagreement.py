"""The images about which repeats of a run disagree most: the mean share of networks that differ from their mean."""

from benchmark.protocol.choosing.base import Pool, Strategy, highest


class Disagreement(Strategy):
    title = "highest disagreement between repeats of a run"
    networks = 2

    def choose(self, pool: Pool, count: int, draw: int) -> list[int]:
        scores = []
        for done, place in enumerate(pool.candidates, 1):
            other = sum((each.argmax(1) != each.mean(0).argmax(0)).mean(0).sum() for each in pool.probabilities(place))
            record = pool.store.records[place]
            scores.append(float(other) / (record.height * record.width))
            pool.tell(done, "")
        return highest(scores, pool, count)
