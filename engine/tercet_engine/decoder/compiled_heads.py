"""The innermost parts of attention on a CPU: the queries of a key head times some of its keys, and what they
weigh times the values, in vector instructions.

Used by `compiled_attention`, tile after tile of a turn's tokens: as many as a vector has lanes, so that the
scores of a tile are one vector for each query and never leave the registers before they are weights. Sums are
kept by the highest score so far (Milakov and Gimelshein, arXiv:1805.02867), each in all lanes of a vector.
"""

import math
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tercet_engine.decoder.compiled_vectors import LANES, LINE, Emitter, number, whole, word

LOWEST: Final = -1e30
"""A score that weighs nothing beside any other."""

_SUMS: Final = 8 if LANES == 8 else 16
"""Of vectors, that stay in registers beside what is added to them."""
_WIDE: Final = 4
"""Vectors of a value that are mixed in at once."""
_NOTHING: Final = -87.0
"""Whose exponential is taken for 0, as the next powers of two are no ordinary numbers."""

_lanes, _places = ir.VectorType(number, LANES), ir.VectorType(word, LANES)


@intrinsic(prefer_literal=True)
def weigh_tile(
    _context, queries, keys, following, token_bytes, count, weights, tops, masses, fades, shared, dim
):
    """What `count` tokens, at most `LANES`, weigh for each of `shared` queries (shared, dim).

    Addresses, and what lies between two tokens' keys. Written are the weights (shared, LANES), 0 where there
    is no token, beside the highest score so far; read and written `tops`, that score, and `masses`, whose
    lanes sum up to what all tokens so far weigh; and written `fades`, by which older sums shrink. All are
    (shared, LANES). `following`: keys that are asked for, since they are next.
    """
    shared, dim = shared.literal_value, dim.literal_value

    def generate(context, builder, _signature, arguments):
        queries, keys, following, token_bytes, count, *kept, _, _ = arguments
        emit = _Heads(builder, dim)
        tokens = emit.find_tokens(keys, token_bytes, count)
        emit.ask_for(tokens, builder.sub(following, keys))
        is_there = builder.icmp_signed(
            "<", ir.Constant(_places, list(range(LANES))), emit.spread_count(count)
        )
        with cgutils.for_range(builder, whole(shared)) as loop:
            scores = emit.score(emit.at(queries, loop.index, 4 * dim), tokens)
            scores = builder.select(is_there, scores, emit.constant(LOWEST))
            emit.weigh(scores, *(emit.at(base, loop.index, 4 * LANES) for base in kept))
        return context.get_dummy_value()

    i = types.int64
    return types.void(*[i] * 9, types.literal(shared), types.literal(dim)), generate


