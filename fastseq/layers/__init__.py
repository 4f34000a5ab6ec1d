"""Layers: forward and backward over arrays. They hold parameters; what a pass needs later is returned, not stored."""

from ._base import Layer, Param, RowSparseGrad, distinct_params, get_weights, join_params, set_weights, zero_grad
from .cells import GRUCell, LSTMCell, RNNCell
from .diagnostics import gradient_norms
from .dropout import Dropout
from .embedding import Embedding
from .functions import MatMul, ReLU, Repeat, Sigmoid, SigmoidCrossEntropy, Sum, Tanh
from .linear import Linear
from .losses import LinearCrossEntropy, SoftmaxCrossEntropy
from .recurrent import GRU, LSTM, RNN

__all__ = [
    "Param",
    "RowSparseGrad",
    "Layer",
    "Embedding",
    "Linear",
    "Dropout",
    "Sigmoid",
    "Tanh",
    "ReLU",
    "MatMul",
    "Repeat",
    "Sum",
    "SigmoidCrossEntropy",
    "SoftmaxCrossEntropy",
    "LinearCrossEntropy",
    "RNN",
    "LSTM",
    "GRU",
    "RNNCell",
    "LSTMCell",
    "GRUCell",
    "gradient_norms",
    "join_params",
    "distinct_params",
    "zero_grad",
    "get_weights",
    "set_weights",
]
