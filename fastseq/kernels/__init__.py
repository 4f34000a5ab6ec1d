"""Kernels: functions over arrays and numbers, usable alone. Each runs where its arrays lie, on the CPU or with CUDA."""

from .._lazy import lazy_attributes
from . import _fork  # noqa: F401 - it must be there before Numba starts threads

__all__ = [
    "REGISTRY",
    "tokenize",
    "renumber",
    "cooccurrence_counts",
    "ppmi_weights",
    "csr_matmul",
    "csr_transpose",
    "randomized_svd",
    "nearest_dot",
    "nearest_mul",
    "random_uniform",
    "random_normal",
    "unigram_table",
    "sample_negatives",
    "word2vec_train",
    "huffman_tree",
    "softmax_cross_entropy",
    "lstm_forward",
    "lstm_backward",
    "gru_forward",
    "gru_backward",
    "rnn_forward",
    "rnn_backward",
]

__getattr__, __dir__ = lazy_attributes(
    __name__,
    {
        "REGISTRY": ".registry:REGISTRY",
        "tokenize": ".text:tokenize",
        "renumber": ".text:renumber",
        "cooccurrence_counts": ".cooccurrence:cooccurrence_counts",
        "ppmi_weights": ".ppmi:ppmi_weights",
        "csr_matmul": ".sparse:csr_matmul",
        "csr_transpose": ".sparse:csr_transpose",
        "randomized_svd": ".svd:randomized_svd",
        "nearest_dot": ".nearest:nearest_dot",
        "nearest_mul": ".nearest:nearest_mul",
        "word2vec_train": ".word2vec:word2vec_train",
        "huffman_tree": ".word2vec:huffman_tree",
        "softmax_cross_entropy": ".softmax:softmax_cross_entropy",
        "lstm_forward": ".lstm:lstm_forward",
        "lstm_backward": ".lstm:lstm_backward",
        "gru_forward": ".gru:gru_forward",
        "gru_backward": ".gru:gru_backward",
        "rnn_forward": ".rnn:rnn_forward",
        "rnn_backward": ".rnn:rnn_backward",
        "random_uniform": ".random:random_uniform",
        "random_normal": ".random:random_normal",
        "unigram_table": ".sampling:unigram_table",
        "sample_negatives": ".sampling:sample_negatives",
    },
)
