"""Pictures of word vectors, of gradients and of the course of a training.

Each function draws on Matplotlib Axes and returns them; none shows or saves anything.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import DTypeError, MissingExtraError, ShapeError, ValueRangeError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .vectors import WordVectors

__all__ = ["gradient_norms", "loss", "spectrum", "vectors"]

_METHODS = ("pca", "first")
_COLOUR = "#1f5a99"
# Fonts that hold Japanese, those of the common systems and free ones; the first that is there and fits is taken.
_CJK_FONTS = (
    "Noto Sans CJK JP", "Noto Sans JP", "Source Han Sans JP", "Source Han Sans", "IPAexGothic", "IPAGothic",
    "TakaoPGothic", "TakaoGothic", "VL PGothic", "VL Gothic", "BIZ UDGothic", "Yu Gothic", "Meiryo", "MS Gothic",
    "Hiragino Sans", "Hiragino Maru Gothic Pro", "Noto Serif CJK JP", "Noto Sans CJK SC", "WenQuanYi Micro Hei",
    "Droid Sans Fallback", "Arial Unicode MS", "Unifont",
)  # fmt: skip


def _axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    if ax is not None:
        return ax
    try:
        from matplotlib import pyplot
    except ImportError:
        raise MissingExtraError("matplotlib", "plot", "fastseq.plot") from None
    return pyplot.subplots(figsize=size, layout="constrained")[1]


def _fonts_for(texts: Sequence[str]) -> list[str] | None:
    """Return the font families that show all of ``texts``, None where the default does; warn where none is found."""
    from matplotlib import font_manager

    def missing(characters: set[int], path: str) -> set[int]:
        return characters - set(font_manager.get_font(path).get_charmap())

    properties = font_manager.FontProperties()
    wanted = {ord(character) for text in texts for character in text if not character.isspace()}
    lacking = missing(wanted, font_manager.findfont(properties))
    if not lacking:
        return None
    installed = {font.name: font.fname for font in font_manager.fontManager.ttflist}
    for name in _CJK_FONTS:
        if name in installed and not missing(lacking, installed[name]):
            return [*properties.get_family(), name]
    shown = "".join(map(chr, sorted(lacking)[:8]))
    warnings.warn(
        f"no installed font that is known here holds {shown!r}, so some labels will show boxes; install one that does, "
        "such as Noto Sans CJK JP or IPAexGothic, and delete Matplotlib's font cache",
        UserWarning,
        stacklevel=3,
    )
    return None


def _flat(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first two principal components of ``points`` (n, D) as (n, 2), and the share of variance of each."""
    centred = points - points.mean(axis=0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    flat = np.zeros((points.shape[0], 2))
    share = np.zeros(2)
    kept = min(2, singular.size)
    flat[:, :kept] = left[:, :kept] * singular[:kept]
    total = float((singular**2).sum())
    if total > 0:
        share[:kept] = singular[:kept] ** 2 / total
    for axis in range(2):
        # The sign of a component means nothing; a fixed one makes the same picture every time.
        if flat[np.abs(flat[:, axis]).argmax(), axis] < 0:
            flat[:, axis] *= -1
    return flat, share


# Where a label may stand, as (x, y) away from its point: eight directions, the readable ones first.
_DIRECTIONS = ((1, 0), (1, 1), (1, -1), (0, 1), (0, -1), (-1, 0), (-1, 1), (-1, -1))


def _place_labels(ax: Axes, points: np.ndarray, labels: Sequence[str], size: float, fonts: list[str] | None) -> None:
    """Write a label beside each point, each where it covers the fewest points and labels placed before."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    root = ax.figure.canvas.figure  # ax.figure itself may be a part of it
    # A canvas of our own measures text whatever backend shows the figure later; the figure keeps the one it has.
    kept = root.canvas
    renderer = FigureCanvasAgg(root).get_renderer()
    root.set_canvas(kept)
    root.draw_without_rendering()  # settles the layout, so that data coordinates have their final places
    pixels = ax.transData.transform(points)
    to_points = 72.0 / root.dpi
    low, high = ax.bbox.min, ax.bbox.max
    line = {"arrowstyle": "-", "lw": 0.6, "color": "0.5", "shrinkA": 0, "shrinkB": 2}
    boxes = np.empty((0, 4))  # x0, y0, x1, y1 of the labels placed so far
    margin = 3.0 / to_points
    for i in np.argsort(-pixels[:, 1], kind="stable"):
        probe = Text(0, 0, labels[i], fontsize=size, fontfamily=fonts, parse_math=False, figure=root)
        with warnings.catch_warnings():
            # Characters that no font has were told of in one sentence before.
            warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
            box = probe.get_window_extent(renderer)
        width, height = box.width, box.height
        best, chosen = np.inf, (pixels[i, 0], pixels[i, 1], 1.0)
        for radius in (1.0, 3.0, 5.0):
            for rank, (dx, dy) in enumerate(_DIRECTIONS):
                away = margin * radius * (0.75 if dx and dy else 1.0)
                x = pixels[i, 0] + dx * away + (0.0 if dx > 0 else -width if dx < 0 else -width / 2)
                y = pixels[i, 1] + dy * away + (0.0 if dy > 0 else -height if dy < 0 else -height / 2)
                across = np.minimum(boxes[:, 2], x + width) - np.maximum(boxes[:, 0], x) + margin
                along = np.minimum(boxes[:, 3], y + height) - np.maximum(boxes[:, 1], y)
                shared = across.clip(0) * along.clip(0)
                overlap = 3.0 * int((shared > 0).sum()) + 10.0 * float(shared.sum()) / (width * height)
                near = margin * 0.6
                inside = (pixels > (x - near, y - near)) & (pixels < (x + width + near, y + height + near))
                covered = int(inside.all(axis=1).sum())
                outside = max(0.0, low[0] - x, x + width - high[0], low[1] - y, y + height - high[1])
                cost = overlap + 2 * covered + outside + 0.01 * rank + 0.1 * radius
                if cost < best:
                    best, chosen = cost, (x, y, radius)
        x, y, radius = chosen
        boxes = np.vstack([boxes, (x, y, x + width, y + height)])
        ax.annotate(
            labels[i],
            xy=(points[i, 0], points[i, 1]),
            xytext=((x - pixels[i, 0]) * to_points, (y - pixels[i, 1]) * to_points),
            textcoords="offset points",
            fontsize=size,
            fontfamily=fonts,
            parse_math=False,  # a word is no formula, whatever dollar signs it holds
            ha="left",
            va="bottom",
            # A thin line leads to labels that stand further off.
            arrowprops=line if radius > 1 else None,
        )


def vectors(
    wv: WordVectors,
    words: Sequence[str],
    *,
    method: str = "pca",
    unit: bool = True,
    ax: Axes | None = None,
    fontsize: float = 9.0,
) -> Axes:
    """Draw a labelled map of words in two dimensions.

    Parameters
    ----------
    wv : WordVectors
        Where the vectors come from.
    words : list of str
        The words to draw, at least one; up to about a hundred stay readable.
    method : {"pca", "first"}
        "pca": the two principal components of the drawn words (by SVD). "first": the first two dimensions as they are,
        which are the strongest for vectors made by an SVD.
    unit : bool
        Whether the vectors get unit length first, so that distance in the map stands for similarity and not for how
        frequent words are. Only for "pca".
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    fontsize : float
        Size of the labels, in points.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    UnknownWordError
        A word is not in the vocabulary.
    ValueRangeError, DTypeError
        There are no words, or ``method`` is unknown.
    MissingExtraError
        Matplotlib is not installed.

    Warns
    -----
    UserWarning
        No installed font shows the words; Japanese ones are looked for by name.
    """
    if isinstance(words, str):
        raise DTypeError(f"words is the text {words!r}, expected a list of words")
    words = list(dict.fromkeys(words))
    if not words:
        raise ValueRangeError("words is empty, expected at least one word to draw")
    if method not in _METHODS:
        raise ValueRangeError(f"method is {method!r}, expected one of {_METHODS}")
    points = wv[words].astype(np.float64)
    if method == "pca":
        if unit:
            points /= np.linalg.norm(points, axis=1, keepdims=True) + 1e-8
        flat, share = _flat(points)
        names = [f"{name} principal component ({100 * part:.0f} %)" for name, part in zip(("first", "second"), share)]
    else:
        flat = np.zeros((len(words), 2))
        flat[:, : min(2, wv.dim)] = points[:, :2]
        names = ["dimension 0", "dimension 1"]
    ax = _axes(ax, (8.0, 6.0))
    fonts = _fonts_for(words)
    ax.scatter(flat[:, 0], flat[:, 1], s=14, color=_COLOUR, zorder=3)
    ax.set_xlabel(names[0])
    ax.set_ylabel(names[1])
    # Room for the labels at the border.
    ax.margins(0.12, 0.08)
    ax.grid(alpha=0.25, linewidth=0.5)
    _place_labels(ax, flat, words, fontsize, fonts)
    return ax


def spectrum(singular_values: Any, ax: Axes | None = None) -> Axes:
    """Draw singular values in falling order, on a logarithmic scale.

    Parameters
    ----------
    singular_values : array, shape (n,)
        Numbers of 0 or more, at least one.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError
        Not a list of finite numbers of 0 or more.
    MissingExtraError
        Matplotlib is not installed.
    """
    try:
        values = np.asarray(singular_values)
    except ValueError:
        raise ShapeError("singular_values is ragged, expected (n,) numbers") from None
    if values.dtype.kind not in "fiu":
        raise DTypeError(f"singular_values has dtype {values.dtype}, expected real numbers")
    if values.ndim != 1 or values.size == 0:
        raise ShapeError(f"singular_values has shape {values.shape}, expected (n,) with at least one")
    values = values.astype(np.float64)
    if not np.isfinite(values).all() or values.min() < 0:
        raise ValueRangeError("singular_values holds NaN, infinity or a negative number, expected 0 or more")
    ax = _axes(ax, (7.0, 4.0))
    values = np.sort(values)[::-1]
    places = np.arange(1, values.size + 1)
    positive = values > 0
    marker = "." if values.size <= 60 else None
    ax.plot(places[positive], values[positive], color=_COLOUR, linewidth=1.2, marker=marker)
    if positive.any():
        ax.set_yscale("log")
    ax.set_xlabel("place")
    ax.set_ylabel("singular value")
    ax.grid(alpha=0.25, linewidth=0.5, which="both")
    if not positive.all():
        ax.set_title(f"{int((~positive).sum())} of {values.size} singular values are zero and not drawn", fontsize=9)
    return ax


def gradient_norms(norms: Any, labels: Sequence[str] | None = None, ax: Axes | None = None) -> Axes:
    """Draw how gradients shrink or grow on their way back through time, on a logarithmic scale.

    Parameters
    ----------
    norms : array, shape (n, T) or (T,)
        A line each: what `fastseq.layers.gradient_norms` returned for the layers of a network, or for several networks.
    labels : sequence of str, optional
        Of the lines; "layer 0" and so on by default, none where there is one line.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError
        Not numbers of 0 or more in lines of at least one; another number of labels.
    MissingExtraError
        Matplotlib is not installed.
    """
    try:
        lines = np.atleast_2d(np.asarray(norms))
    except ValueError:
        raise ShapeError("norms is ragged, expected (n, T) numbers") from None
    if lines.dtype.kind not in "fiu":
        raise DTypeError(f"norms has dtype {lines.dtype}, expected real numbers")
    if lines.ndim != 2 or lines.size == 0:
        raise ShapeError(f"norms has shape {lines.shape}, expected (n, T) with at least one of each")
    if (lines < 0).any():
        raise ValueRangeError("norms holds a negative number, expected 0 or more")
    told = [f"layer {i}" for i in range(len(lines))] if labels is None else list(labels)
    if len(told) != len(lines):
        raise ShapeError(f"there are {len(told)} labels, expected {len(lines)}: one for each line")
    ax = _axes(ax, (7.0, 4.0))
    steps = np.arange(lines.shape[1])
    for line, label in zip(lines.astype(np.float64), told):
        # A gradient of zero has no place on this scale, nor have NaN and infinity: the line ends there.
        seen = np.where(np.isfinite(line) & (line > 0), line, np.nan)
        ax.plot(steps, seen, linewidth=1.4, label=label, marker="." if steps.size <= 60 else None)
    if (lines > 0).any():
        ax.set_yscale("log")
    ax.set_xlabel("time step")
    ax.set_ylabel("norm of the gradient by the states before it")
    ax.grid(alpha=0.25, linewidth=0.5, which="both")
    if len(lines) > 1 or labels is not None:
        ax.legend(frameon=False)
    gone = lines.size - int((np.isfinite(lines) & (lines > 0)).sum())
    if gone:
        ax.set_title(f"{gone} of {lines.size} norms are zero or not finite and not drawn", fontsize=9)
    return ax


def loss(history: Any, names: Sequence[str] | None = None, ax: Axes | None = None) -> Axes:
    """Draw how losses fell, or perplexities, which stand on a logarithmic scale.

    Parameters
    ----------
    history : History, dict of lists, or list of numbers
        What ``fit`` returned. Where it holds "epoch", that is the horizontal axis.
    names : sequence of str, optional
        Which of its lists to draw. By default the perplexities where there are any, else the losses.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ShapeError, DTypeError, ValueRangeError
        There is nothing to draw, or something else than lists of numbers.
    MissingExtraError
        Matplotlib is not installed.
    """
    lists = history if isinstance(history, Mapping) else {"loss": history}
    if names is None:
        kind = next((kind for kind in ("perplexity", "loss") if any(kind in name for name in lists)), "loss")
        names = [name for name in lists if kind in name]
    missing = [name for name in names if name not in lists]
    if missing or not names:
        raise ValueRangeError(f"the history has no {missing or 'loss'}, it has {sorted(lists)}; pass names=")
    drawn = {}
    for name in names:
        numbers = np.asarray(lists[name])
        if numbers.dtype.kind not in "fiu" or numbers.ndim != 1 or numbers.size == 0:
            raise DTypeError(f"{name} is no list of numbers, expected one at least")
        drawn[name] = numbers.astype(np.float64)
    if len({numbers.size for numbers in drawn.values()}) > 1:
        sizes = [numbers.size for numbers in drawn.values()]
        raise ShapeError(f"the lists have {sizes} numbers, expected as many each")
    n = len(next(iter(drawn.values())))
    places = np.asarray(lists.get("epoch", np.arange(1, n + 1)), np.float64)
    ax = _axes(ax, (7.0, 4.0))
    for name, numbers in drawn.items():
        marker = "." if n <= 60 else None
        ax.plot(places, np.where(np.isfinite(numbers), numbers, np.nan), linewidth=1.4, label=name, marker=marker)
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

    if all("perplexity" in name for name in names) and all((numbers > 0).any() for numbers in drawn.values()):
        ax.set_yscale("log")
        # 100, 200, 500, not powers of ten with a factor.
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("epoch")
    ax.set_ylabel(names[0].removeprefix("valid_") if len({name.removeprefix("valid_") for name in names}) == 1 else "")
    ax.grid(alpha=0.25, linewidth=0.5, which="both")
    if len(drawn) > 1:
        ax.legend(frameon=False)
    return ax
