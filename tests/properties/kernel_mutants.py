"""Seeded bugs in the kernels: in each, a piece of a file is replaced, and the laws named beside it must notice.

kernel_mutant_run.py loads the kernels with a bug in them and runs the laws; test_kernel_mutants.py asks for all of them.
A mutant whose text is no longer found exactly once is stale, and an error: when you change a kernel, change its mutant too.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import minilm_kernels

FOLDER = Path(minilm_kernels.__file__).parent


class Mutant(NamedTuple):
    name: str
    file: str  # relative to kernels/minilm_kernels; in cpu/ the Numba kernels serve, else the reference
    checks: str  # laws, separated by spaces; "formula:attention" is the law equals_the_formula for that kernel
    old: str
    new: str

    def source(self) -> str:
        """The file with the bug in it. Raises AssertionError if the text is not there exactly once: a stale mutant."""
        text = (FOLDER / self.file).read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise AssertionError(
                f"stale mutant {self.name!r}: {self.old!r} occurs {text.count(self.old)} times in {self.file}"
            )
        return text.replace(self.old, self.new)


UNIT = "products_on_the_matrix_unit"  # tried for a processor that has one
CHUNKS = "sums_cut_along_k"  # the same
FUSED = "feed_forward_on_the_matrix_unit"  # the same
FUSED_SUMS = "feed_forward_adds_to_gradients"  # the same
ON_UNIT = {UNIT, CHUNKS, FUSED, FUSED_SUMS}
MUTANTS = [
    # --- attention, forward
    Mutant("attention: e for 2", "cpu/attention_forward.py", "formula:attention",
           "c.D, Q, queries, c.unit)", "c.D, Q, queries, c.unit * 0.7)"),
    Mutant("attention: l not rescaled", "cpu/attention_forward.py", "several_tiles_follow_the_formula",
           "fma(load(l + v * width), before, even + odd)", "load(l + v * width) + (even + odd)"),
    Mutant("attention: O not rescaled", "cpu/attention_forward.py", "several_tiles_follow_the_formula",
           "store(alpha + v * width, before)", "store(alpha + v * width, before * 0.0 + 1.0)"),
    Mutant("attention: maximum misses the last keys", "cpu/attention_forward.py", "extreme_scores_do_not_overflow",
           "for j in range(keys // 4 * 4, keys):", "for j in range(keys // 4 * 4 + 1, keys):"),
    Mutant("attention: blind row divided by 0", "cpu/attention_forward.py", "a_query_without_keys_is_zero_with_zero_gradient",
           "where_less(total, one * 0.5, zero, one / total_or_1)", "one / total"),
    Mutant("attention: dropout not scaled", "cpu/attention_forward.py", "dropout_drops_what_the_generator_says",
           "f = load(factor + x) * c.kept", "f = load(factor + x)"),
    Mutant("attention: groups interleaved", "cpu/attention_forward.py", "grouped_queries_are_repeated_keys",
           "c.key_batch, h // group, c.key_head", "c.key_batch, h % c.H_kv, c.key_head"),
    Mutant("attention: causal mask one too far", "cpu/attention_tiles.py", "causal_weights_are_a_triangle",
           "where_first(first + j - v * width, hidden", "where_first(first + j - 1 - v * width, hidden"),
    Mutant("attention: causal mask aligned to the start", "cpu/attention_tiles.py", "causal_weights_are_a_triangle",
           "hide_future(S, keys, key - query - (c.Tk - c.Tq))", "hide_future(S, keys, key - query)"),
    Mutant("attention: fewer keys seen", "cpu/attention_tiles.py", "causal_weights_are_a_triangle",
           "min(c.Tk, query + 1 + c.Tk - c.Tq)", "min(c.Tk, query + c.Tk - c.Tq)"),
    Mutant("attention: padding of the first sequence for all", "cpu/attention_tiles.py", "formula:attention",
           "bytes_at(c.padding) + (b * c.Tk + key)\n    for j in range(keys):\n        if",
           "bytes_at(c.padding) + key\n    for j in range(keys):\n        if"),
    Mutant("attention: a tile is skipped for one padded key", "cpu/attention_tiles.py", "formula:attention",
           "return seen == 0", "return seen < keys"),
    Mutant("attention: bias in the wrong base", "cpu/attention_tiles.py", "formula:attention",
           "times = LOG2E / c.factor", "times = 1.0 / c.factor"),
    Mutant("attention: bool mask turned round", "cpu/attention_tiles.py", "masks_of_every_form_mean_the_same",
           "if seen[j * c.mask_column] == 0:", "if seen[j * c.mask_column] != 0:"),
    Mutant("attention: dropout without the second key word", "cpu/attention_tiles.py", "dropout_drops_what_the_generator_says",
           "z = (z ^ (z >> 15)) + k1", "z = z ^ (z >> 15)"),
    Mutant("attention: dropout repeats in each tile", "cpu/attention_tiles.py", "several_tiles_follow_the_formula",
           "((key + j) * 0x9E3779B9)", "(j * 0x9E3779B9)"),
    Mutant("attention: a corner is not transposed", "cpu/attention_tiles.py", "formula:attention",
           "range(whole_columns if r < whole_rows else 0, columns)", "range(whole_columns, columns)"),
    # --- attention, backward
    Mutant("attention: dQ not scaled", "cpu/attention_gradient.py", "formula:attention derivative:attention",
           "c.D, n, at, g.query_row, c.scale)", "c.D, n, at, g.query_row, 1.0)"),
    Mutant("attention: one head of a group", "cpu/attention_gradient.py", "grouped_queries_are_repeated_keys",
           "for h in range(kv * group, (kv + 1) * group):", "for h in range(kv * group, kv * group + 1):"),
    Mutant("attention: stale scores behind the diagonal", "cpu/attention_gradient.py", "several_tiles_follow_the_formula",
           "                    fill(dS + (j * queries + x), block, 0.0)\n", ""),
    Mutant("attention: dK of the last tile alone", "cpu/attention_gradient.py", "several_tiles_follow_the_formula",
           "add_rows(tile_dK, wide, keys, c.D, dK + key * g.key_row, g.key_row)",
           "add_rows(tile_dK, wide, keys, c.D, dK + start * g.key_row, g.key_row)"),
    Mutant("attention: no sum term in dS", "cpu/attention_scores.py", "formula:attention derivative:attention",
           "load(S + at) * (load(dP + at) - mean)", "load(S + at) * load(dP + at)"),
    Mutant("attention: δ of weights that are not divided", "cpu/attention_scores.py", "formula:attention",
           "delta[i] *= factors[i]", "delta[i] *= 1.0"),
    Mutant("attention: no sum term in dS of many keys", "cpu/attention_scores.py", "several_tiles_follow_the_formula",
           "w * (load(dS + at) - mean)", "w * load(dS + at)"),
    Mutant("attention: δ of the scaled output, many keys", "cpu/attention_scores.py", "several_tiles_follow_the_formula",
           "store(delta + x, total * c.unkept)", "store(delta + x, total)"),
    Mutant("attention: dV without dropout", "cpu/attention_scores.py", "dropout_drops_what_the_generator_says",
           "        drop(c, S, (b * c.H + h) * c.Tq + query, key, keys)\n", "        pass\n"),
    Mutant("attention: bias gradient of one sequence", "cpu/attention_bias.py", "formula:attention",
           "(b0 + 1 if g.nb > 1 else c.B)", "(b0 + 1)"),
    Mutant("attention: bias gradient of one query", "cpu/attention_bias.py", "formula:attention",
           "for i in range(r, r + 1 if g.ni > 1 else n):", "for i in range(r, r + 1):"),
    # --- decoding
    Mutant("decode: causal mask for the last query only", "cpu/attention_decoding.py", "decoding_equals_attention",
           "seen = max(0, min(keys, keys_seen(c, query) - start))", "seen = max(0, min(keys, keys_seen(c, c.Tq - 1) - start))"),
    Mutant("decode: bias of the group's first head", "cpu/attention_decoding.py", "decoding_equals_attention",
           "b, kv * group + r // c.Tq, query, start, keys)", "b, kv * group, query, start, keys)"),
    Mutant("decode: parts of the sum not weighted", "cpu/attention_decoding.py", "decoding_equals_attention",
           "l += at[c.Dv] * at[c.Dv + 1]", "l += at[c.Dv + 1]"),
    # --- products
    Mutant("linear: residual of the first row", "cpu/gemm_tiles.py", "formula:linear",
           "p.residual + (i * p.residual_row + n)", "p.residual + n"),
    Mutant("linear: Z kept after the activation", "cpu/gemm_tiles.py", "formula:linear",
           "store_first(z + whole, x, left)", "store_first(z + whole, function(x), left)"),
    Mutant("matmul: later blocks of k replace the first", "cpu/gemm.py", "a_product_of_any_strides",
           "        if k0 > 0:\n            s, s_row", "        if k0 < 0:\n            s, s_row"),
    Mutant("linear: activation after each block of k", "cpu/gemm.py", "formula:linear",
           "last = k0 + kn == p.K", "last = True"),
    Mutant("linear: bias gradient misses an odd row", "cpu/gemm.py", "formula:linear",
           "            if kn % 2:\n", "            if kn % 2 and kn < 0:\n"),
    Mutant("linear: slope of relu for silu", "cpu/gemm_linear.py", "formula:linear derivative:linear",
           "gelu_tanh_slope, relu_slope, silu_slope)", "gelu_tanh_slope, relu_slope, relu_slope)"),
    Mutant("linear: few rows forget the bias", "cpu/gemm_few.py", "formula:linear",
           "p.start[m * p.start_row + n * p.start_column] + d0", "d0"),
    # --- products on the matrix unit
    Mutant("unit: no product of l", "cpu/matrix_unit.py", UNIT,
           "SMALL_PRODUCTS = ((0, 2), (0, 1), (1, 1), (1, 0), (2, 0))", "SMALL_PRODUCTS = ((0, 1), (1, 1), (1, 0), (2, 0))"),
    Mutant("unit: m cut off too early", "cpu/split.py", UNIT,
           "as_words(rest - floats_of(m))", "as_words((rest - floats_of(m)) * 0.0)"),
    Mutant("unit: a subnormal number spoils its neighbour", "cpu/split.py", UNIT, "^ (l2 & UPPER)", "^ l2"),
    Mutant("unit: halves of k swapped in B", "cpu/split.py", UNIT,
           "transpose_edge(at + first, step, turned + first * WORDS, WORDS, columns, ks - first)",
           "transpose_edge(at + first, step, turned + (WORDS - first) * WORDS, WORDS, columns, ks - first)"),
    Mutant("unit: later pieces of k replace the first", "cpu/gemm_split.py", UNIT,
           "load(s + v) + load(tile + (i * PANEL + v))", "load(tile + (i * PANEL + v))"),
    Mutant("unit: last panel of columns written whole", "cpu/gemm_split.py", UNIT,
           "load_first(s + v, columns - v) + load(tile + (i * PANEL + v)), columns - v)",
           "load_first(s + v, columns - v) + load(tile + (i * PANEL + v)), columns - v - 1)"),
    Mutant("unit: infinities are tried", "cpu/gemm_split.py", UNIT, " or largest[i] > MOST", ""),
    Mutant("unit: small numbers are tried", "cpu/gemm_split.py", UNIT, "0 < largest[i] < LEAST or ", ""),
    Mutant("unit: sums of the last tile of k alone", "cpu/split.py", UNIT, "add > 0 or k > 0)", "add > 0)"),
    Mutant("unit: pieces of k forget the first", "cpu/gemm_plan.py", UNIT,
           "start = self.c + c, self.c_row, 1", "start = self.start, 0, 0"),
    Mutant("unit: residual added with each piece of k", "cpu/gemm_plan.py", UNIT,
           "if self.residual and last else 0", "if self.residual else 0"),
    Mutant("unit: only the first two chunks of k", "cpu/gemm_chunks.py", CHUNKS,
           "for i in range(1, chunks):", "for i in range(1, min(chunks, 2)):"),
    Mutant("unit: chunks begin anew", "cpu/gemm_chunks.py", CHUNKS, "        if s_column:\n", "        if False:\n"),
    Mutant("unit: infinities in a chunk are tried", "cpu/gemm_chunks.py", CHUNKS, "bad[i] = wrong > 0", "bad[i] = 0"),
    Mutant("unit: every chunk is the first of A", "cpu/gemm_chunks.py", CHUNKS,
           "k0 * p.a_step if p.a_transposed else k0", "k0 * p.a_step * 0 if p.a_transposed else k0 * 0"),
    Mutant("unit: sums of chunks overlap C", "cpu/gemm_chunks.py", CHUNKS,
           "sums = pointer_at(c + 4 * rows * columns * PANEL * PANEL, p.c)", "sums = pointer_at(c, p.c)"),
    Mutant("unit: half of a feed-forward layer's bias", "cpu/feed_forward_tiles.py", FUSED,
           "load(t) + load(b), load(t + WORDS) + load(b + WORDS)", "load(t) + load(b), load(t + WORDS)"),
    Mutant("unit: Z of the rows before", "cpu/feed_forward_tiles.py", FUSED,
           "z2, z3 = load(z + WORDS * p.hidden), load(z + (WORDS * p.hidden + WORDS))", "z2, z3 = load(z), load(z + WORDS)"),
    Mutant("unit: dZ for H", "cpu/feed_forward_tiles.py", FUSED,
           "store_pairs(h0, h2, words_at(h_columns + at))", "store_pairs(d0, d2, words_at(h_columns + at))"),
    Mutant("unit: gradient of the bias misses half of the rows", "cpu/feed_forward_tiles.py", FUSED,
           "left_sum += d0 + d2", "left_sum += d0"),
    Mutant("unit: an infinite H is tried", "cpu/feed_forward_forward.py", FUSED,
           "        largest_of_rows(seen)\n        wrong += not fits(seen)\n", ""),
    Mutant("unit: the residual's first rows", "cpu/feed_forward_forward.py", FUSED,
           "p.residual + ((m + i) * p.residual_row + n * PANEL)", "p.residual + (i * p.residual_row + n * PANEL)"),
    Mutant("unit: later blocks replace the first", "cpu/feed_forward_gradient.py", FUSED, "first > begin", "False"),
    Mutant("unit: groups of hidden units begin anew", "cpu/feed_forward_gradient.py", FUSED, "width, tile, group > 0)",
           "width, tile, False)"),
    Mutant("unit: dW_in not turned", "cpu/feed_forward_gradient.py", FUSED,
           "load(turned + (r * PANEL + v))", "load(tile + (r * PANEL + v))"),
    Mutant("unit: dW_in not added", "cpu/feed_forward_gradient.py", FUSED_SUMS,
           "load(to + v) + x if add_in else x", "x"),
    Mutant("unit: dW_out not added", "cpu/feed_forward_gradient.py", FUSED_SUMS,
           "add_chunks(to, to, add_out,", "add_chunks(to, to, 0,"),
    # --- rows
    Mutant("norms: RMS norm is centred backward", "cpu/norms.py", "formula:rms_norm",
           "reduce_add(first) / n if centered else 0.0", "reduce_add(first) / n"),
    Mutant("norms: the first rows' sums alone", "cpu/norms.py", "formula:layer_norm",
           "        for i in range(chunks):\n", "        for i in range(1):\n"),
    Mutant("norms: variance counts lanes behind the row", "cpu/norms.py", "formula:layer_norm",
           "p = where_first(n - j, load_first(x + j, n - j) - mu, zero)", "p = load_first(x + j, n - j) - mu"),
    Mutant("norms: the end of a row is not added to", "cpu/norms.py", "what_passed_a_norm_by_is_added_to_its_gradient",
           "                result += load_first(other + whole, rest)\n", "                pass\n"),
    Mutant("norms: the first row added to all", "cpu/norms.py", "what_passed_a_norm_by_is_added_to_its_gradient",
           "dy + r * n, add + r * n, dx + r * n", "dy + r * n, add, dx + r * n"),
    Mutant("norms: no ε", "cpu/norms.py", "formula:rms_norm",
           "source, mean[r], n) / n + eps)", "source, mean[r], n) / n + 1e-12)"),
    Mutant("norms: no variance term", "cpu/norms.py", "formula:layer_norm derivative:layer_norm",
           "slope = splat(x, -reduce_add(second) / n)", "slope = splat(x, 0.0)"),
    Mutant("silu_mul: value for slope", "cpu/activations.py", "formula:silu_mul",
           "load_first(u + j, rest) * silu_slope(gate)", "load_first(u + j, rest) * silu(gate)"),
    Mutant("gelu: the last elements are left out", "cpu/activations.py", "formula:gelu",
           "        store_first(y + whole, function(load_first(x + whole, stop - whole)), stop - whole)",
           "        store_first(y + whole, load_first(x + whole, stop - whole), stop - whole)"),
    Mutant("rotary: turned on instead of back", "cpu/positions.py", "a_rotation_keeps_lengths_and_turns_back",
           "return _rotate(grad_output, cos, sin, -1.0)", "return _rotate(grad_output, cos, sin, 1.0)"),
    Mutant("dropout: one key word for all rows", "cpu/residual.py", "elements_are_dropped_as_the_generator_says",
           "    z += k1\n", ""),
    Mutant("dropout: dx not masked", "cpu/residual.py", "elements_are_dropped_as_the_generator_says",
           "                v *= keep(v, steps, j, key0, key1, least, scale)\n                store_first(dx",
           "                store_first(dx"),
    # --- loss
    Mutant("loss: mean over the ignored too", "cpu/loss.py", "formula:softmax_cross_entropy",
           "count += targets[r] != ignore", "count += 1"),
    Mutant("loss: smoothing not in the mean", "cpu/loss.py", "formula:softmax_cross_entropy",
           "splat(z, -smooth / n * factor)", "splat(z, -smooth / n)"),
    Mutant("loss: powers behind the last class", "cpu/loss.py", "formula:softmax_cross_entropy",
           "x = where_first(rest, power_of(x), zero)", "x = power_of(x)"),
    Mutant("loss: ignored rows keep old numbers", "cpu/loss.py", "ignored_rows_do_not_count",
           "store_first(grad + j, splat(z, 0.0), n - j)", "store_first(grad + j, splat(z, 1.0), n - j)"),
    # --- in place
    Mutant("embedding: the last one wins", "cpu/update.py", "every_id_gets_its_sum",
           "load_first(target + whole, rest) + load_first(source + whole, rest)", "load_first(source + whole, rest)"),
    Mutant("adamw: m without 1 − β₁", "cpu/update.py", "adamw_follows_its_formula",
           "g * (1.0 - beta1)", "g"),
    Mutant("adamw: no decay", "cpu/update.py", "adamw_follows_its_formula",
           "return w * decay - m", "return w - m"),
    Mutant("clip: an odd end is not measured", "cpu/update.py", "the_joint_norm_is_clipped",
           "    for j in range(whole, stop):\n        total +=", "    for j in range(stop, stop):\n        total +="),
    Mutant("clip: each array by its own norm's side", "cpu/update.py", "the_joint_norm_is_clipped",
           "if max_norm is not None and norm > max_norm:", "if max_norm is not None and norm < max_norm:"),
    # --- the reference
    Mutant("reference: what passed RMS norm by is lost", "formulas/norms.py", "what_passed_a_norm_by_is_added_to_its_gradient",
           "    dx *= rrms\n    if add is not None:\n        dx += add\n", "    dx *= rrms\n"),
    Mutant("reference: erf's large side", "formulas/activations.py", "formula:gelu",
           "xp.where(a > 0, 1 - tail, tail)", "xp.where(a > 1, 1 - tail, tail)"),
    Mutant("reference: linear's slope forgotten", "formulas/products.py", "derivative:linear",
           "dZ = dZ * slope_of(Z, activation)", "dZ = dZ * 1"),
    Mutant("reference: dropout draws without columns", "random.py", "elements_are_dropped_as_the_generator_says",
           "xp.arange(columns, dtype=uint32) * uint32(0x9E3779B9)", "xp.zeros(columns, dtype=uint32) * uint32(0x9E3779B9)"),
    Mutant("reference: AdamW's step not unbiased", "formulas/update.py", "adamw_follows_its_formula",
           "change *= lr * c / (1 - beta1**step)", "change *= lr * c"),
]  # fmt: skip


# Not bugs: other sizes of blocks. Nothing that the laws say may depend on them.
TILED = "formula:attention derivative:attention several_tiles_follow_the_formula causal_weights_are_a_triangle"
BLOCK_SIZES = [
    Mutant("32 keys in a tile", "cpu/attention_call.py", TILED, "KEYS = 96 ", "KEYS = 32 "),
    Mutant("160 keys in a tile", "cpu/attention_call.py", TILED, "KEYS = 96 ", "KEYS = 160 "),
    Mutant("128 bytes of queries in a tile", "cpu/attention_call.py", TILED, "ROW_BYTES = 256 ", "ROW_BYTES = 128 "),
    Mutant("keys in chunks of 8, backward", "cpu/attention_gradient.py", TILED, "SMALLEST_CHUNK = 256 ", "SMALLEST_CHUNK = 8 "),
    Mutant("many keys, backward", "cpu/attention_call.py", TILED, "FEW_KEYS = 256 ", "FEW_KEYS = 0 "),
    Mutant("keys in chunks of 16, decoding", "cpu/attention_decoding.py", "decoding_equals_attention",
           "CHUNK = 256 ", "CHUNK = 16 "),
    Mutant("16 k's in a block", "cpu/gemm.py", "formula:linear derivative:linear", "KC = 384 ", "KC = 16 "),
    Mutant("one panel in a block", "cpu/gemm.py", "formula:linear derivative:linear", "PANELS = 12 ", "PANELS = 1 "),
    Mutant("few rows of a turned A", "cpu/gemm.py", "formula:linear derivative:linear", "12 * ROWS", "ROWS"),
    Mutant("elements by 64", "cpu/activations.py", "formula:gelu formula:silu_mul", "BLOCK = 1 << 14 ", "BLOCK = 1 << 6 "),
    Mutant("two rows of a norm", "cpu/norms.py", "formula:layer_norm formula:rms_norm", "CHUNK_ROWS = 16 ", "CHUNK_ROWS = 2 "),
    Mutant("losses by threes", "cpu/loss.py", "formula:softmax_cross_entropy", "SUMMED = 16 ", "SUMMED = 3 "),
    Mutant("columns of a table by 16", "cpu/update.py", "every_id_gets_its_sum", "COLUMNS = 128 ", "COLUMNS = 16 "),
    Mutant("unit: one panel of rows in a block", "cpu/feed_forward_call.py", FUSED, "BLOCK = 4 ", "BLOCK = 1 "),
    Mutant("unit: 64 hidden units at a time", "cpu/feed_forward_gradient.py", FUSED, "GROUP = 4 ", "GROUP = 2 "),
    Mutant("unit: one panel of B in a block", "cpu/gemm_split.py", UNIT, "BLOCK = 4 ", "BLOCK = 1 "),
    Mutant("unit: 64 k's at once", "cpu/gemm_split.py", UNIT, "MOST_K = 512", "MOST_K = 64"),
    Mutant("unit: chunks of 64 k's", "cpu/gemm_chunks.py", CHUNKS, "CHUNK = 384 ", "CHUNK = 64 "),
]  # fmt: skip
