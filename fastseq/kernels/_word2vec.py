"""What the training kernels of word2vec share: modes, and which random draw of a token is for what."""

from __future__ import annotations

import numpy as np

__all__ = [
    "CBOW",
    "DIVIDED",
    "KEEP_DRAW",
    "LINE_BYTES",
    "MEAN",
    "PAIRS",
    "POOLED",
    "POOL_DRAW",
    "POOL_ITEM",
    "SHARDS",
    "STRETCH",
    "STRETCH_TOKENS",
    "TREE",
    "WINDOW_DRAW",
    "shard_tokens",
]

# Flags. Without any: skip-gram, the samples shared by the window.
CBOW = 1
# With CBOW: the mean of the contexts' vectors instead of their sum.
MEAN = 2
# Samples of its own for each pair.
PAIRS = 4
# Hierarchical softmax instead of negative sampling.
TREE = 8
# With CBOW and MEAN: what the contexts learn is divided by their number.
DIVIDED = 16

# Samples are taken from those that were drawn for a stretch of text.
POOLED = 32

# Draws of a token's stream: whether it is kept, how wide its window is. Samples begin at 64 (see negative_draw); where
# they come from a pool, each of the draws from 2 on says where four of them stand in it.
KEEP_DRAW = np.uint64(0)
WINDOW_DRAW = np.uint64(1)
POOL_DRAW = np.uint64(2)

# Two to this power tokens are a stretch of text, which has a pool; the pool's stream is that of the item
# POOL_ITEM + number of the stretch, which no token has.
STRETCH = np.uint64(11)
STRETCH_TOKENS = 2 ** int(STRETCH)
POOL_ITEM = np.uint64(1 << 63)

# A row takes whole lines of the caches, which is also the widest vector register.
LINE_BYTES = 64

# The deterministic mode trains so many parts apart before it adds up what they changed.
SHARDS = 8
_MOST_TOKENS = 128


def shard_tokens(n_words: int) -> int:
    """Return how many tokens a part has: a power of two up to 128, fewer where there are few words.

    Parts that are trained apart do not see each other's changes, and what they add up to is too much where all of them
    change the same words: 48 words in four topics were told apart for 84 instead of over 95 % with 128 tokens a part.
    """
    return min(_MOST_TOKENS, 1 << max(n_words // SHARDS, 1).bit_length() - 1)
