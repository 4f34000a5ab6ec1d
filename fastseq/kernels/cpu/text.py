"""Tokenising, counting and encoding raw UTF-8 bytes on the CPU.

The text is cut into chunks at white space. Each chunk is one call of a serial compiled function that holds no GIL, run
by a pool of Python threads: chunks return arrays of sizes known only at their end, which a ``prange`` loop cannot, and
plain threads also work in a forked child. Words of up to 8 bytes (88 of 100 tokens of English) are keys as they are,
in one register; longer ones are found by a 64-bit hash and then compared byte by byte, so no two words ever merge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np

from .._jit import jit

# Measured on 100 MB with 2 threads: chunks of 4 to 50 MB take the same time within noise (large ones leave less to
# merge, small ones have tables that stay in the cache). Of a mapped file, one chunk for each thread is in memory.
_CHUNK_BYTES = 1 << 24
_SLICE = 1 << 13
_LEAST_CHUNK_BYTES = 1 << 18
_RANGE_TOKENS = 1 << 20
_BLOCK = 512  # tokens that are cut, then looked up: 16 KB of buffers

_ONES = np.uint64(0x0101010101010101)
_HIGH = np.uint64(0x8080808080808080)
_LOW7 = np.uint64(0x7F7F7F7F7F7F7F7F)
_FULL = np.uint64(0xFFFFFFFFFFFFFFFF)
_BLANK_NEXT = np.uint64(0x2121212121212121)  # 0x21 in each byte: the first byte above the space
_FROM_9 = np.uint64(0x7777777777777777)      # added to a byte below 128, sets its high bit from 9 on; and so on
_FROM_14 = np.uint64(0x7272727272727272)
_FROM_28 = np.uint64(0x6464646464646464)
_FROM_33 = np.uint64(0x5F5F5F5F5F5F5F5F)
_LF = np.uint64(0x0A0A0A0A0A0A0A0A)
_CR = np.uint64(0x0D0D0D0D0D0D0D0D)
_TOP = np.uint64(0x80)
_MULTIPLY = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, odd (Knuth, TAOCP 3, section 6.4)
_ID_MASK = np.uint64(0xFFFFFFFF)
_U0 = np.uint64(0)
_U1 = np.uint64(1)
_U7 = np.uint64(7)
_U8 = np.uint64(8)
_U32 = np.uint64(32)
_U56 = np.uint64(56)
_U63 = np.uint64(63)
_NUL = np.uint8(0)
_LONG = 9  # stands for every length above 8 in a table's entry


@jit
def _eight(
    this,  # IN  uint64: the 8 bytes that hold p
    next,  # IN  uint64: the 8 bytes after them
    p,     # IN  int64
):
    """Return the 8 bytes from ``p`` on, the first one lowest."""
    shift = np.uint64((p & 7) << 3)
    return (this >> shift) | ((next << _U1) << (_U63 - shift))


@jit
def _marks(
    w,  # IN  uint64: 8 bytes
):
    """Return the high bits of bytes that may end an ASCII word: those up to the space and those from 0x80 on.

    A borrow can mark a byte falsely, but only above a true one: the lowest mark alone can be relied on.
    """
    return (w | ((w - _BLANK_NEXT) & ~w)) & _HIGH


@jit
def _below(
    marks,  # IN  uint64: high bits of bytes, not 0
):
    """Return ones in all bytes below the lowest mark."""
    return ((marks & (~marks + _U1)) >> _U7) - _U1


@jit
def _count_bytes(
    bits,  # IN  uint64: 0 or 1 in each byte
):
    return np.int64((bits * _ONES) >> _U56)


@jit
def _space_length(
    c,  # IN  uint8
    d,  # IN  uint8: the byte after it, 0 after the end
    e,  # IN  uint8: the next
):
    """Return how many bytes the white space ``c d e`` has (0 where it is none): what ``str.isspace`` calls so."""
    if c < 0x80:
        return 1 if c == 32 or (c >= 9 and c <= 13) or (c >= 28 and c <= 31) else 0
    if c == 0xC2:  # U+0085, U+00A0
        return 2 if d == 0x85 or d == 0xA0 else 0
    if c == 0xE1:  # U+1680
        return 3 if d == 0x9A and e == 0x80 else 0
    if c == 0xE2:
        if d == 0x80:  # U+2000 to U+200A, U+2028, U+2029, U+202F
            return 3 if (e >= 0x80 and e <= 0x8A) or e == 0xA8 or e == 0xA9 or e == 0xAF else 0
        return 3 if d == 0x81 and e == 0x9F else 0  # U+205F
    if c == 0xE3:  # U+3000
        return 3 if d == 0x80 and e == 0x80 else 0
    return 0


@jit
def _char_length(
    c,  # IN  uint8
    d,  # IN  uint8: the byte after it, 0 after the end
    e,  # IN  uint8: the next
    f,  # IN  uint8: the next
):
    """Return how many bytes the character ``c d e f`` has; for ill-formed ones, the part that Python replaces as one.

    The ranges are those of the Unicode Standard, table 3-7.
    """
    if c < 0xC2 or c > 0xF4:
        return 1
    low = 0x80
    high = 0xBF
    if c == 0xE0:
        low = 0xA0
    elif c == 0xED:
        high = 0x9F
    elif c == 0xF0:
        low = 0x90
    elif c == 0xF4:
        high = 0x8F
    if d < low or d > high:
        return 1
    if c < 0xE0 or e < 0x80 or e > 0xBF:
        return 2
    if c < 0xF0 or f < 0x80 or f > 0xBF:
        return 3
    return 4


@jit
def _count_chunk(
    words,       # IN  uint64 (n // 8,)
    data,        # IN  uint8 (n,)
    begin,       # IN  int64
    end,         # IN  int64
    chars,       # IN  bool: tokens are characters
    mark_lines,  # IN  bool: every line break is also a token
):
    """Return how many tokens and how many recorded line breaks lie in [begin, end), as `_cut` finds them."""
    tokens = 0
    breaks = 0
    inside = _U0    # 0x80 where the byte before belongs to a word
    fresh = True    # a token since the last break, or the chunk's begin (the line may have begun before it)
    fast = min(end - 7, 8 * (words.shape[0] - 1))
    p = begin
    while p < end:
        quick = False
        if p < fast and not chars:
            w = _eight(words[p >> 3], words[(p >> 3) + 1], p)
            lf = ~((w ^ _LF) + _LOW7)
            cr = ~((w ^ _CR) + _LOW7)
            quick = (w | ((lf | cr) & ~w)) & _HIGH == _U0
            if quick:
                # Eight ASCII bytes without a line break: additions do not carry from one byte to the next.
                blank = ((w + _FROM_9) & ~(w + _FROM_14)) | ((w + _FROM_28) & ~(w + _FROM_33))
                solid = ~blank & _HIGH
                tokens += _count_bytes((solid & ~((solid << _U8) | inside)) >> _U7)
                inside = solid >> _U56
                fresh = fresh or solid != _U0
                p += 8
        stop = p if quick else min(end, p + 8)
        while p < stop:
            c = data[p]
            d = data[p + 1] if p + 1 < end else _NUL
            e = data[p + 2] if p + 2 < end else _NUL
            if c == 10 or c == 13:
                p += 2 if c == 13 and d == 10 else 1
                inside = _U0
                if mark_lines:
                    tokens += 1
                    breaks += 1
                elif fresh:
                    breaks += 1
                fresh = False
            elif chars:
                p += _char_length(c, d, e, data[p + 3] if p + 3 < end else _NUL)
                tokens += 1
                fresh = True
            else:
                length = _space_length(c, d, e)
                if length > 0:
                    inside = _U0
                    p += length
                else:
                    if inside == _U0:
                        tokens += 1
                    inside = _TOP
                    fresh = True
                    p += 1
    return tokens, breaks


@jit
def _cut(
    words,       # IN    uint64 (n // 8,)
    data,        # IN    uint8 (n,)
    end,         # IN    int64: where the chunk ends
    chars,       # IN    bool
    mark_lines,  # IN    bool
    place,       # INOUT int64 (6,): next byte, tokens, breaks, whether there was a token since the last break,
                 #       entries of the pool used, entries that the next word alone needs where the pool is too small
    ends,        # OUT   int64 (breaks of the chunk,): tokens before each break, a mark included
    starts,      # OUT   int64 (block,)
    lengths,     # OUT   int64 (block,): 0 for a mark
    keys,        # OUT   uint64 (block,): the bytes of tokens up to 8 bytes, the hash of longer ones
    begins,      # OUT   int64 (block,): where the bytes of a longer one begin in the pool
    pool,        # OUT   uint64 (any,): eight bytes each, the last eight of a word some of them a second time
):
    """Cut off as many tokens as one block and its pool hold; return how many there are."""
    p = place[0]
    before = place[1]
    breaks = place[2]
    fresh = place[3] != 0
    fast = 8 * (words.shape[0] - 1)
    tokens = 0
    used = 0
    needed = 0
    while p < end and tokens < starts.shape[0] and needed == 0:
        c = data[p]
        if c == 32 and not chars:
            p += 1
            continue
        if c == 10 or c == 13:
            if mark_lines:
                starts[tokens] = p
                lengths[tokens] = 0
                tokens += 1
            if mark_lines or fresh:
                ends[breaks] = before + tokens
                breaks += 1
            fresh = False
            p += 2 if c == 13 and p + 1 < end and data[p + 1] == 10 else 1
            continue
        if chars or c < 33 or c > 127:
            d = data[p + 1] if p + 1 < end else _NUL
            e = data[p + 2] if p + 2 < end else _NUL
            blank = 0 if chars else _space_length(c, d, e)
            if blank > 0:
                p += blank
                continue
        q = p
        if chars:
            q += _char_length(c, d, e, data[p + 3] if p + 3 < end else _NUL)
        else:
            inside = True
            while inside and q < end:
                marks = _HIGH
                if q < fast:
                    marks = _marks(_eight(words[q >> 3], words[(q >> 3) + 1], q))
                    q += 8 if marks == _U0 else _count_bytes(_below(marks) & _ONES)
                # Byte by byte through control characters and all that is not ASCII, and at the text's end.
                while marks != _U0 and q < end:
                    c = data[q]
                    if c == 32:
                        inside = False
                        break
                    if c < 32 or c > 127:
                        d = data[q + 1] if q + 1 < end else _NUL
                        e = data[q + 2] if q + 2 < end else _NUL
                        if _space_length(c, d, e) > 0:
                            inside = False
                            break
                    elif q < fast:
                        break
                    q += 1
        length = q - p
        if length > 8:
            if used + (length + 7) // 8 > pool.shape[0]:
                needed = (length + 7) // 8
                continue
            begins[tokens] = used
            key = np.uint64(length)
            k = p
            last = q - 8
            while k <= last:
                if k < fast:
                    w = _eight(words[k >> 3], words[(k >> 3) + 1], k)
                else:
                    w = _U0
                    for j in range(8):
                        w |= np.uint64(data[k + j]) << np.uint64(8 * j)
                pool[used] = w
                used += 1
                key = (key ^ w) * _MULTIPLY
                key ^= key >> _U32
                k = last if k < last and k + 8 > last else k + 8
        elif p < fast:
            key = _eight(words[p >> 3], words[(p >> 3) + 1], p) & (_FULL >> np.uint64(64 - 8 * length))
        else:
            key = _U0
            for j in range(length):
                key |= np.uint64(data[p + j]) << np.uint64(8 * j)
        starts[tokens] = p
        lengths[tokens] = length
        keys[tokens] = key
        tokens += 1
        fresh = True
        p = q
    place[0] = p
    place[1] = before + tokens
    place[2] = breaks
    place[3] = 1 if fresh else 0
    place[4] = used
    place[5] = needed
    return tokens


@jit
def _spread(
    key,     # IN  uint64
    length,  # IN  uint64, 1 to 9
):
    """Return the hash of a table's key, best in its high bits."""
    return (key ^ (key >> _U32) ^ length) * _MULTIPLY


