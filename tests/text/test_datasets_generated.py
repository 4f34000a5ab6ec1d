from __future__ import annotations

import collections
import datetime
import re

import numpy as np
import pytest

from fastseq.errors import DTypeError, ValueRangeError
from fastseq.text import datasets


def test_the_same_seed_gives_the_same_pairs_everywhere():
    assert datasets.addition(6) == [
        ("83+3", "86"),
        ("3+892", "895"),
        ("8+7", "15"),
        ("94+81", "175"),
        ("12+54", "66"),
        ("440+37", "477"),
    ]
    assert datasets.dates(8) == [
        ("Tuesday, June 16, 1987", "1987-06-16"),
        ("5/25/02", "2002-05-25"),
        ("tuesday, november 14, 1995", "1995-11-14"),
        ("Thursday, July 28, 2011", "2011-07-28"),
        ("WEDNESDAY, MAY 10, 2006", "2006-05-10"),
        ("Jul 12, 1978", "1978-07-12"),
        ("sep 8, 1979", "1979-09-08"),
        ("Wednesday, February 16, 2000", "2000-02-16"),
    ]


@pytest.mark.parametrize("make", [datasets.addition, datasets.dates])
def test_seeds_and_sizes(make):
    many = make(2000, random_state=3)
    assert make(2000, random_state=3) == many
    assert make(150, random_state=3) == many[:150]
    assert make(2000, random_state=4) != many
    assert make(5, random_state=np.random.default_rng(1)) == make(5, random_state=np.random.default_rng(1))
    assert make(5, random_state=None) != make(5, random_state=None)
    assert len(make(np.int64(1))) == 1


@pytest.mark.parametrize("make", [datasets.addition, datasets.dates])
def test_bad_sizes_are_refused(make):
    for n in (0, -1, 10**7):
        with pytest.raises(ValueRangeError, match=f"n is {n}, expected 1 to"):
            make(n)
    for n in (2.0, "3", True):
        with pytest.raises(DTypeError, match="expected an int"):
            make(n)
    with pytest.raises(DTypeError, match="random_state"):
        make(3, random_state="seed")


def test_sums_are_right_and_distinct_in_either_order():
    pairs = datasets.addition(50_000)
    numbers = [tuple(map(int, question.split("+"))) for question, _ in pairs]
    assert all(str(a + b) == answer for (a, b), (_, answer) in zip(numbers, pairs))
    assert len({tuple(sorted(two)) for two in numbers}) == 50_000
    assert all(f"{a}+{b}" == question for (a, b), (question, _) in zip(numbers, pairs)), "no zeros in front"
    lengths = collections.Counter(tuple(map(len, question.split("+"))) for question, _ in pairs)
    # All 55 sums of two digits come up, as in the book's file, and three digits with three make a quarter.
    assert lengths[1, 1] == 55
    assert 0.24 < lengths[3, 3] / 50_000 < 0.27


def test_dates_mean_what_they_say():
    pairs = datasets.dates(50_000)
    assert len({question for question, _ in pairs}) == 50_000
    forms = collections.Counter()
    cases = collections.Counter()
    for question, answer in pairs:
        date = datetime.date.fromisoformat(answer)
        assert datetime.date(1970, 1, 1) <= date <= datetime.date(2017, 7, 24)
        # Checked against the C library's names; tests run in the C locale.
        spellings = {
            "digits": f"{date.month}/{date.day}/{answer[2:4]}",
            "short": date.strftime(f"%b {date.day}, %Y"),
            "long": date.strftime(f"%B {date.day}, %Y"),
            "weekday": date.strftime(f"%A, %B {date.day}, %Y"),
        }
        (form,) = {name for name, text in spellings.items() if text.lower() == question.lower()} - (
            {"short"} if date.month == 5 else set()
        )
        forms[form] += 1
        if form != "digits":
            text = spellings[form]
            cases[{text: "title", text.lower(): "lower", text.upper(): "upper"}[question]] += 1
    assert {form: round(count / 50_000, 1) for form, count in forms.items()} == {
        "digits": 0.2,
        "short": 0.2,
        "long": 0.3,
        "weekday": 0.3,
    }
    # Half of what is drawn; a little less of what is distinct.
    assert 0.45 < cases["title"] / cases.total() < 0.49
    assert cases["lower"] == pytest.approx(cases["upper"], rel=0.05)


@pytest.mark.corpora
@pytest.mark.parametrize(("name", "make"), [("addition.txt", datasets.addition), ("date.txt", datasets.dates)])
def test_files_have_the_form_of_the_book(name, make, corpora, tmp_path):
    books = (corpora / "book" / name).read_bytes()
    datasets.write_pairs(tmp_path / name, make())
    ours = (tmp_path / name).read_bytes()
    assert len(ours) == len(books)

    def shapes(text: bytes) -> set[str]:
        lines = text.decode().splitlines()
        shapes = {re.sub(r"\d", "9", re.sub(r"[a-z]+", "w", re.sub(r"[A-Z]+", "W", line))) for line in lines}
        return {re.sub(" +", " ", shape) for shape in shapes}

    assert shapes(ours) == shapes(books)


def test_write_pairs(tmp_path):
    path = tmp_path / "pairs.txt"
    pairs = [("16+75", "91"), ("795+3", "798"), ("1+2", "3")]
    datasets.write_pairs(path, pairs)
    assert path.read_text() == "16+75_91 \n795+3_798\n1+2  _3  \n"
    datasets.write_pairs(path, iter(pairs), separator="\t", pad=False)
    assert path.read_bytes() == b"16+75\t91\n795+3\t798\n1+2\t3\n"
    datasets.write_pairs(path, [("九月", "九")])
    assert path.read_bytes() == "九月_九\n".encode()


@pytest.mark.parametrize(
    ("pairs", "separator", "error", "message"),
    [
        ([], "_", ValueRangeError, "pairs is empty"),
        ([("a_b", "c")], "_", ValueRangeError, r"pairs\[0\] holds 'a_b' with the separator '_'"),
        ([("a", "b"), ("a", "c\n")], "_", ValueRangeError, r"pairs\[1\] holds 'c\\n'"),
        ([("a", "b")], "", ValueRangeError, "separator is ''"),
        ([("a", "b")], "\n", ValueRangeError, "separator is"),
        ([("a", 3)], "_", DTypeError, "expected two str"),
        ([None], "_", DTypeError, r"pairs\[0\] is None, expected two str"),
        (None, "_", DTypeError, "pairs is None"),
        ([("a", "\ud800")], "_", ValueRangeError, r"pairs\[0\] holds '\\ud800' with half a surrogate pair"),
    ],
)
def test_write_pairs_refuses_what_could_not_be_read_back(pairs, separator, error, message, tmp_path):
    path = tmp_path / "pairs.txt"
    path.write_text("old")
    with pytest.raises(error, match=message):
        datasets.write_pairs(path, pairs, separator=separator)
    assert path.read_text() == "old"
