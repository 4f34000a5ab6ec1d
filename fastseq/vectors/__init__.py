"""Word vectors: lookup, neighbours, analogies, evaluation and file formats."""

from .._lazy import lazy_attributes

__all__ = ["WordVectors", "SimilarityResult", "AnalogyResult", "AnalogySection"]

__getattr__, __dir__ = lazy_attributes(
    __name__,
    {
        "WordVectors": ".word_vectors:WordVectors",
        "SimilarityResult": ".evaluation:SimilarityResult",
        "AnalogyResult": ".evaluation:AnalogyResult",
        "AnalogySection": ".evaluation:AnalogySection",
    },
)
