"""The trainer and what it goes through: batches, schedules, averaging, checkpoints of any model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastseq as fs
from fastseq.errors import DTypeError, FormatError, ShapeError, TextError, ValueRangeError
from fastseq.layers import Param
from fastseq.training import (
    InverseSquareRoot,
    LinearWarmup,
    PlateauDecay,
    Schedule,
    ShuffledBatches,
    StepDecay,
    TextBatches,
    Trainer,
)


class Line:
    """A model with two parameters: y = a x + b."""

    def __init__(self, start=0.0):
        self.params = {"a": Param(np.full(1, start)), "b": Param(np.full(1, start))}

    def loss_and_grad(self, x, y):
        error = x * self.params["a"].value + self.params["b"].value - y
        self.params["a"].add_grad(np.mean(2 * error * x, keepdims=True))
        self.params["b"].add_grad(np.mean(2 * error, keepdims=True))
        return float(np.mean(error**2))

    def values(self):
        return [float(param.value[0]) for param in self.params.values()]


def line_batches(n=20, batch_size=6, seed=0):
    x = np.linspace(-1, 1, n)
    return ShuffledBatches(x, 3 * x - 1, batch_size=batch_size, random_state=seed)


# --- batches ------------------------------------------------------------------------------------------------------


@given(n=st.integers(2, 200), rows=st.integers(1, 30), bptt=st.integers(1, 20), vary=st.booleans())
def test_text_batches_read_the_text_once_and_in_order(n, rows, bptt, vary):
    ids = np.arange(n)
    if n - 1 < rows:
        with pytest.raises(TextError, match="smaller batch_size"):
            TextBatches(ids, rows, bptt)
        return
    batches = TextBatches(ids, rows, bptt, vary=vary, random_state=0)
    parts = list(batches.epoch(0))
    inputs, labels = (np.concatenate([batch.arrays[i] for batch in parts], axis=1) for i in (0, 1))
    steps = (n - 1) // rows
    assert inputs.shape == (rows, steps)
    assert inputs.ravel().tolist() == list(range(rows * steps))
    assert (labels == inputs + 1).all()
    assert sum(batch.n_items for batch in parts) == batches.n_items == rows * steps
    lengths = [batch.arrays[0].shape[1] for batch in parts]
    if vary:
        assert all(batch.rate == length / bptt for batch, length in zip(parts, lengths))
        assert all(length >= 5 for length in lengths[:-1])
    else:
        assert all(length == bptt for length in lengths[:-1])


def test_varied_lengths_are_those_of_awd_lstm_and_the_same_again():
    batches = TextBatches(np.arange(700_001), 1, 70, vary=True, random_state=3)
    lengths = np.array([batch.arrays[0].shape[1] for batch in batches.epoch(0)][:-1])
    whole = lengths[lengths > 52]
    # One of twenty around 35; normal numbers are cut off, which takes half a step.
    assert abs(len(whole) / len(lengths) - 0.95) < 0.01
    assert abs(whole.mean() - 69.5) < 0.2
    assert abs(whole.std() - 5) < 0.2
    again = [batch.arrays[0].shape[1] for batch in batches.epoch(0)][:-1]
    assert lengths.tolist() == again
    assert lengths.tolist() != [batch.arrays[0].shape[1] for batch in batches.epoch(1)][:-1]


def test_shuffled_batches_hold_each_example_once_and_rows_together():
    x = np.arange(23)
    batches = ShuffledBatches(x, x * 10, batch_size=5, random_state=1)
    orders = []
    for epoch in range(3):
        parts = list(batches.epoch(epoch))
        assert [batch.n_items for batch in parts] == [5, 5, 5, 5, 3]
        assert all((batch.arrays[1] == 10 * batch.arrays[0]).all() for batch in parts)
        orders.append(np.concatenate([batch.arrays[0] for batch in parts]).tolist())
        assert sorted(orders[-1]) == x.tolist()
    assert orders[0] != orders[1] != orders[2]
    assert orders[0] == np.concatenate([batch.arrays[0] for batch in batches.epoch(0)]).tolist()


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: ShuffledBatches(), ValueRangeError, "no array"),
        (lambda: ShuffledBatches(np.zeros(3), np.zeros(4)), ShapeError, r"\(3,\), \(4,\)"),
        (lambda: ShuffledBatches(np.zeros((0, 2))), ValueRangeError, "no example"),
        (lambda: ShuffledBatches(np.zeros(3), batch_size=0), ValueRangeError, "batch_size is 0"),
        (lambda: TextBatches(np.zeros((2, 2), int)), ShapeError, "one axis"),
        (lambda: TextBatches(np.zeros(9)), DTypeError, "float64"),
        (lambda: TextBatches([]), TextError, "has 0 tokens"),
    ],
)
def test_batches_refuse(make, error, match):
    with pytest.raises(error, match=match):
        make()


# --- schedules ----------------------------------------------------------------------------------------------------


def test_step_decay_is_zarembas():
    """Medium: the rate is divided by 1.2 in each epoch after the sixth."""
    schedule = StepDecay(1 / 1.2, after=6)
    assert [schedule.factor(epoch, 0) for epoch in range(9)] == pytest.approx(
        [1] * 6 + [1 / 1.2, 1 / 1.44, 1 / 1.728], rel=1e-12
    )
    assert [StepDecay(0.1, every=3).factor(epoch, 0) for epoch in (0, 2, 3, 5, 6)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01]
    )


def test_schedules_of_one_step_are_pytorchs():
    torch = pytest.importorskip("torch")
    for ours, theirs in (
        (StepDecay(0.5, every=4), lambda opt: torch.optim.lr_scheduler.StepLR(opt, 4, 0.5)),
        (LinearWarmup(5), lambda opt: torch.optim.lr_scheduler.LinearLR(opt, 0.2, 1.0, 4)),
    ):
        opt = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0)
        scheduler = theirs(opt)
        for number in range(12):
            assert ours.factor(number, number) == pytest.approx(opt.param_groups[0]["lr"], rel=1e-9)
            opt.step()
            scheduler.step()


def test_plateau_decay_is_pytorchs():
    torch = pytest.importorskip("torch")
    opt = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(opt, factor=0.5, patience=2, threshold=0.0, eps=0.0)
    ours = PlateauDecay(0.5, patience=2)
    for loss in (5, 4, 4, 4.5, 4.2, 4.1, 3, 3, 3, 3, 3, 3, 3, 3, 2.9):
        ours.note(loss)
        theirs.step(loss)
        assert ours.factor(0, 0) == opt.param_groups[0]["lr"]
    least = PlateauDecay(0.1, least=0.05)
    for _ in range(5):
        least.note(1.0)
    assert least.factor(0, 0) == 0.05


def test_warmups_rise_and_fall():
    schedule = LinearWarmup(4, total=10)
    assert [schedule.factor(0, step) for step in (0, 3, 4, 7, 10, 99)] == pytest.approx([0.25, 1, 1, 0.5, 0, 0])
    root = InverseSquareRoot(4)
    assert [root.factor(0, step) for step in (0, 3, 15)] == pytest.approx([0.25, 1, 0.5])


@pytest.mark.parametrize(
    "make",
    [
        lambda: StepDecay(0), lambda: StepDecay(0.5, every=0), lambda: PlateauDecay(0), lambda: PlateauDecay(1.5),
        lambda: PlateauDecay(0.5, patience=-1), lambda: LinearWarmup(0), lambda: LinearWarmup(5, total=5),
        lambda: InverseSquareRoot(0),
    ],
)  # fmt: skip
def test_schedules_refuse(make):
    with pytest.raises(ValueRangeError):
        make()


# --- averaged SGD -------------------------------------------------------------------------------------------------


def test_the_average_is_that_of_the_steps():
    params = {"a": Param(np.array([1.0, 2.0]))}
    optimizer = fs.ASGD(0.5, trigger=None, start=2)
    seen = []
    for number in range(6):
        params["a"].zero_grad()
        params["a"].add_grad(np.array([number, 1.0]))
        optimizer.step(params)
        seen.append(params["a"].value.copy())
    assert optimizer.n_averaged == 4
    mean, last = np.mean(seen[2:], axis=0), seen[-1]
    with optimizer.averaged(params):
        np.testing.assert_allclose(params["a"].value, mean, rtol=1e-15)
    np.testing.assert_array_equal(params["a"].value, last)
    optimizer.finish(params)
    np.testing.assert_allclose(params["a"].value, mean, rtol=1e-15)


def test_averaging_begins_where_awd_lstm_begins_it():
    """Its condition, line by line: more than nonmono evaluations, and this one above the best of all but the last."""
    nonmono, past = 3, []
    optimizer = fs.ASGD(1.0, trigger=nonmono)
    params = {"a": Param(np.zeros(1), np.ones(1))}
    for loss in (9, 8, 7, 7.5, 7.2, 7.1, 6.9, 7.05, 7.04, 7.03, 7.0):
        begins = len(past) > nonmono and loss > min(past[:-nonmono])
        past.append(loss)
        optimizer.note(loss)
        optimizer.step(params)
        if begins:
            break
    assert begins
    assert optimizer.n_averaged == 1
    assert len(past) == 8


def test_averaged_sgd_is_saved_and_loaded():
    def run(optimizer, params, numbers):
        for number in numbers:
            optimizer.note(float(number % 3))
            params["a"].zero_grad()
            params["a"].add_grad(np.full(2, float(number)))
            optimizer.step(params)

    whole, params = fs.ASGD(0.1, trigger=1), {"a": Param(np.zeros(2))}
    run(whole, params, range(9))
    first, half = fs.ASGD(0.1, trigger=1), {"a": Param(np.zeros(2))}
    run(first, half, range(5))
    again = fs.ASGD(0.1, trigger=1)
    again.load_state_dict(first.state_dict())
    run(again, half, range(5, 9))
    assert again.n_averaged == whole.n_averaged > 0
    whole.finish(params)
    again.finish(half)
    assert np.array_equal(params["a"].value, half["a"].value)
    with pytest.raises(ValueRangeError, match="another optimizer"):
        fs.ASGD().load_state_dict(fs.SGD().state_dict())
    with pytest.raises(ValueRangeError, match="when is averaging"):
        fs.ASGD(trigger=None)


# --- the loop -----------------------------------------------------------------------------------------------------


def test_it_is_the_loop_that_one_would_write():
    model, batches = Line(), line_batches()
    trainer = Trainer(model, fs.SGD(0.1, momentum=0.5), clip=1.0, schedule=StepDecay(0.5))
    history = trainer.fit(batches, epochs=3)
    other, optimizer = Line(), fs.SGD(0.1, momentum=0.5)
    means = []
    for epoch in range(3):
        losses = []
        for batch in batches.epoch(epoch):
            fs.layers.zero_grad(other.params)
            losses.append(other.loss_and_grad(*batch.arrays) * batch.n_items)
            fs.clip_grad_norm(other.params, 1.0)
            optimizer.learning_rate = 0.1 * 0.5**epoch
            optimizer.step(other.params)
        means.append(sum(losses) / 20)
    assert history.loss == pytest.approx(means, rel=1e-12)
    assert model.values() == pytest.approx(other.values(), rel=1e-12)
    assert trainer.optimizer.learning_rate == 0.1
    assert history.step == [4, 8, 12]
    assert history.epoch == [1, 2, 3]


def test_it_goes_on_with_more_epochs():
    one, two = Trainer(Line(), fs.Adam(0.1)), Trainer(Line(), fs.Adam(0.1))
    one.fit(line_batches(), epochs=5)
    two.fit(line_batches(), epochs=2)
    two.fit(line_batches(), epochs=5)
    assert one.model.values() == two.model.values()
    assert one.history.loss == two.history.loss


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: fs.SGD(0.1, momentum=0.9, nesterov=True), lambda: fs.Adam(0.1), lambda: fs.AdamW(0.1),
        lambda: fs.RMSprop(0.05), lambda: fs.AdaGrad(0.5), lambda: fs.ASGD(0.1, trigger=1),
    ],
)  # fmt: skip
def test_a_checkpoint_goes_on_bit_for_bit(tmp_path, optimizer):
    path = tmp_path / "checkpoint.safetensors"
    batches = line_batches()

    def trainer():
        return Trainer(Line(), optimizer(), schedule=PlateauDecay(0.7), evaluate_every=3)

    def run(it, **options):
        def evaluate():
            return {"error": abs(it.model.values()[0] - 3)}

        return it.fit(batches, evaluate=evaluate, checkpoint=path, **options)

    whole = trainer()
    run(whole, epochs=6)
    broken = trainer()
    broken.callbacks = (lambda it, logs: logs["step"] >= 15,)
    run(broken, epochs=6)
    again = Trainer(Line(99.0), fs.SGD(7.0))
    again.load(path)
    assert type(again.optimizer) is type(whole.optimizer)
    run(again, epochs=6)
    assert again.model.values() == whole.model.values()
    assert again.history.error == whole.history.error


def test_an_optimizer_of_ones_own_must_be_given_again(tmp_path):
    class Mine(fs.SGD):
        pass

    path = tmp_path / "checkpoint.safetensors"
    Trainer(Line(), Mine(0.1)).fit(line_batches(), checkpoint=path)
    with pytest.raises(FormatError, match="'Mine'"):
        Trainer(Line()).restore(*fs.io.load_arrays(path, "checkpoint"))
    mine = Trainer(Line(), Mine(0.1))
    mine.load(path)
    assert mine.epoch == 1


def test_the_best_parameters_come_back_and_patience_ends(tmp_path):
    values = iter([5.0, 3.0, 4.0, 4.0, 4.0])
    seen = []
    trainer = Trainer(Line(), fs.SGD(0.1), patience=1, callbacks=[lambda it, logs: seen.append(it.model.values())])
    history = trainer.fit(line_batches(), epochs=99, evaluate=lambda: {"loss of mine": next(values)})
    assert history["loss of mine"] == [5, 3, 4, 4]
    assert trainer.model.values() == seen[1]
    last = Trainer(Line(), fs.SGD(0.1), keep_best=False)
    last.fit(line_batches(), epochs=3, evaluate=lambda: {"x": float(last.epoch)})
    assert last.model.values() == seen[2]


def test_what_is_wrong_is_said_before_training(tmp_path):
    with pytest.raises(DTypeError, match="optimizer is 'adam'"):
        Trainer(Line(), "adam")
    with pytest.raises(DTypeError, match="schedule is 3"):
        Trainer(Line(), schedule=3)
    with pytest.raises(ValueRangeError, match="clip"):
        Trainer(Line(), clip=-1)
    with pytest.raises(ValueRangeError, match="evaluate_every is 0"):
        Trainer(Line(), evaluate_every=0)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        Trainer(Line()).fit(line_batches(), checkpoint=tmp_path / "no" / "x")


def test_a_loss_that_is_not_finite_leaves_the_parameters_before(tmp_path):
    class Breaks(Line):
        def loss_and_grad(self, x, y):
            loss = super().loss_and_grad(x, y)
            return loss if self.params["a"].value[0] < 0.5 else np.nan

    trainer = Trainer(Breaks(), fs.SGD(0.3))
    with pytest.raises(ValueRangeError, match=r"the loss became nan in epoch \d+, step \d+.*clip the gradients"):
        trainer.fit(line_batches(), epochs=20)
    assert np.isfinite(trainer.model.values()).all()


def test_gradients_that_are_not_finite_stop_it():
    class Breaks(Line):
        def loss_and_grad(self, x, y):
            loss = super().loss_and_grad(x, y)
            self.params["a"].add_grad(np.array([np.inf]))
            return loss

    with pytest.raises(ValueRangeError, match="norm of the gradients became inf"):
        Trainer(Breaks(), fs.SGD(0.1), clip=1.0).fit(line_batches())


@pytest.mark.parametrize("kind", [StepDecay(0.5), PlateauDecay(0.3), LinearWarmup(3, total=9), InverseSquareRoot(4)])
def test_schedules_come_back_from_a_checkpoint(tmp_path, kind):
    path = tmp_path / "checkpoint.safetensors"
    trainer = Trainer(Line(), fs.SGD(0.1), schedule=kind)
    trainer.fit(line_batches(), epochs=2, evaluate=lambda: {"x": 1.0}, checkpoint=path)
    again = Trainer(Line())
    again.load(path)
    assert isinstance(again.schedule, Schedule)
    assert repr(again.schedule) == repr(kind)
    assert again.schedule.state == kind.state
    assert again.schedule.factor(2, 8) == kind.factor(2, 8)
    kind.reset()
    assert kind.state == {}


def test_the_bar_shows_loss_and_speed(capfd):
    Trainer(Line(), fs.SGD(0.1), verbose=1, unit="examples").fit(line_batches(), epochs=2)
    shown = capfd.readouterr().err
    assert "examples" in shown
    assert "loss=" in shown


def test_a_plot_of_the_losses():
    pytest.importorskip("matplotlib")
    trainer = Trainer(Line(), fs.SGD(0.1))
    trainer.fit(line_batches(), epochs=3, evaluate=lambda: {"valid_loss": 1.0})
    axes = fs.plot.loss(trainer.history)
    assert axes.lines


def test_a_rate_that_a_callback_sets_is_taken_over():
    def halve(trainer, logs):
        trainer.optimizer.learning_rate /= 2

    trainer = Trainer(Line(), fs.SGD(0.1), schedule=StepDecay(0.1, after=2), callbacks=[halve])
    history = trainer.fit(line_batches(), epochs=4)
    # The rates of the steps themselves, not of those to come.
    assert history.learning_rate == pytest.approx([0.1, 0.05, 0.0025, 0.000125])
    assert trainer.optimizer.learning_rate == pytest.approx(0.1 / 16)


def test_it_goes_on_from_the_last_parameters_not_from_the_best():
    def run(epochs):
        trainer = Trainer(Line(), fs.ASGD(0.1, trigger=None, start=0))
        for n in epochs:
            trainer.fit(line_batches(), epochs=n)
        return trainer.model.values()

    assert run([2, 5]) == run([5])


def test_without_evaluations_a_plateau_is_one_of_the_trained_loss():
    class Flat(Line):
        def loss_and_grad(self, x, y):
            super().loss_and_grad(x, y)
            return 1.0

    history = Trainer(Flat(), fs.SGD(0.1), schedule=PlateauDecay(0.5)).fit(line_batches(), epochs=3)
    assert history.learning_rate == [0.1, 0.1, 0.05]


def test_evaluations_have_names_of_their_own():
    for found in ({}, {"loss": 1.0}, {"x": 1.0, "epoch": 2.0}):
        with pytest.raises(ValueRangeError, match="expected numbers under names"):
            Trainer(Line(), fs.SGD(0.1)).fit(line_batches(), evaluate=lambda found=found: found)
    with pytest.raises(ValueRangeError, match="patience is 1 and evaluate None"):
        Trainer(Line(), patience=1).fit(line_batches())
    with pytest.raises(DTypeError, match="expected a list of functions"):
        Trainer(Line(), callbacks=print)
    seen = []
    Trainer(Line(), fs.SGD(0.1), callbacks=(seen.append for _ in range(0))).fit(line_batches())


def test_gradients_that_are_not_finite_are_seen_without_clipping_too():
    class Breaks(Line):
        def loss_and_grad(self, x, y):
            loss = super().loss_and_grad(x, y)
            self.params["a"].add_grad(np.array([np.nan]))
            return loss

    trainer = Trainer(Breaks(), fs.SGD(0.1))
    with pytest.raises(ValueRangeError, match="norm of the gradients became nan"):
        trainer.fit(line_batches())
    assert trainer.model.values() == [0.0, 0.0]
    assert not trainer.whole
