#!/usr/bin/env python3
"""The 500 samples of keyword spotting as an .npz: even ones to calibrate on, odd ones to test on.

    keyword_spotting.py FOLDER OUT.npz
"""
import gzip
import sys
from pathlib import Path

import numpy as np

# What the stored codes stand for.
SCALE, ZERO_POINT = np.float32(0.5847029), 83

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def idx(path):
    raw = gzip.decompress(path.read_bytes())
    rank = raw[3]
    extents = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(rank)]
    return np.frombuffer(raw, TYPES[raw[2]], offset=4 + 4 * rank).reshape(extents)


def main(folder, out):
    inputs = (idx(folder / "kws01-500-inputs.idx.gz").astype(np.float32) - ZERO_POINT) * SCALE
    labels = idx(folder / "kws01-500-labels.idx.gz").astype(np.int64)
    np.savez(out, x_train=inputs[0::2], y_train=labels[0::2], x_test=inputs[1::2], y_test=labels[1::2])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