@jit
def _shift_of(
    slots,  # IN  int64, a power of 2
):
    """Return by how many bits a hash is shifted to be a slot's number."""
    bits = 0
    while (1 << bits) < slots:
        bits += 1
    return np.uint64(64 - bits)


@jit
def _number(
    table,          # INOUT uint64 (slots, 2): key; length << 32 | type + 1, or 0 where empty
    starts,         # INOUT int64 (room,): where each type first appears
    lengths,        # INOUT int64 (room,)
    keys,           # INOUT uint64 (room,)
    counts,         # INOUT int64 (room,)
    begins,         # INOUT int64 (room,): where the bytes of a type longer than 8 begin in the pool
    pool,           # INOUT uint64 (pool room,)
    sizes,          # INOUT int64 (2,): types and entries of the pool so far; there is room for all new ones, and two
                    #       slots of the table for each type
    n_tokens,       # IN    int64
    token_starts,   # IN    int64 (block,)
    token_lengths,  # IN    int64 (block,)
    token_keys,     # IN    uint64 (block,)
    token_begins,   # IN    int64 (block,)
    token_pool,     # IN    uint64 (any,)
    weights,        # IN    int64 (block,)
    ids,            # OUT   int32 (n_tokens,)
):
    """Find or add the type of each token and add the token's weight to its count."""
    n_types = sizes[0]
    used = sizes[1]
    shift = _shift_of(table.shape[0])
    mask = table.shape[0] - 1
    for i in range(n_tokens):
        length = token_lengths[i]
        if length == 0:
            ids[i] = -1
            continue
        key = token_keys[i]
        short = np.uint64(min(length, _LONG))
        slot = np.int64(_spread(key, short) >> shift)
        kind = -1
        entry = table[slot, 1]
        while entry != _U0:
            if table[slot, 0] == key and entry >> _U32 == short:
                kind = np.int64(entry & _ID_MASK) - 1
                if length < _LONG:
                    break
                # The hashes are the same; now the bytes.
                same = lengths[kind] == length
                j = 0
                while same and j < (length + 7) // 8:
                    same = pool[begins[kind] + j] == token_pool[token_begins[i] + j]
                    j += 1
                if same:
                    break
                kind = -1
            slot = (slot + 1) & mask
            entry = table[slot, 1]
        if kind < 0:
            kind = n_types
            n_types += 1
            starts[kind] = token_starts[i]
            lengths[kind] = length
            keys[kind] = key
            counts[kind] = 0
            begins[kind] = used
            if length >= _LONG:
                for j in range((length + 7) // 8):
                    pool[used] = token_pool[token_begins[i] + j]
                    used += 1
            table[slot, 0] = key
            table[slot, 1] = (short << _U32) | np.uint64(n_types)
        counts[kind] += weights[i]
        ids[i] = kind
    sizes[0] = n_types
    sizes[1] = used


@jit
def _fill_table(
    table,    # OUT uint64 (slots, 2), zeros; two slots for each type at least
    keys,     # IN  uint64 (types,)
    lengths,  # IN  int64 (types,)
):
    """Enter types that are known to be distinct."""
    shift = _shift_of(table.shape[0])
    mask = table.shape[0] - 1
    for kind in range(keys.shape[0]):
        short = np.uint64(min(lengths[kind], _LONG))
        slot = np.int64(_spread(keys[kind], short) >> shift)
        while table[slot, 1] != _U0:
            slot = (slot + 1) & mask
        table[slot, 0] = keys[kind]
        table[slot, 1] = (short << _U32) | np.uint64(kind + 1)


@jit
def _with_room(
    array,  # IN  int64 or uint64 (n,)
    used,   # IN  int64
    more,   # IN  int64
):
    """Return the array if it has room for ``more`` beside what is used; else a copy with twice the room, or more."""
    if used + more <= array.shape[0]:
        return array
    larger = np.empty(max(2 * array.shape[0], used + more), array.dtype)
    # For an assignment of slices Numba compiles the words of its error too: two of eight seconds of a first corpus.
    for i in range(used):
        larger[i] = array[i]
    return larger


@jit
def _table_with_room(
    table,    # IN  uint64 (slots, 2)
    keys,     # IN  uint64 (types or more,)
    lengths,  # IN  int64 (types or more,)
    used,     # IN  int64: types
    more,     # IN  int64
):
    """Return the table if it has two slots for each type and each of ``more``; else a larger one."""
    slots = table.shape[0]
    while slots < 2 * (used + more):
        slots *= 2
    if slots > table.shape[0]:
        table = np.zeros((slots, 2), np.uint64)
        _fill_table(table, keys[:used], lengths[:used])
    return table


@jit
def _scan_chunk(
    words,       # IN  uint64 (n // 8,)
    data,        # IN  uint8 (n,)
    begin,       # IN  int64
    end,         # IN  int64
    chars,       # IN  bool
    mark_lines,  # IN  bool
    ids,         # OUT int32 (tokens of the chunk,)
    ends,        # OUT int64 (recorded breaks of the chunk,): tokens before each break, a mark included
):
    """Number the chunk's types by first appearance, fill ``ids`` and ``ends``; return what is known of each type.

    Tokens are cut and looked up in blocks. A loop that replaces arrays, or hands them to other functions, counts
    references at every step: with one such loop over all tokens each took 100 to 250 ns, with blocks 27 ns.
    """
    token_starts = np.empty(_BLOCK, np.int64)
    token_lengths = np.empty(_BLOCK, np.int64)
    token_keys = np.empty(_BLOCK, np.uint64)
    token_begins = np.empty(_BLOCK, np.int64)
    token_pool = np.empty(2 * _BLOCK, np.uint64)
    weights = np.ones(_BLOCK, np.int64)
    table = np.zeros((4 * _BLOCK, 2), np.uint64)
    starts = np.empty(2 * _BLOCK, np.int64)
    lengths = np.empty(2 * _BLOCK, np.int64)
    keys = np.empty(2 * _BLOCK, np.uint64)
    counts = np.empty(2 * _BLOCK, np.int64)
    begins = np.empty(2 * _BLOCK, np.int64)
    pool = np.empty(2 * _BLOCK, np.uint64)
    sizes = np.zeros(2, np.int64)
    place = np.zeros(6, np.int64)
    place[0] = begin
    place[3] = 1  # the chunk's first line may have begun before it
    while place[0] < end:
        first = place[1]
        n_tokens = _cut(
            words, data, end, chars, mark_lines, place, ends,
            token_starts, token_lengths, token_keys, token_begins, token_pool,
        )
        n_types = sizes[0]
        starts = _with_room(starts, n_types, n_tokens)
        lengths = _with_room(lengths, n_types, n_tokens)
        keys = _with_room(keys, n_types, n_tokens)
        counts = _with_room(counts, n_types, n_tokens)
        begins = _with_room(begins, n_types, n_tokens)
        pool = _with_room(pool, sizes[1], place[4])
        table = _table_with_room(table, keys, lengths, n_types, n_tokens)
        _number(
            table, starts, lengths, keys, counts, begins, pool, sizes,
            n_tokens, token_starts, token_lengths, token_keys, token_begins, token_pool, weights, ids[first:],
        )
        token_pool = _with_room(token_pool, 0, place[5])
    n_types = sizes[0]
    return (
        starts[:n_types].copy(),
        lengths[:n_types].copy(),
        keys[:n_types].copy(),
        counts[:n_types].copy(),
        begins[:n_types].copy(),
        pool[: sizes[1]].copy(),
    )


@jit
def _rename(
    ids,      # INOUT int32 (tokens,): -1 stays
    renamed,  # IN    int32 (types,)
):
    for i in range(ids.shape[0]):
        if ids[i] >= 0:
            ids[i] = renamed[ids[i]]


@jit
def _keep_range(
    ids,      # IN    int32 (n,)
    lower,    # IN    int64
    upper,    # IN    int64
    offsets,  # IN    int64 (sentences + 1,)
    first,    # IN    int64: the first offset above lower
    mapping,  # IN    int32 (types,): -1 where a type is dropped
    line,     # IN    int32: what an id of -1 becomes
    out,      # OUT   int32 (n,), may be ids itself
    ends,     # OUT   int64 (sentences + 1,): tokens kept in the range before each offset
):
    """Renumber ids[lower:upper] into out[lower:...]; return how many are kept."""
    kept = lower
    j = first
    i = lower
    while i < upper:
        stop = upper
        if j < offsets.shape[0] and offsets[j] < upper:
            stop = offsets[j]
        while i < stop:
            kind = ids[i]
            new = mapping[kind] if kind >= 0 else line
            # Written in any case, kept only if wanted: no branch that cannot be predicted.
            out[kept] = new
            kept += 1 if new >= 0 else 0
            i += 1
        while j < offsets.shape[0] and offsets[j] == i:
            ends[j] = kept - lower
            j += 1
    return kept - lower


@jit
def _move_down(
    array,  # INOUT int32 (n,)
    to,     # IN    int64, at most begin
    begin,  # IN    int64
    count,  # IN    int64
):
    for i in range(count):
        array[to + i] = array[begin + i]


def _in_threads(function: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> list[Any]:
    """Return ``function(*call)`` for each call, on as many threads as kernels use."""
    calls = list(calls)
    n_threads = min(numba.get_num_threads(), len(calls))
    if n_threads <= 1:
        return [function(*call) for call in calls]
    with ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(lambda call: function(*call), calls))


@jit
def _next_cut(
    data,   # IN  uint8 (n,)
    p,      # IN  int64
    chars,  # IN  bool
):
    """Return the first place from ``p`` on where the text may be cut, or n.

    A cut stands before white space, never inside a token or between CR and LF. Where tokens are characters, it stands
    before any ASCII byte, since no character, whole or broken, goes on over one.
    """
    n = data.shape[0]
    while p < n:
        c = data[p]
        if c == 10:
            found = p == 0 or data[p - 1] != 13
        elif chars:
            found = c < 0x80
        else:
            found = _space_length(c, data[p + 1] if p + 1 < n else _NUL, data[p + 2] if p + 2 < n else _NUL) > 0
        if found:
            break
        p += 1
    return p


def tokenize(data, start, chars, mark_lines, n_chunks, release):
    """Cut the text, count, number and merge; see the contract."""
    n = data.shape[0]
    words = data[: n // 8 * 8].view(np.uint64)
    if n_chunks is None:
        per_thread = -(-(n - start) // numba.get_num_threads())
        n_chunks = -(-(n - start) // max(_LEAST_CHUNK_BYTES, min(_CHUNK_BYTES, per_thread)))
    n_chunks = max(1, min(n_chunks, n - start))
    cuts = [start]
    for c in range(1, n_chunks):
        target = start + (n - start) * c // n_chunks
        if target > cuts[-1]:
            cut = _next_cut(data, target, chars)
            if cuts[-1] < cut < n:
                cuts.append(cut)
    chunks = list(zip(cuts, [*cuts[1:], n]))

    def count(begin, end):
        found = _count_chunk(words, data, begin, end, chars, mark_lines)
        release(begin, end)
        return found

    sizes = _in_threads(count, chunks)
    token_bounds = np.cumsum([0] + [tokens for tokens, _ in sizes])
    break_bounds = np.cumsum([0] + [breaks for _, breaks in sizes])
    # What follows the last break is a line too, unless it is nothing.
    open_line = n > start and data[n - 1] != 10 and data[n - 1] != 13
    last_mark = 1 if open_line and mark_lines else 0
    ids = np.empty(token_bounds[-1] + last_mark, np.int32)
    offsets = np.zeros(break_bounds[-1] + 2, np.int64)
    ends = offsets[1:]

    def scan(c):
        begin, end = chunks[c]
        part = _scan_chunk(
            words, data, begin, end, chars, mark_lines,
            ids[token_bounds[c] : token_bounds[c + 1]], ends[break_bounds[c] : break_bounds[c + 1]],
        )
        release(begin, end)
        return part

    parts = _in_threads(scan, [(c,) for c in range(len(chunks))])
    for c in range(1, len(chunks)):
        ends[break_bounds[c] : break_bounds[c + 1]] += token_bounds[c]
    if last_mark:
        ids[-1] = -1
    ends[-1] = ids.shape[0]
    offsets = _without_repeats(offsets)

    # The first chunk's types keep their numbers; those of the other chunks are found among them or added.
    starts, lengths, keys, counts, begins, pool = parts[0]
    if len(chunks) == 1:
        return ids, offsets, starts, lengths, counts
    sizes = np.array([starts.shape[0], pool.shape[0]])
    table = np.zeros((1 << (2 * starts.shape[0] + 2).bit_length(), 2), np.uint64)
    _fill_table(table, keys, lengths)
    renames = []
    for c in range(1, len(chunks)):
        found = parts[c]
        parts[c] = None  # what is merged can go
        renamed = np.empty(found[0].shape[0], np.int32)
        # A slice at a time, so that the table is not made for all of them when most are known.
        for first in range(0, renamed.shape[0], _SLICE):
            more = min(_SLICE, renamed.shape[0] - first)
            part = slice(first, first + more)
            n_types = int(sizes[0])
            starts, lengths, keys, counts, begins = (
                _with_room(old, n_types, more) for old in (starts, lengths, keys, counts, begins)
            )
            pool = _with_room(pool, int(sizes[1]), found[5].shape[0])
            table = _table_with_room(table, keys, lengths, n_types, more)
            _number(
                table, starts, lengths, keys, counts, begins, pool, sizes,
                more, found[0][part], found[1][part], found[2][part], found[4][part], found[5], found[3][part],
                renamed[part],
            )
        renames.append((ids[token_bounds[c] : token_bounds[c + 1]], renamed))
    _in_threads(_rename, renames)
    n_types = int(sizes[0])
    return ids, offsets, starts[:n_types].copy(), lengths[:n_types].copy(), counts[:n_types].copy()


def _without_repeats(offsets):
    """Return offsets that rise: an empty sentence is none."""
    rises = offsets[1:] != offsets[:-1]
    if rises.all():
        return offsets
    return np.concatenate((offsets[:1], offsets[1:][rises]))


def renumber(ids, offsets, mapping, line, overwrite):
    """Renumber in ranges, then close the gaps between them; see the contract."""
    n = ids.shape[0]
    out = ids if overwrite else np.empty(n, np.int32)
    bounds = list(range(0, n, _RANGE_TOKENS)) + [n]
    firsts = np.searchsorted(offsets, bounds, side="right")
    ends = np.zeros(offsets.shape[0], np.int64)
    kept = _in_threads(
        _keep_range,
        [
            (ids, bounds[r], bounds[r + 1], offsets, firsts[r], mapping, line, out, ends)
            for r in range(len(bounds) - 1)
        ],
    )
    total = 0
    for r, count in enumerate(kept):
        ends[firsts[r] : firsts[r + 1]] += total
        if bounds[r] != total:
            _move_down(out, total, bounds[r], count)
        total += count
    return out[:total], _without_repeats(ends)
