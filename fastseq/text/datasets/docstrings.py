"""English text that every user already has: the docstrings of installed Python packages."""

from __future__ import annotations

import ast
import gc
import logging
import os
import re
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import DTypeError, TextError, ValueRangeError

if TYPE_CHECKING:
    from ..corpus import Corpus

__all__ = ["DEFAULT_PACKAGES", "DocsText", "docs", "docs_text"]

#: What `docs` reads unless told otherwise: the standard library and the packages that this one cannot run without.
DEFAULT_PACKAGES = ("stdlib", "numpy", "scipy", "numba", "llvmlite")

_log = logging.getLogger(__name__)

# Tests repeat the code in comments and hold no documentation; the last three hold sources of other languages or of
# other Python versions.
_SKIPPED_FOLDERS = frozenset(
    ["test", "tests", "idle_test", "__pycache__", "site-packages", "dist-packages", "lib2to3", "_vendor", "_vendored"]
)

_FUNCTION_WORDS = frozenset(
    "a an the of to in is are be and or for if by with that this it as not from on when which at will can must may "  # noqa: SIM905
    "has have was were should does do no all any each its their there then than but into been only".split()
)

_TERM_SECTIONS = frozenset(
    "parameters|other parameters|returns|return|yields|receives|raises|warns|attributes|methods|see also|arguments|"  # noqa: SIM905
    "keyword arguments|keywords|optional parameters|properties|options|functions|classes|routines".split("|")
)
_DROPPED_SECTIONS = frozenset(["references", "bibliography", "authors", "author", "copyright", "license"])
_KEPT_DIRECTIVES = frozenset(
    ["note", "warning", "important", "tip", "hint", "attention", "caution", "admonition", "topic"]
)

_UNDERLINE = re.compile(r"""([-=~^*#+"'`_:.])\1{2,}$""")
_TABLE_BORDER = re.compile(r"(?:[=-]{2,}(?: +[=-]{2,})+|\+[-=+]{3,}\+)$")
_SIGNATURE = re.compile(r"[\w.]+\s?\([^()]*(?:\([^()]*\)[^()]*)*\)(?:\s*(?:->|=).*|:)?$")
_DIRECTIVE = re.compile(r"\.\.(?:\s+([\w:-]+?)::(.*)|\s.*|$)")
_FIELD = re.compile(
    r":(?:param|parameter|arg|argument|key|keyword|type|return|returns|rtype|raise|raises|var|ivar)\b[^:]*:"
)
_ITEM = re.compile(
    r"(?:[-*+•]|\(?(?:[0-9]{1,2}|[a-z])\)|[0-9]{1,2}\.|#\.)\s+(?=\S)"  # a bullet, a number or a letter
)
# "name: text", "name (type): text", "name -- text" and "name - text", as in lists of arguments or of functions.
_DEFINITION = re.compile(r"[*`'\"]*[\w.*]+[`'\"]*(?:\s?\([^()]*\))?(?:\s*:|\s+--?)\s+")

# Marks a word that was set as code, see `_without_names`; such a word needs this many plain uses to stay.
_CODE = "\x01"
_PLAIN_USES = 2
_MIN_WORDS = 4

