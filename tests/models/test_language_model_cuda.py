"""Language models on a device: the same as on the CPU, with the same random numbers."""

from __future__ import annotations

import numpy as np
import pytest

import fastseq as fs
from fastseq.device import cuda_available
from fastseq.kernels._boundary import is_device_array

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not cuda_available(), reason="no CUDA device; NUMBA_ENABLE_CUDASIM=1 simulates one"),
]

SMALL = {"embedding_size": 4, "hidden_size": 5, "num_layers": 2, "dtype": "float64", "random_state": 0}
AWD = {
    "tie_weights": True, "input_dropout": 0.2, "hidden_dropout": 0.2, "output_dropout": 0.3, "locked_dropout": True,
    "embedding_dropout": 0.1, "activation_reg": 2.0, "temporal_activation_reg": 1.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus():
    return fs.Corpus.from_text("you say goodbye and i say hello .\n" * 3, eos="<eos>")


def trained(corpus, device, optimizer, epochs=2, **options):
    lm = fs.LanguageModel(**{**SMALL, **options})
    seen = []

    def look(model, logs):
        seen.append(is_device_array(model.params["embedding.weight"].value))

    with fs.use_device(device):
        lm.fit(
            corpus, valid=corpus, epochs=epochs, batch_size=3, bptt=4, optimizer=optimizer, clip=1.0, callbacks=[look]
        )
    assert seen == [device == "cuda"] * epochs
    assert not is_device_array(lm.params["embedding.weight"].value)
    return lm


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("optimizer", [lambda: fs.SGD(2.0), lambda: fs.Adam(0.05), lambda: fs.ASGD(1.0, start=2)])
def test_it_learns_what_it_does_on_the_cpu(corpus, cell, optimizer):
    ours, theirs = (trained(corpus, device, optimizer(), cell=cell) for device in ("cuda", "cpu"))
    assert ours.history.loss == pytest.approx(theirs.history.loss, rel=1e-9)
    assert ours.history.valid_loss == pytest.approx(theirs.history.valid_loss, rel=1e-9)
    for name, param in theirs.params.items():
        np.testing.assert_allclose(ours.params[name].value, param.value, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("options", [AWD, {"weight_dropout": 0.3}], ids=["dropout", "DropConnect"])
def test_it_drops_out_what_it_does_on_the_cpu(corpus, options):
    ours, theirs = (trained(corpus, device, fs.SGD(1.0), epochs=1, **options) for device in ("cuda", "cpu"))
    assert ours.history.loss == pytest.approx(theirs.history.loss, rel=1e-9)
    for name, param in theirs.params.items():
        np.testing.assert_allclose(ours.params[name].value, param.value, rtol=1e-8, atol=1e-10)


def test_it_is_asked_on_a_device(corpus):
    lm = trained(corpus, "cpu", fs.Adam(0.05))
    expected, text = lm.perplexity(corpus), lm.generate("you", 3, random_state=0)
    with fs.use_device("cuda"):
        assert lm.perplexity(corpus) == pytest.approx(expected, rel=1e-9)
        assert lm.generate("you", 3, random_state=0) == text
    assert not is_device_array(lm.params["output.weight"].value)


def test_a_checkpoint_goes_on_there_too(corpus, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    whole = trained(corpus, "cuda", fs.Adam(0.05))
    lm = fs.LanguageModel(**SMALL)
    with fs.use_device("cuda"):
        lm.fit(corpus, valid=corpus, epochs=1, batch_size=3, bptt=4, optimizer=fs.Adam(0.05), clip=1.0, checkpoint=path)
        again = fs.LanguageModel.load(path)
        again.resume(corpus, valid=corpus, epochs=2)
    for name, param in whole.params.items():
        np.testing.assert_array_equal(again.params[name].value, param.value)
