from __future__ import annotations

import gc
import logging
import re
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastseq.errors import DTypeError, TextError, ValueRangeError
from fastseq.text import datasets
from fastseq.text.datasets import docstrings

MODULE = r'''
"""Tools for the weather of the day.

They read a file of measurements, e.g. from a station, and draw it::

    code = read("a file of the code that is not prose")

.. code-block:: python

    the = "code that is in a block is not read"

.. note:: A note in a directive is read like the rest of it.

.. versionadded:: 1.2 is the version that has it.
"""

raise RuntimeError("this module must never be imported")


def mean(values, axis=None):
    r"""
    mean(values, axis=None)

    Return the mean of the ``values`` along the given `axis`. See https://example.org/the/mean and [1]_ for
    the :math:`\sum_i x_i / n` formula of :func:`~weather.tools.mean`.

    Parameters
    ----------
    values : array_like of the numbers to be averaged
        The numbers of which the mean is wanted.
    axis : int, optional
        The axis along which the mean is taken; the default is to take all.

    See Also
    --------
    median : The middle value of all the numbers.

    Notes
    -----
    The mean is the sum divided by the number. A sum of no numbers is zero, and the mean is not defined.

    ========  =====================
    the name  the text in the table
    ========  =====================
    one       is not for the reader
    ========  =====================

    References
    ----------
    .. [1] A book of the mean and of the median by the author.
    A paper of the mean that is not in a list.

    Examples
    --------
    The mean of two numbers lies between them:

    >>> mean([1, 2])
    the output is not read as prose is

    Another sentence follows after the example.

    if x_1 is not y_2: the[i] += f(a_b) or g(b.c) in 3*d
    """


class Station:
    """A place where the weather is measured."""

    height = 3
    """The height of the place above the sea."""

    def read(self):
        """Return the mean of the numbers, which is zero for a `zzqfrob` or BufferedThing that is closed."""

        def inner():
            """A function inside of a function is read."""


try:
    import missing
except ImportError:

    def fallback():
        """A function that is used if the other one is missing."""


add_newdoc("weather", "max", """Return the largest of the numbers.""")
obj.add_docstring(max, "Return the largest of the numbers that are not equal.")
other_call("a string that is given to another function is not read")
_DOC_TEXT = {"x": "A text that is kept under a name with doc."}
plain = "a string that is kept under another name is not read"


def twice():
    """A place where the weather is measured."""
'''

EXPECTED = """
tools for the weather of the day
they read a file of measurements from a station and draw it
a note in a directive is read like the rest of it
return the mean of the values along the given axis
see and for the formula of mean
the numbers of which the mean is wanted
the axis along which the mean is taken
the default is to take all
the middle value of all the numbers
the mean is the sum divided by the number
a sum of no numbers is zero and the mean is not defined
the mean of two numbers lies between them
another sentence follows after the example
a place where the weather is measured
the height of the place above the sea
return the mean of the numbers which is zero for a or that is closed
a function inside of a function is read
a function that is used if the other one is missing
return the largest of the numbers
return the largest of the numbers that are not equal
a text that is kept under a name with doc
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package ``weatherdocs`` in a folder of its own that is on the path."""
    folder = tmp_path / "weatherdocs"
    (folder / "deep").mkdir(parents=True)
    (folder / "tests").mkdir()
    # The plain uses of "values" and "axis" that let them stay where they are set as code.
    (folder / "__init__.py").write_text('"""The values of an axis are the values on the axis."""\n')
    (folder / "deep" / "weather.py").write_text(MODULE)
    (folder / "tests" / "test_weather.py").write_text('"""The tests of the weather are not read."""\n')
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def lines(text):
    return [" ".join(sentence) for sentence in text]


def test_prose_is_kept_and_the_rest_is_not(package):
    text = datasets.docs_text(["weatherdocs"])
    assert lines(text) == ["the values of an axis are the values on the axis", *EXPECTED.strip().split("\n")]
    assert "weatherdocs" not in sys.modules
    assert (text.n_files, text.packages, text.unreadable) == (2, ("weatherdocs",), [])
    assert text.n_sentences == len(text) == len(lines(text))
    assert text.n_words == sum(map(len, text))
    assert "2 files" in repr(text)
    assert lines(datasets.docs_text("weatherdocs")) == lines(text)


def test_one_module_of_a_package_and_a_module_that_is_a_file(package):
    assert len(datasets.docs_text("weatherdocs.deep.weather")) == len(EXPECTED.strip().split("\n"))
    (package.parent / "singledocs.py").write_text('"""One file is a module of its own."""\n')
    assert lines(datasets.docs_text("singledocs")) == ["one file is a module of its own"]


def test_stub_files_are_read_for_their_docstrings(package):
    (package / "stub.pyi").write_text('def f() -> int:\n    """The documentation of a compiled function."""\n')
    (package / "bare.pyi").write_text("def f() -> int: ...\n")
    text = datasets.docs_text("weatherdocs")
    assert "the documentation of a compiled function" in lines(text)
    assert text.n_files == 4


def test_files_that_cannot_be_parsed_are_counted_and_named(package, caplog):
    (package / "broken.py").write_text('"""The text of a broken file is lost."""\ndef f(:\n')
    (package / "bytes.py").write_bytes(b'"""The text is \xff not valid at all."""\n')
    (package / "nul.py").write_bytes(b'"""The text has \x00 a zero in it."""\n')
    (package / "escape.py").write_text('"""The text with an invalid \\d escape is read."""\n')
    with caplog.at_level(logging.INFO, logger="fastseq"):
        text = datasets.docs_text("weatherdocs")
    assert [(re.split(r"[\\/]", path)[-1], reason.split(":")[0]) for path, reason in text.unreadable] == [
        ("broken.py", "SyntaxError"),
        ("bytes.py", "SyntaxError"),
        ("nul.py", text.unreadable[2][1].split(":")[0]),  # ValueError or SyntaxError, by the version of Python
    ]
    assert "3 unreadable" in repr(text)
    assert "broken.py" in caplog.text
    assert any("escape is read" in line for line in lines(text))