# Each pattern with characters one of which a paragraph must hold for it to match: looking for those first
# halves the time of the substitutions.
_INLINE = [
    ("`$]>", re.compile(r":math:`[^`]*`|\$[^$]{1,200}\$|\[[\w#*., -]{1,20}\]_|<[/a-zA-Z][^<>]*>"), " "),
    ("/@", re.compile(r"\b[a-z]+://\S+|\S{1,80}@\S{1,80}"), " "),
    # A role or a link shows its text; of a dotted name the last part is what one would say.
    ("`", re.compile(r":[a-zA-Z][\w:+-]{0,30}:`~?(?:[\w.]*\.)?([^`<]*?)\s*(?:<[^`]*>)?`"), r"`\1`"),
    ("`", re.compile(r"`([^`<]*?)\s*(?:<[^`]*>)?`__?"), r"\1"),
    ("`", re.compile(r"`+([A-Za-z]+)`+"), _CODE + r"\1"),
    ("`*|", re.compile(r"[`*|]+"), ""),
    (")", re.compile(r"\((s|es)\)"), r"\1"),
    ("-", re.compile(r"(?<=\w)--+(?=\w)"), " "),
    (".", re.compile(r"\b(?:e\.\s?g|i\.\s?e)\.,?", re.IGNORECASE), " "),
    # The stop of an abbreviation ends no sentence.
    (".", re.compile(r"\b(etc|cf|vs|approx|resp|Fig|Eq|Sec|Ref|Dr|Prof|et al)\."), r"\1"),
]
_SENTENCE_END = re.compile(r"""[.!?]["')\]]*\s+(?=["'(\[]*[A-Z0-9])|;\s+|:\s+(?=[A-Z])""")
_WORD = re.compile(r"\x01?[A-Za-z]+(?:[-/][A-Za-z]+)*(?:'[A-Za-z]{1,2})?")
_WORD_BREAK = re.compile(r"[-/]")
_NUMBER = re.compile(r"[+-]?[0-9.,:%/-]+")
_INNER_CAPITAL = re.compile(r"[a-z][A-Z]|[A-Z]{2}[a-z]")
_STRIP = ".,;:!?()[]{}\"'<>~=\u201c\u201d\u2018\u2019"


