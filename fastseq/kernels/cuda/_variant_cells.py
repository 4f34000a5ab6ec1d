"""The cells of `_variants`: the equations of LSTM, GRU and RNN with options, for the rows of one step."""

from __future__ import annotations

from .. import _cuda
from ._variants import Cell, norm_back, normalized, sigmoid

__all__ = ["GRU", "LSTM", "RNN", "ResetBefore"]


class LSTM(Cell):
    """Gates i, f, g, o."""

    def forward(self, by_x, by_h, h, h_in, c):
        """Return (new states, new cell states, what `backward` takes)."""
        xp, options = _cuda.xp(), self.options
        i, f, g, o = xp.split(by_x + by_h, 4, axis=1)
        peephole = options.get("peephole")
        if peephole is not None:
            i, f = i + peephole[0] * c, f + peephole[1] * c
        i, f, g = sigmoid(i), sigmoid(f), xp.tanh(g)
        raw = f * c + i * g
        limit = options.get("clip_c")
        new = raw if limit is None else xp.clip(raw, -limit, limit)
        o = sigmoid(o if peephole is None else o + peephole[2] * new)
        norm = None
        if "norm" in options:
            norm = normalized(new)
            size = xp.tanh(norm[0] * options["norm"][2] + options["norm"][3])
        else:
            size = xp.tanh(new)
        m = o * size
        out = xp.matmul(m, options["w_p"]) if "w_p" in options else m
        return out, new, (i, f, g, o, raw, new, size, m, norm)

    def backward(self, to, to_new, step, sums):
        """Return gradients by x's part, h's part, by h past the gates, by what the product took, and by c."""
        xp, options = _cuda.xp(), self.options
        i, f, g, o, raw, new, size, m, norm = step.own

        def add(name, value):
            sums[name] = value if name not in sums else sums[name] + value

        to_m = to
        if "w_p" in options:
            add("w_p", xp.matmul(m.T, to))
            to_m = xp.matmul(to, options["w_p"].T)
        to_size = to_m * o * (1 - size * size)
        if norm is None:
            to_new = to_new + to_size
        else:
            add("gain_c", (to_size * norm[0]).sum(axis=0))
            add("bias_c", to_size.sum(axis=0))
            to_new = to_new + norm_back(to_size * options["norm"][2], *norm)
        by_o = to_m * size * o * (1 - o)
        peephole, limit = options.get("peephole"), options.get("clip_c")
        if peephole is not None:
            to_new = to_new + by_o * peephole[2]
        if limit is not None:
            to_new = xp.where(xp.abs(raw) > limit, to_new.dtype.type(0), to_new)
        by_i, by_f = to_new * g * i * (1 - i), to_new * step.c * f * (1 - f)
        by_c = to_new * f
        if peephole is not None:
            by_c = by_c + by_i * peephole[0] + by_f * peephole[1]
            rows = [(by_i * step.c).sum(axis=0), (by_f * step.c).sum(axis=0), (by_o * new).sum(axis=0)]
            add("peephole", xp.stack(rows))
        d = xp.concatenate((by_i, by_f, to_new * i * (1 - g * g), by_o), axis=1)
        return d, d, 0, 0, by_c

    def end_back(self, sums, d_h, gains):
        """Return the gradients by peephole, w_p and the arrays of norm."""
        xp = _cuda.xp()
        more = [sums.get(name, xp.zeros_like(self.options[name])) for name in ("peephole", "w_p") if name in
                self.options]  # fmt: skip
        if "norm" in self.options:
            own = zip(("gain_c", "bias_c"), self.options["norm"][2:])
            more += [*gains, *(sums.get(name, xp.zeros_like(value)) for name, value in own)]
        return more


