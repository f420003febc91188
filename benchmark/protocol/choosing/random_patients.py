"""Random images, of as many patients as possible: a second image of a patient only when every patient has one."""

import numpy as np

from benchmark.protocol.choosing.base import Pool, Strategy


class RandomPatients(Strategy):
    title = "random, stratified by patient"

    def choose(self, pool: Pool, count: int, draw: int) -> list[int]:
        random = np.random.default_rng(draw)
        rounds: dict[str, int] = {}
        ranked = []
        for place in random.permutation(pool.candidates):
            patient = pool.store.records[place].patient
            ranked.append((rounds.get(patient, 0), len(ranked), int(place)))
            rounds[patient] = rounds.get(patient, 0) + 1
        return [place for _, _, place in sorted(ranked)[:count]]