def _is_string(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _names_documentation(node: ast.AST) -> bool:
    name = _name(node).lower()
    return "doc" in name or name == "topics"


def _collect_strings(body: Sequence[ast.stmt], strings: list[str]) -> None:
    """Add docstrings, strings passed to functions such as ``add_newdoc`` and strings kept under names with "doc".

    A string that is a statement but not the first one documents the attribute above it.
    """
    for node in body:
        source: ast.AST | None = None
        if isinstance(node, ast.Expr):
            if _is_string(node.value) or (isinstance(node.value, ast.Call) and _names_documentation(node.value.func)):
                source = node.value
        elif isinstance(node, ast.Assign):
            if any(map(_names_documentation, node.targets)):
                source = node.value
        elif isinstance(node, ast.AnnAssign):
            if _names_documentation(node.target):
                source = node.value
        else:
            for field in ("body", "orelse", "finalbody"):
                inner = getattr(node, field, None)
                if inner:
                    _collect_strings(inner, strings)
            for handler in getattr(node, "handlers", ()):
                _collect_strings(handler.body, strings)
        if source is not None:
            strings.extend(child.value for child in ast.walk(source) if _is_string(child))  # type: ignore[attr-defined]


def _paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs of prose in a docstring, each on one line, without code, tables, terms and markup lines."""
    lines = text.expandtabs().split("\n")
    margin = min((len(line) - len(line.lstrip()) for line in lines[1:] if line.strip()), default=0)
    paragraph: list[str] = []
    section = ""
    skip_below: int | None = None  # lines indented deeper than this are code or belong to a dropped directive
    skip_block = False  # up to the next empty line: a doctest with its output, or a table
    paragraph_indent = 0
    defining = False  # the paragraph is the text of a "name: text"

    for number, line in enumerate(lines):
        stripped = line.strip()
        if not stripped:
            if paragraph:
                yield " ".join(paragraph)
                paragraph = []
            skip_block = False
            continue
        indent = max(0, len(line) - len(line.lstrip()) - margin) if number else 0
        if skip_below is not None:
            if indent > skip_below:
                continue
            skip_below = None
        if skip_block:
            continue
        if stripped.startswith((">>>", "In [", "$ ")) or _TABLE_BORDER.match(stripped) or stripped.startswith("|"):
            if paragraph:
                yield " ".join(paragraph)
                paragraph = []
            skip_block = True
            continue
        if _UNDERLINE.match(stripped):
            section = paragraph[-1].strip(": ").lower() if paragraph else ""
            if len(paragraph) > 1:
                yield " ".join(paragraph[:-1])
            paragraph = []
            continue
        if section in _DROPPED_SECTIONS:
            continue
        directive = _DIRECTIVE.match(stripped)
        if directive:
            if paragraph:
                yield " ".join(paragraph)
                paragraph = []
            if directive.group(1) in _KEPT_DIRECTIVES:
                if directive.group(2).strip():
                    paragraph.append(directive.group(2).strip())
            else:
                skip_below = indent
            continue
        if section in _TERM_SECTIONS and indent == 0:
            if paragraph:
                yield " ".join(paragraph)
                paragraph = []
            # "name : type" says nothing; but "See Also" has the description there.
            if section == "see also" and " : " in stripped:
                paragraph.append(stripped.split(" : ", 1)[1])
            elif stripped.endswith(".") and len(stripped.split()) > 6:
                paragraph.append(stripped)
            continue
        if _SIGNATURE.match(stripped):
            if paragraph:
                yield " ".join(paragraph)
                paragraph = []
            continue
        # A new item, or a step back of the indentation, begins a new paragraph. "word: text" inside a running
        # sentence is no definition.
        start = _FIELD.match(stripped) or _ITEM.match(stripped)
        if not start and (not paragraph or defining or paragraph[-1].endswith(".")):
            start = _DEFINITION.match(stripped)
            defining = bool(start) or (defining and bool(paragraph))
        if start or (paragraph and indent < paragraph_indent):
            if paragraph:
                yield " ".join(paragraph)
                paragraph = []
            if start:
                stripped = stripped[start.end() :]
        if not paragraph:
            paragraph_indent = indent
        if stripped.endswith("::"):
            skip_below = indent
            stripped = stripped[:-2]
        if stripped:
            paragraph.append(stripped)
    if paragraph:
        yield " ".join(paragraph)


def _words(sentence: str) -> tuple[str, ...] | None:
    """Return the lower-case words of a sentence, or None where it is not prose."""
    words: list[str] = []
    kept = dropped = 0
    for raw in sentence.split():
        # The quick way for most words.
        if raw.isalpha() and raw.isascii() and raw.islower() and len(raw) > 1:
            kept += 1
            words.append(raw)
            continue
        token = raw.strip(_STRIP)
        if not token:
            continue
        if _WORD.fullmatch(token):
            kept += 1
            mark = _CODE if token[0] == _CODE or _INNER_CAPITAL.search(token) else ""
            token = token.lstrip(_CODE).lower()
            if token.endswith("'s"):
                token = token[:-2]
            for word in _WORD_BREAK.split(token) if "-" in token or "/" in token else (token,):
                # Other single letters are names of variables.
                if len(word) > 1 or (word in ("a", "i") and not mark):
                    words.append(mark + word)
        elif not _NUMBER.fullmatch(token):
            dropped += 1
    # Measured on the default packages: at a quarter of tokens that are no words, what is refused is nearly all code.
    if len(words) < _MIN_WORDS or dropped > kept / 3 or _FUNCTION_WORDS.isdisjoint(words):
        return None
    return tuple(words)


def _sentences(text: str) -> Iterator[tuple[str, ...]]:
    """Yield the sentences of a docstring; words that were set as code still carry their mark."""
    for paragraph in _paragraphs(text):
        for signs, pattern, replacement in _INLINE:
            if any(sign in paragraph for sign in signs):
                paragraph = pattern.sub(replacement, paragraph)
        for sentence in _SENTENCE_END.split(paragraph):
            words = _words(sentence)
            if words is not None:
                yield words


def _without_names(sentences: Sequence[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Keep a word set as code, or with a capital inside, only where it is also written as a plain word.

    "axis", "none" and "numpy" stay so; "ilogccdf" and "BufferedIOBase" go.
    """
    plain = Counter(word for sentence in sentences for word in sentence if word[0] != _CODE)
    for sentence in sentences:
        words = tuple(word.lstrip(_CODE) for word in sentence if word[0] != _CODE or plain[word[1:]] >= _PLAIN_USES)
        if len(words) >= _MIN_WORDS:
            yield words


class DocsText:
    """The sentences found by `docs_text`: iterate over it for one list of words a sentence.

    Attributes
    ----------
    packages : tuple of str
        The packages that were read.
    n_files, n_sentences, n_words : int
        Files read; sentences and words kept.
    unreadable : list of (str, str)
        Files that could not be read or are not valid Python of this version, each with the reason.
    """

    def __init__(
        self, packages: tuple[str, ...], sentences: list[list[str]], n_files: int, unreadable: list[tuple[str, str]]
    ) -> None:
        self.packages = packages
        self.n_files = n_files
        self.unreadable = unreadable
        self._sentences = sentences
        self.n_sentences = len(sentences)
        self.n_words = sum(map(len, sentences))

    def __iter__(self) -> Iterator[list[str]]:
        return iter(self._sentences)

    def __len__(self) -> int:
        return len(self._sentences)

    def __repr__(self) -> str:
        return (
            f"DocsText({', '.join(self.packages)}: {self.n_words} words in {self.n_sentences} sentences from "
            f"{self.n_files} files, {len(self.unreadable)} unreadable)"
        )


def _locations(name: str) -> list[Path] | None:
    """Return the folders or the file of an installed top-level package or module, or None where there is none."""
    if name == "stdlib":
        return [Path(sysconfig.get_path("stdlib"))]
    top, *rest = name.split(".")
    try:
        # Of a top-level name this looks for files only: nothing is imported.
        spec = util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations is None:
        return [Path(spec.origin)] if spec.origin and not rest else None
    places = [Path(place, *rest) for place in spec.submodule_search_locations]
    places = [p if p.is_dir() else p.with_name(p.name + ".py") for p in places]
    return [p for p in places if p.exists()] or None


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _resolve(packages: str | Sequence[str] | None) -> dict[str, list[Path]]:
    """Return the places of each package asked for, in the order asked."""
    if packages == "all":
        tops = sorted(metadata.packages_distributions())
        # Compiled modules and the like have no place with text.
        return {name: places for name in ("stdlib", *tops) if (places := _locations(name))}
    names = DEFAULT_PACKAGES if packages is None else (packages,) if isinstance(packages, str) else tuple(packages)
    resolved: dict[str, list[Path]] = {}
    for name in names:
        if not isinstance(name, str):
            raise DTypeError(f"packages holds {name!r}, expected names of packages as str")
        places = _locations(name)
        if not places:
            # Not a name to import; perhaps the name of a distribution, such as scikit-learn.
            wanted = _normalised(name)
            tops = sorted(
                top for top, owners in metadata.packages_distributions().items() if wanted in map(_normalised, owners)
            )
            places = [place for top in tops for place in _locations(top) or []]
        if not places:
            raise ValueRangeError(
                f"packages names {name!r}, of which no Python source is installed; "
                "install it, name other packages, or give 'all' for every installed one"
            )
        resolved[name] = places
    if not resolved:
        raise ValueRangeError("packages is empty; name at least one, or give None for the default ones")
    return resolved


def _source_files(place: Path) -> Iterator[Path]:
    if place.is_file():
        if place.suffix == ".py":
            yield place
        return
    for folder, folders, files in os.walk(place):
        # Sorted, so that the text does not depend on the file system.
        folders[:] = sorted(name for name in folders if name not in _SKIPPED_FOLDERS)
        for name in sorted(files):
            if name.endswith((".py", ".pyi")):
                yield Path(folder, name)


def _strings_of(path: Path) -> list[str]:
    source = path.read_bytes()
    # Of the many stub files next to none documents anything: not worth parsing.
    if path.suffix == ".pyi" and b'"""' not in source:
        return []
    with warnings.catch_warnings():
        # Invalid escapes in a file of others are not the reader's business.
        warnings.simplefilter("ignore")
        body = ast.parse(source).body
    strings: list[str] = []
    _collect_strings(body, strings)
    return strings


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause the search for cyclic garbage, of which syntax trees have none.

    Each parsed file makes many small objects, and walking through all objects of a process that has loaded numba and
    scipy again and again took 4 of 10 seconds.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def docs_text(packages: str | Sequence[str] | None = None) -> DocsText:
    """Return the prose of the docstrings of installed packages, sentence by sentence.

    Parameters
    ----------
    packages : None, "all", str or sequence of str
        What to read, by the names under which packages are imported or installed; "stdlib" is the standard library.
        None reads `DEFAULT_PACKAGES`, "all" the standard library and every installed distribution.

    Returns
    -------
    DocsText
        Iterates over lists of lower-case words, one list a sentence, each sentence once.

    Raises
    ------
    ValueRangeError
        A package is not installed, or has no Python source.
    TextError
        No sentence was found.

    Notes
    -----
    Nothing is imported: source files are parsed, and docstrings, strings given to functions such as ``add_newdoc`` and
    strings kept under names with "doc" are read. Doctests, code, tables, formulas, references, signatures and the
    "name : type" lines of parameter lists are left out; a sentence stays when it has four words or more, at least one
    of them a function word of English, and when most of it is words. Folders of tests are not read.

    Files that cannot be read or parsed are passed over and listed in ``unreadable``. The same versions of Python and of
    the packages give the same text on every machine.
    """
    # A dict keeps the order in which the sentences were met.
    marked: dict[tuple[str, ...], None] = {}
    strings_seen: set[str] = set()
    unreadable: list[tuple[str, str]] = []
    n_files = 0
    resolved = _resolve(packages)
    with _collector_paused():
        for place in (place for places in resolved.values() for place in places):
            for path in _source_files(place):
                n_files += 1
                try:
                    strings = _strings_of(path)
                except (SyntaxError, ValueError, RecursionError, OSError) as error:
                    unreadable.append((str(path), f"{type(error).__name__}: {error}"))
                    continue
                for string in strings:
                    if string not in strings_seen:
                        strings_seen.add(string)
                        marked.update(dict.fromkeys(_sentences(string)))
    sentences = list(map(list, dict.fromkeys(_without_names(list(marked)))))
    if not sentences:
        raise TextError(
            f"the packages {', '.join(resolved)} hold no documentation in {n_files} Python files; name other packages"
        )
    text = DocsText(tuple(resolved), sentences, n_files, unreadable)
    _log.info("%r", text)
    for path_and_reason in unreadable:
        _log.info("passed over %s: %s", *path_and_reason)
    return text


def docs(packages: str | Sequence[str] | None = None, *, min_count: int = 5, **options: Any) -> Corpus:
    """Return a corpus of the English text in the docstrings of installed packages: no download, nothing imported.

    Parameters
    ----------
    packages : None, "all", str or sequence of str
        What to read, see `docs_text`.
    min_count : int
        Words seen less often are left out; without effect where a ``vocab`` is given.
    **options
        Passed on to `fastseq.Corpus.from_sentences`.

    Raises
    ------
    ValueRangeError
        A package is not installed, or has no Python source.
    TextError
        No sentence was found.

    Notes
    -----
    The default packages hold about 0.75 million words and 6,000 types that occur five times or more. What is read and
    what is left out, see `docs_text`, which also tells the files that could not be read.
    """
    from ..corpus import Corpus

    if options.get("vocab") is None:
        options["min_count"] = min_count
    return Corpus.from_sentences(docs_text(packages), **options)
