from __future__ import annotations

import hashlib
import http.server
import sys
import threading

import pytest

from fastseq.errors import FormatError, MissingExtraError, ValueRangeError
from fastseq.text import datasets
from fastseq.text.datasets import download as downloads

PTB = " the cat sat on the <unk> \n the dog sat \n"
PAIRS = "Word 1\tWord 2\tHuman (mean)\n# a comment\nLove\tsex\t6.77\ntiger\ttiger\t10.00\n"
QUESTIONS = ": capital\nAthens Greece Baghdad Iraq\n: gram1\na b c d\nb c d e\n"


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


class Server:
    """A server on the loopback address that hands out texts and notes what was asked for."""

    def __init__(self):
        self.texts: dict[str, str] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append(self.path)
                if self.path not in outer.texts:
                    self.send_error(404)
                    return
                body = outer.texts[self.path].encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                # A path that begins so breaks off in the middle.
                self.wfile.write(body[: len(body) // 2] if self.path.startswith("/broken") else body)

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def url(self, path, text=None):
        if text is not None:
            self.texts[path] = text
        return f"http://127.0.0.1:{self.server.server_port}{path}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def server(monkeypatch):
    pytest.importorskip("pooch", reason="the extra 'download' is not installed")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    server = Server()
    yield server
    server.close()


@pytest.fixture
def known(server, monkeypatch):
    """The table of known files, moved to the server."""
    files = {"ptb.train": PTB, "ws353": PAIRS, "questions-words": QUESTIONS}
    monkeypatch.setattr(
        downloads,
        "SOURCES",
        {name: downloads.Source(server.url(f"/{name}.txt", text), digest(text)) for name, text in files.items()},
    )
    return server


def test_a_file_is_fetched_once_and_kept(known, tmp_path):
    cache = tmp_path / "cache"
    path = datasets.fetch("ws353", cache_dir=cache)
    assert path.read_text() == PAIRS
    assert path.name.endswith("ws353.txt")
    assert datasets.fetch("ws353", cache_dir=cache) == path
    assert known.asked == ["/ws353.txt"]
    assert list(cache.iterdir()) == [path]
    # A kept file that was damaged is fetched anew.
    path.write_text("damaged")
    assert datasets.fetch("ws353", cache_dir=cache).read_text() == PAIRS
    assert known.asked == ["/ws353.txt"] * 2


def test_the_users_cache_folder_is_the_default(known, tmp_path, monkeypatch):
    import pooch

    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / project)
    assert datasets.fetch("ws353").parent == tmp_path / "fastseq"


def test_a_wrong_checksum_keeps_nothing(known, tmp_path):
    known.texts["/ws353.txt"] = PAIRS.replace("6.77", "6.78")
    with pytest.raises(FormatError, match=r"has not the SHA-256 .* of ws353 and was thrown away; try again"):
        datasets.fetch("ws353", cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_on_the_server(known, tmp_path):
    del known.texts["/ws353.txt"]
    with pytest.raises(datasets.DownloadError, match=r"ws353 could not be fetched from .*404.*local copy"):
        datasets.fetch("ws353", cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_transfer_that_breaks_off(server, tmp_path):
    url = server.url("/broken.txt", PAIRS * 1000)
    with pytest.raises((datasets.DownloadError, FormatError)):
        datasets.fetch("mine", url=url, sha256=digest(PAIRS * 1000), cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_server_at_all(server, tmp_path):
    url = server.url("/gone.txt")
    server.close()
    with pytest.raises(datasets.DownloadError, match="could not be fetched"):
        datasets.fetch("mine", url=url, sha256="0" * 64, cache_dir=tmp_path)


def test_a_cache_folder_that_cannot_be_written(known, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(datasets.DownloadError, match="give another cache_dir="):
        datasets.fetch("ws353", cache_dir=tmp_path / "file")
    assert known.asked == []


def test_a_mirror_of_a_known_file_is_held_to_its_checksum(known, tmp_path):
    good = known.url("/mirror.txt", PAIRS)
    assert datasets.fetch("ws353", url=good, cache_dir=tmp_path).read_text() == PAIRS
    bad = known.url("/other.txt", "something else")
    with pytest.raises(FormatError, match="SHA-256"):
        datasets.fetch("ws353", url=bad, cache_dir=tmp_path)


def test_two_files_of_one_name_do_not_meet(server, tmp_path):
    paths = [
        datasets.fetch("mine", url=server.url(f"/{part}/x.txt", part), sha256=digest(part), cache_dir=tmp_path)
        for part in ("one", "two")
    ]
    assert [path.read_text() for path in paths] == ["one", "two"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"'mine' is not a known file; known are ptb\.train, "),
        ({"url": "http://127.0.0.1/x"}, "url was given without sha256"),
        ({"sha256": "0" * 64}, "sha256 was given without url"),
        ({"url": "file:///etc/hosts", "sha256": "0" * 64}, "begins with http:// or https://"),
        ({"url": "http://", "sha256": "0" * 64}, "names a host"),
        ({"url": "http://127.0.0.1/x", "sha256": "123"}, "expected 64 hexadecimal digits"),
    ],
)
def test_malformed_requests(options, message, tmp_path):
    with pytest.raises(ValueRangeError, match=message):
        datasets.fetch("mine", cache_dir=tmp_path, **options)


def test_without_pooch(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(MissingExtraError, match=r"downloading ws353 needs .*'pooch'.*fastseq-numba\[download\]"):
        datasets.word_pairs("ws353", download=True)


@pytest.mark.corpora
@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("ptb.train", "ptb/ptb.train.txt"),
        ("ptb.valid", "ptb/ptb.valid.txt"),
        ("questions-words", "similarity/questions-words.txt"),
    ],
)
def test_known_checksums_are_those_of_the_well_known_files(name, path, corpora):
    assert hashlib.sha256((corpora / path).read_bytes()).hexdigest() == datasets.SOURCES[name].sha256


def test_known_files_have_well_formed_sources():
    for source in datasets.SOURCES.values():
        assert source.url.startswith("https://")
        assert len(source.sha256) == 64
        assert int(source.sha256, 16)


# --- loaders ---


def test_word_pairs(known, tmp_path):
    expected = [("Love", "sex", 6.77), ("tiger", "tiger", 10.0)]
    assert datasets.word_pairs("ws353", download=True, cache_dir=tmp_path) == expected
    file = tmp_path / "pairs.txt"
    for text in (PAIRS, "Love sex 6.77\r\n\r\ntiger tiger 10\r\n", "\ufeffLove,sex,6.77\ntiger,tiger,1e1"):
        file.write_bytes(text.encode())
        assert datasets.word_pairs(file) == expected
        assert datasets.word_pairs(str(file)) == expected


def test_a_file_of_ones_own_may_be_downloaded(server, tmp_path):
    text = "a b 1\n"
    options = {"url": server.url("/own.txt", text), "sha256": digest(text), "cache_dir": tmp_path}
    assert datasets.word_pairs("own", download=True, **options) == [("a", "b", 1.0)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no pairs"),
        ("# nothing\n", "holds no pairs"),
        ("word1 word2 score\n", "holds no pairs"),
        ("a b 1\na b\n", r"pairs\.txt, line 2: 'a b', expected two words and a finite number"),
        ("a b 1\na b c 2\n", "line 2: 'a b c 2'"),
        ("h h h\nh h h\na b 1\n", "line 2"),
        ("a b 1\na b nan\n", "line 2: 'a b nan'"),
        ("a b inf\n", "line 1: 'a b inf'"),
        # Names of columns stand on line 1 only, and hold no digit where the score is.
        ("# c\nword1 word2 score\na b 1\n", "line 2"),
        ("a\tb\t1,5\n", "line 1"),
        ("a\tb\t1\na\tc\t1,5\n", "line 2"),
        ("a b 1\na c nine\n", "line 2"),
        ("a b 1x\n", "line 1"),
        ("a b 1\na b 1_0\n", "line 2"),
        ("a,b 1\n", "line 1"),
    ],
)
def test_bad_word_pairs(text, message, tmp_path):
    file = tmp_path / "pairs.txt"
    file.write_text(text)
    with pytest.raises(FormatError, match=message):
        datasets.word_pairs(file)


def test_fields_are_apart_by_tabs_else_commas_else_spaces(tmp_path):
    file = tmp_path / "pairs.txt"
    for text, expected in (
        ("New York\tcity, big\t3\n", ("New York", "city, big", 3.0)),
        ("New York, city,3\n", ("New York", "city", 3.0)),
        # Other line separators are no line breaks.
        ("a\u2028b\tc\x85d\t1\n", ("a\u2028b", "c\x85d", 1.0)),
        ("Word 1,Word 2,Human (mean)\r\na,b,1\r\n", ("a", "b", 1.0)),
    ):
        file.write_bytes(text.encode())
        assert datasets.word_pairs(file) == [expected]


def test_analogies(known, tmp_path):
    expected = {"capital": [("Athens", "Greece", "Baghdad", "Iraq")], "gram1": [tuple("abcd"), tuple("bcde")]}
    assert datasets.analogies(download=True, cache_dir=tmp_path) == expected
    file = tmp_path / "questions.txt"
    file.write_text(QUESTIONS)
    assert datasets.analogies(file) == expected
    file.write_text("a b c d\n: s\nb c d e\n")
    assert datasets.analogies(file) == {"": [tuple("abcd")], "s": [tuple("bcde")]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no questions"),
        (": empty\n", "holds no questions"),
        (": s\na b c\n", "line 2: 'a b c', expected four words"),
        (": s\na b c d\n: s\n", "line 3: the section 's' begins again"),
    ],
)
def test_bad_analogies(text, message, tmp_path):
    file = tmp_path / "questions.txt"
    file.write_text(text)
    with pytest.raises(FormatError, match=message):
        datasets.analogies(file)