@intrinsic(prefer_literal=True)
def mix_tile(_context, weights, values, following, token_bytes, count, fades, mixes, shared, dim):
    """Add `count` tokens' values to the mixes (shared, dim), which fade before; all else as `weigh_tile`."""
    shared, dim = shared.literal_value, dim.literal_value

    def generate(context, builder, _signature, arguments):
        weights, values, following, token_bytes, count, fades, mixes, _, _ = arguments
        emit = _Heads(builder, dim)
        ahead = builder.sub(following, values)
        at_once = max(1, _SUMS // min(emit.parts, _WIDE))
        for first in range(0, shared, at_once):
            heads = range(first, min(first + at_once, shared))
            for left in range(0, emit.parts, _WIDE):
                parts = range(left, min(left + _WIDE, emit.parts))
                sums = {(head, part): emit.fade(mixes, fades, head, part) for head in heads for part in parts}
                with cgutils.for_range(builder, count) as loop:
                    token = emit.at(values, loop.index, token_bytes)
                    if first == left == 0:
                        emit.ask_for([token], ahead)
                    emit.mix(sums, weights, token, loop.index)
                for (head, part), total in sums.items():
                    emit.store(builder.load(total), emit.at_part(mixes, head, part))
        return context.get_dummy_value()

    i = types.int64
    return types.void(*[i] * 7, types.literal(shared), types.literal(dim)), generate


class _Heads(Emitter):
    """A head's `dim` numbers are so many `parts`, vectors of `width` numbers."""

    def __init__(self, builder: Any, dim: int) -> None:
        super().__init__(builder)
        self._dim, self._width = dim, min(LANES, dim & -dim)
        self.parts = dim // self._width
        self._part = ir.VectorType(number, self._width)

    def constant(self, entry: float) -> Any:
        return ir.Constant(_lanes, [entry] * LANES)

    def spread_count(self, count: Any) -> Any:
        return self.spread(self.builder.trunc(count, word), LANES)

    def at_part(self, base: Any, head: int, part: int) -> Any:
        return self.at(base, 1, 4 * (head * self._dim + part * self._width))

    def find_tokens(self, base: Any, token_bytes: Any, count: Any) -> list[Any]:
        """Addresses of a tile's; the last one again, where there are fewer."""
        last = self.builder.sub(count, whole(1))
        return [
            self.at(
                base, self.builder.select(self.builder.icmp_signed("<", each, last), each, last), token_bytes
            )
            for each in map(whole, range(LANES))
        ]

    def ask_for(self, tokens: list[Any], ahead: Any) -> None:
        """What lies so far behind these: a processor's own guesses do not go from block to block."""
        for token in tokens:
            for offset in range(0, 4 * self._dim, LINE):
                self.prefetch(self.at(self.builder.add(token, ahead), 1, offset))

    def score(self, query: Any, tokens: list[Any]) -> Any:
        """A lane for each token: query times key, by the root of their length."""
        sums = [ir.Constant(self._part, None)] * len(tokens)
        for part in range(self.parts):
            piece = self.load(self.at_part(query, 0, part), self._part)
            for i, token in enumerate(tokens):
                sums[i] = self.multiply_add(
                    piece, self.load(self.at_part(token, 0, part), self._part), sums[i]
                )
        return self.builder.fmul(self._sum_up(sums), self.constant(1 / math.sqrt(self._dim)))

    def _sum_up(self, sums: list[Any]) -> Any:
        """Vectors -> one that has the sum of each of theirs: halves are added, of two vectors at a time."""
        width = self._width
        while width > 1:
            sums = [self._add_neighbours(*pair) for pair in _by_twos(sums)]
            width //= 2
        while len(sums) > 1:
            both = range(2 * sums[0].type.count)
            sums = [self.take(left, both, right) for left, right in _by_twos(sums)]
        return sums[0]

    def _add_neighbours(self, left: Any, right: Any) -> Any:
        count = 2 * left.type.count
        evens, odds = (self.take(left, range(start, count, 2), right) for start in (0, 1))
        return self.builder.fadd(evens, odds)

    def weigh(self, scores: Any, weights: Any, tops: Any, masses: Any, fades: Any) -> None:
        builder = self.builder
        before = self.load(tops, _lanes)
        top = self._highest(before, scores)
        fade = cgutils.alloca_once_value(builder, self.constant(1))
        first = [builder.extract_element(each, word(0)) for each in (before, top)]
        with builder.if_then(builder.fcmp_unordered("!=", *first)):  # rarely, once the highest has been seen
            builder.store(self._exp(builder.fsub(before, top)), fade)
        exps = self._exp(builder.fsub(scores, top))
        self.store(exps, weights)
        self.store(top, tops)
        self.store(builder.load(fade), fades)
        self.store(self.multiply_add(self.load(masses, _lanes), builder.load(fade), exps), masses)

    def _highest(self, before: Any, scores: Any) -> Any:
        """Of all lanes, in all lanes; what is no number is passed by, and shows as a weight."""
        step = LANES // 2
        while step:
            scores = self._greater(scores, self.take(scores, [i ^ step for i in range(LANES)]))
            step //= 2
        return self._greater(before, scores)

    def _greater(self, one: Any, other: Any) -> Any:
        return self.call(f"llvm.maxnum.v{LANES}f32", _lanes, one, other)

    def _exp(self, x: Any) -> Any:
        """As `compiled.exp`, lane by lane; no number remains none."""
        builder, constant = self.builder, self.constant
        is_small = builder.fcmp_ordered("<", x, constant(_NOTHING))
        within = builder.select(builder.fcmp_ordered(">", x, constant(_NOTHING)), x, constant(_NOTHING))
        power = builder.fptosi(self.multiply_add(within, constant(1.44269504), constant(-0.5)), _places)
        twos = builder.sitofp(power, _lanes)
        rest = self.multiply_add(twos, constant(-0.693145751953125), within)
        rest = self.multiply_add(twos, constant(-1.42860682e-6), rest)
        series = constant(1 / 5040)
        for divisor in (720, 120, 24, 6, 2, 1, 1):
            series = self.multiply_add(series, rest, constant(1 / divisor))
        exponent = builder.shl(builder.add(power, _places([127] * LANES)), _places([23] * LANES))
        scaled = builder.fmul(series, builder.bitcast(exponent, _lanes))
        return builder.select(
            builder.fcmp_unordered("uno", x, x), x, builder.select(is_small, constant(0), scaled)
        )

    def fade(self, mixes: Any, fades: Any, head: int, part: int) -> Any:
        """Memory of LLVM's, a register in the end, that holds a part of what was mixed before."""
        fade = self.load(self.at(fades, head, 4 * LANES), self._part)
        mix = self.load(self.at_part(mixes, head, part), self._part)
        return cgutils.alloca_once_value(self.builder, self.builder.fmul(fade, mix))

    def mix(self, sums: dict[tuple[int, int], Any], weights: Any, value: Any, place: Any) -> None:
        builder = self.builder
        pieces = {part: self.load(self.at_part(value, 0, part), self._part) for _, part in sums}
        entries = {
            head: self.spread(
                self.load(self.at(self.at(weights, head, 4 * LANES), place, 4), number), self._width
            )
            for head, _ in sums
        }
        for (head, part), total in sums.items():
            builder.store(self.multiply_add(entries[head], pieces[part], builder.load(total)), total)


def _by_twos(some: list[Any]) -> list[tuple[Any, Any]]:
    return list(zip(some[::2], some[1::2], strict=True))
