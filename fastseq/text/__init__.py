"""Text: vocabularies, corpora, readers, tokenizers and data sets."""

from .._lazy import lazy_attributes

__all__ = ["Corpus", "Vocabulary", "datasets"]

__getattr__, __dir__ = lazy_attributes(
    __name__,
    {
        "Corpus": ".corpus:Corpus",
        "Vocabulary": ".vocabulary:Vocabulary",
        "datasets": ".datasets",
    },
)
