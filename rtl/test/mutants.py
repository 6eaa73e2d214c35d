#!/usr/bin/env python3
"""Programs with one bit of one instruction changed, one a line, words separated by blanks.

Only bits that must matter are changed: which operation it is, where its operands lie, how many channels and bits
they have. Tokens concern the other queues: the verifier balances them.
usage: mutants.py instructions.hex COUNT
"""
import random
import sys

EXECUTE, EXECUTE_HOST, SET_INPUT, SET_ADDEND, SET_WEIGHTS = 0x22, 0x23, 0x01, 0x02, 0x07
# Weights, slot and outputs; address and channels; address; bits.
MATTER = {
    EXECUTE: [0, *range(12, 48), *range(73, 90)],
    EXECUTE_HOST: [0, *range(12, 48), *range(73, 90)],
    SET_INPUT: [*range(8, 40), *range(90, 115)],
    SET_ADDEND: [*range(8, 40)],
    SET_WEIGHTS: [*range(72, 76)],
}

words = [int(line, 16) for line in open(sys.argv[1])]
rng = random.Random(7)
places = [(i, bit) for i, word in enumerate(words) for bit in MATTER.get(word & 255, [])]
for i, bit in rng.sample(places, min(int(sys.argv[2]), len(places))):
    mutant = list(words)
    mutant[i] ^= 1 << bit
    print(*(f"{word:032x}" for word in mutant))
