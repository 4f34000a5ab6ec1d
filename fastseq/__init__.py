"""Word vectors and sequence models as Numba kernels: fast on every core, with CUDA twins, and nothing to compile.

Names are loaded when they are first used, so importing the package loads neither Numba nor SciPy.
"""

from ._lazy import lazy_attributes
from ._version import __version__

_NAMES = {
    # text
    "Corpus": ".text.corpus:Corpus",
    "Vocabulary": ".text.vocabulary:Vocabulary",
    "datasets": ".text.datasets",
    # counting and factorising
    "CountVectors": ".models.count_vectors:CountVectors",
    "cooccurrence": ".models.count_vectors:cooccurrence",
    "ppmi": ".models.count_vectors:ppmi",
    "truncated_svd": ".models.count_vectors:truncated_svd",
    # word2vec
    "SkipGram": ".models.word2vec:SkipGram",
    "CBOW": ".models.word2vec:CBOW",
    # language models
    "LanguageModel": ".models.language_model:LanguageModel",
    "DynamicEvaluation": ".models.adaptation:DynamicEvaluation",
    "ContinuousCache": ".models.adaptation:ContinuousCache",
    "presets": ".models.presets",
    "load": ".models.files:load",
    # drawing words
    "UnigramTable": ".sampling:UnigramTable",
    # training
    "SGD": ".training.optimizers:SGD",
    "ASGD": ".training.averaging:ASGD",
    "AdaGrad": ".training.optimizers:AdaGrad",
    "RMSprop": ".training.optimizers:RMSprop",
    "Adam": ".training.optimizers:Adam",
    "AdamW": ".training.optimizers:AdamW",
    "clip_grad_norm": ".training.optimizers:clip_grad_norm",
    # vectors
    "WordVectors": ".vectors.word_vectors:WordVectors",
    # where and how it runs
    "threads": ".parallel:threads",
    "use_device": ".device:use_device",
    "to_device": ".device:to_device",
    "to_host": ".device:to_host",
    "warmup": ".kernels.warmup:warmup",
    # rooms
    "errors": ".errors",
    "io": ".io",
    "kernels": ".kernels",
    "layers": ".layers",
    "metrics": ".metrics",
    "plot": ".plot",
    "random": ".random",
    "training": ".training",
}

__all__ = ["__version__", *_NAMES]

__getattr__, __dir__ = lazy_attributes(__name__, _NAMES)