def test_files_that_are_not_text(tmp_path):
    file = tmp_path / "pairs.bin"
    file.write_bytes(b"\xff\xfe a b 1")
    for load in (datasets.word_pairs, datasets.analogies):
        with pytest.raises(FormatError, match="line 1: not UTF-8 text"):
            load(file)


def test_what_is_neither_there_nor_known(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueRangeError, match="give the path of a local copy, or download=True"):
        datasets.word_pairs("ws353")
    with pytest.raises(ValueRangeError, match="'men' is neither a file nor one of the data sets ws353, simlex999"):
        datasets.word_pairs("men")
    with pytest.raises(FileNotFoundError, match=r"there is no file 'no/men3k\.txt'; give the path of a local copy"):
        datasets.word_pairs("no/men3k.txt")
    with pytest.raises(FileNotFoundError, match=r"there is no file 'men3k\.txt'"):
        datasets.analogies("men3k.txt")
    # A file of that name comes before the data set.
    (tmp_path / "ws353").write_text("a b 1\n")
    assert datasets.word_pairs("ws353") == [("a", "b", 1.0)]


@pytest.mark.corpora
def test_real_evaluation_sets(corpora):
    folder = corpora / "similarity"
    assert len(datasets.word_pairs(folder / "ws353.txt")) == 353
    assert len(datasets.word_pairs(folder / "simlex999.txt")) == 999
    assert len(datasets.word_pairs(folder / "men3k.txt")) == 3000
    sections = datasets.analogies(folder / "questions-words.txt")
    assert len(sections) == 14
    assert sum(map(len, sections.values())) == 19544


