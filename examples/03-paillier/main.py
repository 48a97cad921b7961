# SPDX-License-Identifier: Apache-2.0
"""Paillier encryption of 10,000 numbers: one task for each, against 20 batches of 500. Keys are
Python objects that travel as arguments; the argument of a task that is a ref (`public`) arrives
as its value.

`main.py [how many]`; needs phe.
"""

import sys
import time

import polyray as ray
from phe import paillier

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
BATCH = 500


@ray.remote
def encrypt(public: paillier.PaillierPublicKey, value: int) -> int:
    return public.raw_encrypt(value)


@ray.remote
def encrypt_batch(public: paillier.PaillierPublicKey, values: list[int]) -> list[int]:
    return [public.raw_encrypt(value) for value in values]


with ray.init():
    key, private = paillier.generate_paillier_keypair(n_length=256)
    public = ray.put(key)
    numbers = list(range(COUNT))
    ray.get([encrypt.remote(public, 0) for _ in range(4)])  # workers are up

    started = time.perf_counter()
    singles = ray.get([encrypt.remote(public, number) for number in numbers])
    print(f"{COUNT} tasks: {time.perf_counter() - started:.2f} s")

    started = time.perf_counter()
    parts = [numbers[at : at + BATCH] for at in range(0, COUNT, BATCH)]
    batches = ray.get([encrypt_batch.remote(public, part) for part in parts])
    print(f"{len(parts)} batches of {BATCH}: {time.perf_counter() - started:.2f} s")

    step = max(1, COUNT // 20)
    flat = [cipher for batch in batches for cipher in batch]
    assert [private.raw_decrypt(cipher) for cipher in singles[::step]] == numbers[::step]
    assert [private.raw_decrypt(cipher) for cipher in flat[::step]] == numbers[::step]
