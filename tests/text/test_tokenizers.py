from __future__ import annotations

import importlib.util
import os
import sys
import types

import pytest

import fastseq as fs
from fastseq.errors import DTypeError, MissingExtraError
from fastseq.text.tokenizers import japanese

TEXT = "吾輩は猫である。\u3000名前はまだ無い。\n\nどこで生れたか"


def test_a_function_is_given_lines_and_its_empty_tokens_are_passed_over():
    seen = []

    def cut(line):
        seen.append(line)
        return (word for word in line.split("-"))

    corpus = fs.Corpus.from_text("a-b--a\n\nc", tokenizer=cut, eos="$")
    assert seen == ["a-b--a", "", "c"]
    assert list(corpus) == [["a", "b", "a", "$"], ["$"], ["c", "$"]]


def test_a_function_that_returns_text_is_an_error():
    with pytest.raises(DTypeError, match="the tokenizer returned str for a line"):
        fs.Corpus.from_text("a b", tokenizer=str.lower)
    with pytest.raises(DTypeError, match="the tokenizer returned NoneType"):
        fs.Corpus.from_text("a b", tokenizer=print)


def test_an_error_of_the_function_comes_through():
    def broken(line):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fs.Corpus.from_text("a b", tokenizer=broken)


def test_characters_keep_spaces():
    corpus = fs.Corpus.from_text("a b\r\nb\u3000", tokenizer="char")
    assert list(corpus) == [["a", " ", "b"], ["b", "\u3000"]]
    assert list(fs.Corpus.from_text("AİA", tokenizer="char", lowercase=True)) == [["a", "i̇", "a"]]


def test_japanese_without_its_packages(monkeypatch):
    monkeypatch.setitem(sys.modules, "fugashi", None)
    with pytest.raises(MissingExtraError, match=r"fastseq-numba\[ja\]"):
        fs.Corpus.from_text(TEXT, tokenizer="japanese")


def test_japanese_with_a_stand_in(monkeypatch):
    class Tagger:
        def __init__(self, options):
            assert options == f'-Owakati -r "{os.path.join("the dictionary", "mecabrc")}" -d "the dictionary"'

        def parse(self, line):
            assert "\0" not in line
            return line.replace("は", " は ") + " \n"

    monkeypatch.setitem(sys.modules, "fugashi", types.SimpleNamespace(Tagger=Tagger))
    monkeypatch.setitem(sys.modules, "unidic_lite", types.SimpleNamespace(DICDIR="the dictionary"))
    assert list(fs.Corpus.from_text("猫は\0猫\n", tokenizer="japanese")) == [["猫", "は", "猫"]]


@pytest.mark.skipif(importlib.util.find_spec("fugashi") is None, reason="the ja extra is not installed")
def test_japanese():
    assert japanese()("吾輩は猫である。\u3000名前") == ["吾輩", "は", "猫", "で", "ある", "。", "名前"]
    corpus = fs.Corpus.from_text(TEXT, tokenizer="japanese", eos="$")
    assert len(corpus) == 3
    assert corpus.sentence(1) == ["$"]


@pytest.mark.skipif(importlib.util.find_spec("fugashi") is None, reason="the ja extra is not installed")
def test_the_dictionary_is_unidic_lite_also_where_another_one_is_the_default(monkeypatch, tmp_path):
    import fugashi
    import unidic_lite

    seen = []

    class Tagger(fugashi.Tagger):
        def __init__(self, options):
            super().__init__(options)
            seen.extend(entry["filename"] for entry in self.dictionary_info)

    monkeypatch.setattr(fugashi, "Tagger", Tagger)
    # What fugashi prefers, here with nothing in it.
    monkeypatch.setitem(sys.modules, "unidic", types.SimpleNamespace(DICDIR=str(tmp_path)))
    assert japanese()("猫である") == ["猫", "で", "ある"]
    assert [os.path.dirname(name) for name in seen] == [unidic_lite.DICDIR]