class GRU(Cell):
    """Gates r, z, n; resets after the product."""

    def forward(self, by_x, by_h, h, h_in, c):
        """Return (new states, no cell states, what `backward` takes)."""
        xp = _cuda.xp()
        x_r, x_z, x_n = xp.split(by_x, 3, axis=1)
        h_r, h_z, h_n = xp.split(by_h, 3, axis=1)
        r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
        part = h_n + self.b_n
        new = xp.tanh(x_n + r * part)
        return new + z * (h - new), None, (h, r, z, new, part)

    def backward(self, to, to_new, step, sums):
        """As for the LSTM."""
        xp = _cuda.xp()
        old, r, z, new, part = step.own
        to_n = to * (1 - z) * (1 - new * new)
        to_r, to_z = to_n * part * r * (1 - r), to * (old - new) * z * (1 - z)
        by_x = xp.concatenate((to_r, to_z, to_n), axis=1)
        own = (to_n * r).sum(axis=0)
        sums["b_n"] = own if "b_n" not in sums else sums["b_n"] + own
        return by_x, xp.concatenate((to_r, to_z, to_n * r), axis=1), to * z, 0, None

    def end_back(self, sums, d_h, gains):
        """Return the gradients by b_n and the gains."""
        return [sums.get("b_n", _cuda.xp().zeros_like(self.b_n)), *gains]


class ResetBefore(Cell):
    """Gates r, z, n; resets before the product of the candidate."""

    def states_part(self, h_in):
        """Return the product for r and z."""
        return _cuda.xp().matmul(h_in, self.w_h[:, : 2 * len(self.w_h)])

    def forward(self, by_x, by_h, h, h_in, c):
        """Return (new states, no cell states, what `backward` takes)."""
        xp, units = _cuda.xp(), len(self.w_h)
        r, z = xp.split(sigmoid(by_x[:, : 2 * units] + by_h), 2, axis=1)
        part = r * h_in
        new = xp.tanh(by_x[:, 2 * units :] + xp.matmul(part, self.w_h[:, 2 * units :]))
        return new + z * (h - new), None, (h, r, z, new, part)

    def backward(self, to, to_new, step, sums):
        """As for the LSTM."""
        xp, units = _cuda.xp(), len(self.w_h)
        old, r, z, new, _ = step.own
        to_n = to * (1 - z) * (1 - new * new)
        to_part = xp.matmul(to_n, self.w_h[:, 2 * units :].T)
        d = xp.concatenate((to_part * step.h_in * r * (1 - r), to * (old - new) * z * (1 - z), to_n), axis=1)
        return d, d, to * z, to_part * r, None

    def carry(self, by_h):
        """Return the gradient by what the product of r and z took."""
        units = len(self.w_h)
        return _cuda.xp().matmul(by_h[:, : 2 * units], self.w_h[:, : 2 * units].T)

    def weights_back(self, before, d_h, steps):
        """Return the gradient by w_h."""
        xp, units = _cuda.xp(), len(self.w_h)
        parts = xp.concatenate([step.own[4] for step in steps]) if steps else before
        by_gates = xp.matmul(before.T, d_h[:, : 2 * units])
        return xp.concatenate((by_gates, xp.matmul(parts.T, d_h[:, 2 * units :])), axis=1)

    def end_back(self, sums, d_h, gains):
        """There is no b_n."""
        return [_cuda.xp().zeros(len(self.w_h), d_h.dtype)]


class RNN(Cell):
    """One gate; ``nonlinearity`` tanh or relu."""

    nonlinearity = "tanh"

    def forward(self, by_x, by_h, h, h_in, c):
        """Return (new states, no cell states, what `backward` takes)."""
        xp = _cuda.xp()
        sums = by_x + by_h
        new = xp.tanh(sums) if self.nonlinearity == "tanh" else xp.maximum(sums, sums.dtype.type(0))
        return new, None, (new,)

    def backward(self, to, to_new, step, sums):
        """As for the LSTM."""
        (new,) = step.own
        if self.nonlinearity == "tanh":
            d = to * (1 - new * new)
        else:
            d = _cuda.xp().where(new <= 0, to.dtype.type(0), to)
        return d, d, 0, 0, None