def test_ptb_errors(tmp_path):
    with pytest.raises(ValueRangeError, match="split is 'dev', expected one of 'train', 'valid', 'test'"):
        datasets.ptb(split="dev")
    with pytest.raises(ValueRangeError, match=r"ptb\.train is not part of the package; .*download=True"):
        datasets.ptb()
    with pytest.raises(FileNotFoundError, match=r"ptb\.valid\.txt'; give the path of a local copy, or download=True"):
        datasets.ptb(tmp_path, split="valid")


def test_ptb(known, tmp_path):
    (tmp_path / "ptb.train.txt").write_text(PTB)
    corpora = [
        datasets.ptb(tmp_path),
        datasets.ptb(tmp_path / "ptb.train.txt"),
        datasets.ptb(download=True, cache_dir=tmp_path / "cache"),
    ]
    for corpus in corpora:
        words = [corpus.vocab.words[i] for i in corpus.ids]
        assert words == ["the", "cat", "sat", "on", "the", "<unk>", "<eos>", "the", "dog", "sat", "<eos>"]
        assert corpus.offsets.tolist() == [0, 7, 11]
    (tmp_path / "ptb.valid.txt").write_text(" the dog \n")
    valid = datasets.ptb(tmp_path, "valid", vocab=corpora[0].vocab)
    assert valid.vocab.words == corpora[0].vocab.words
    assert len(valid.ids) == 3


@pytest.mark.corpora
def test_real_ptb(corpora):
    train = datasets.ptb(corpora / "ptb")
    assert (len(train.ids), len(train.vocab)) == (929_589, 10_000)
    valid = datasets.ptb(corpora / "ptb", "valid", vocab=train.vocab)
    assert len(valid.ids) == 73_760
