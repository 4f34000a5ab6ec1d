"""What a user waits for before anything runs: import, the first fit with nothing compiled, and with all compiled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile

# 700 words: beyond what is decomposed as a dense matrix, so the sparse kernels are compiled too. No backslash, since
# the text goes through two interpreters.
_CORPUS = """
import fastseq as fs
lines = [" ".join(f"w{(i * i + 7 * j) % 700}" for j in range(20)) for i in range(800)]
corpus = fs.Corpus.from_text(chr(10).join(lines))
"""
_FITS = {"CountVectors": "fs.CountVectors(dim=20).fit(corpus)", "SkipGram": "fs.SkipGram(dim=20, epochs=1).fit(corpus)"}


class Import:
    """Fresh interpreters; the interpreter's own start is not part of the time."""

    rounds = 1
    repeat = 5
    number = 1
    warmup_time = 0

    def timeraw_import(self) -> str:
        return "import fastseq"

    def timeraw_import_and_use_names(self) -> str:
        return "import fastseq as fs; fs.Corpus, fs.CountVectors, fs.WordVectors"


class _FirstFit:
    """The first fit of a process, on a corpus so small that only the start counts."""

    param_names = ("model",)
    params = (sorted(_FITS),)
    rounds = 1
    number = 1
    warmup_time = 0
    timeout = 600

    def setup(self, name: str) -> None:
        import fastseq

        if name not in fastseq.__all__:
            raise NotImplementedError(f"this version has no {name}")
        self.cache = tempfile.mkdtemp(prefix="fastseq-asv-cache-")

    def teardown(self, name: str) -> None:
        shutil.rmtree(self.cache)

    def _code(self, name: str) -> tuple[str, str]:
        return _FITS[name], f"import os; os.environ['NUMBA_CACHE_DIR'] = {self.cache!r}{_CORPUS}"


class FirstFitCold(_FirstFit):
    """With no compiled kernel at all: the compiler's time."""

    repeat = 1

    def timeraw_fit(self, name: str) -> tuple[str, str]:
        return self._code(name)


class FirstFitWarm(_FirstFit):
    """With all kernels in Numba's cache."""

    repeat = 5

    def setup(self, name: str) -> None:
        super().setup(name)
        environment = {**os.environ, "NUMBA_CACHE_DIR": self.cache}
        subprocess.run([sys.executable, "-c", _CORPUS + _FITS[name]], env=environment, check=True)

    def timeraw_fit(self, name: str) -> tuple[str, str]:
        return self._code(name)