def test_the_garbage_collector_is_left_as_it_was(package, monkeypatch):
    datasets.docs_text("weatherdocs")
    assert gc.isenabled()

    def fail(path):
        raise KeyError(path)

    monkeypatch.setattr(docstrings, "_strings_of", fail)
    with pytest.raises(KeyError):
        datasets.docs_text("weatherdocs")
    assert gc.isenabled()


def test_errors_say_what_to_do(package):
    with pytest.raises(ValueRangeError, match=r"packages names 'no_such_package_here'.*install it"):
        datasets.docs_text(["weatherdocs", "no_such_package_here"])
    with pytest.raises(ValueRangeError, match=r"'weatherdocs\.absent'"):
        datasets.docs_text("weatherdocs.absent")
    with pytest.raises(ValueRangeError, match="packages is empty"):
        datasets.docs_text([])
    with pytest.raises(DTypeError, match="packages holds 3"):
        datasets.docs_text([3])
    for file in package.rglob("*.py"):
        file.write_text("x = 1\n")
    with pytest.raises(TextError, match="weatherdocs hold no documentation in 2 Python files"):
        datasets.docs_text("weatherdocs")


def test_a_distribution_may_be_named(package, monkeypatch):
    monkeypatch.setattr(docstrings.metadata, "packages_distributions", lambda: {"weatherdocs": ["Weather_Docs.py"]})
    assert len(datasets.docs_text("weather-docs-py")) == len(datasets.docs_text("weatherdocs"))


def test_all_reads_every_distribution(package, monkeypatch):
    monkeypatch.setattr(
        docstrings.metadata, "packages_distributions", lambda: {"weatherdocs": ["w"], "no_such_thing": ["x"]}
    )
    monkeypatch.setattr(docstrings.sysconfig, "get_path", lambda name: str(package / "deep"))
    assert datasets.docs_text("all").packages == ("stdlib", "weatherdocs")


def test_paragraphs_of_other_styles():
    text = textwrap.dedent(
        """\
        Summary line that wraps
        over two lines.

        Args:
            path (str): The path of the file
                that is to be read.
            mode: The mode in which it is opened.
        :param size: The size of the buffer in bytes.
        - The first of the items
          goes on here.
        1. The second item of the list.
        In this case: the colon is no definition.
        $ ls the files of the folder
        """
    )
    assert [" ".join(words) for words in docstrings._sentences(text)] == [
        "summary line that wraps over two lines",
        "the path of the file that is to be read",
        "the mode in which it is opened",
        "the size of the buffer in bytes",
        "the first of the items goes on here",
        "the second item of the list",
        "in this case the colon is no definition",
    ]


@given(st.text(alphabet=st.sampled_from("ab AB:.`*_-=|$<>[]()\n\t0@/'\"\\é"), max_size=300))
def test_any_text_gives_words_only(text):
    for sentence in docstrings._without_names(list(docstrings._sentences(text))):
        assert len(sentence) >= 4
        assert all(re.fullmatch("[a-z]+('[a-z]{1,2})?", word) for word in sentence)


@pytest.mark.parametrize("line", ["a" * 200_000 + "/@`", "@" * 50_000, "`" * 50_000, "(" * 50_000, "$b" * 50_000])
@pytest.mark.timeout(20)
def test_a_long_line_takes_no_long_time(line):
    assert list(docstrings._sentences(line)) == []


def test_the_default_text():
    text = datasets.docs_text()
    assert text.packages == ("stdlib", "numpy", "scipy", "numba", "llvmlite")
    assert text.n_words > 500_000
    counts: dict[str, int] = {}
    for sentence in text:
        for word in sentence:
            counts[word] = counts.get(word, 0) + 1
    assert len(set(map(tuple, text))) == len(text), "each sentence once"
    frequent = [word for word, count in counts.items() if count >= 5]
    assert 4_000 < len(frequent) < 12_000
    for word in ("matrix", "function", "mean", "string", "file", "integer", "minimum", "row", "thread", "eigenvalues"):
        assert counts[word] >= 50, word
    # English, not code: the commonest word of English leads, and words of code are no part of it.
    assert max(counts, key=counts.__getitem__) == "the"
    assert not {"def", "kwargs", "https", "np"} & set(sorted(frequent, key=counts.__getitem__)[-300:])


def test_docs_is_a_corpus(package):
    corpus = datasets.docs("weatherdocs", min_count=2)
    text = datasets.docs_text("weatherdocs")
    counts: dict[str, int] = {}
    for sentence in text:
        for word in sentence:
            counts[word] = counts.get(word, 0) + 1
    kept = {word: count for word, count in counts.items() if count >= 2}
    assert set(corpus.vocab.words) == set(kept)
    assert len(corpus.ids) == sum(kept.values())
    assert corpus.ids.dtype == np.int32
    assert corpus.vocab.words[0] == "the"
    again = datasets.docs("weatherdocs", vocab=corpus.vocab)
    np.testing.assert_array_equal(again.ids, corpus.ids)


def test_nothing_is_imported(package):
    code = (
        f"import sys; sys.path.insert(0, {str(package.parent)!r}); from fastseq.text.datasets import docs_text; "
        "docs_text(['weatherdocs', 'scipy.constants', 'llvmlite']); "
        "print(sorted({'scipy', 'llvmlite', 'numba', 'weatherdocs'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
