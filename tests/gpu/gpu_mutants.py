"""Seeded bugs in the CUDA C++: in each, a piece of a .cu or .cuh file is replaced, and the check beside it must notice.

A check is a law, run by g++ ("formula:attention" is equals_the_formula for that kernel, "half" the attention law in float16),
or "simulator": small calls in the PTX simulator, which sees races and accesses out of bounds that leave the numbers right;
"simulator_half" is attention there over several tiles in float16, on tensor cores.
A mutant whose text is no longer found exactly once is stale, and an error.
"""

from __future__ import annotations

from typing import NamedTuple

from minilm_kernels.gpu.compile import FOLDER


class Mutant(NamedTuple):
    name: str
    file: str  # in kernels/minilm_kernels/gpu
    check: str
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


FORWARD, QUERY, KEY = "attention_forward.cu", "attention_query_gradient.cu", "attention_key_gradient.cu"
PAIR_THERE = "__syncthreads();  // this pair is there, and the last one has been used\n"
USED = "__syncthreads();  // the last tile has been used\n"
W_THERE = "    __syncthreads();  // all of W is there, and V; K has been used\n"
NEXT_K = "    if (start + BN < end) start_tile<256, BN, DP, LD>(K, AT(k, b, h_kv), k_row, start + BN, Tk, D);\n"

MUTANTS = [
    # --- barriers and shared memory
    Mutant("no barrier after a tile is loaded", FORWARD, "formula:attention",
           "__syncthreads();  // K is there, and the last V has been used\n", "\n"),
    Mutant("no barrier before the next tile", FORWARD, "simulator", W_THERE + NEXT_K, NEXT_K + W_THERE),
    Mutant("no barrier before the weights are read", FORWARD, "simulator",
           W_THERE, "\n"),
    Mutant("no barrier before dS is read", QUERY, "simulator", "__syncthreads();  // all of dS is there\n", "\n"),
    Mutant("no barrier before the next queries", KEY, "several_tiles_follow_the_formula", USED, "\n"),
    Mutant("a sum is read before all warps wrote", "lanes.cuh", "formula:softmax_cross_entropy",
           "  if (lane == 0) shared[warp] = x;\n  __syncthreads();\n  A total",
           "  if (lane == 0) shared[warp] = x;\n  A total"),
    Mutant("a sum's memory is used again too early", "lanes.cuh", "simulator",
           "  total = sum_over<32>(total);\n  __syncthreads();\n", "  total = sum_over<32>(total);\n"),
    Mutant("threads leave before a barrier", FORWARD, "formula:attention",
           "  A acc[RM][RC] = {}, m[RM], l[RM];\n",
           "  A acc[RM][RC] = {}, m[RM], l[RM];\n  if (first + ty * RM >= Tq) return;\n"),
    Mutant("two tiles overlap", FORWARD, "formula:attention", "*W = V + BN * LD;", "*W = V + (BN - 1) * LD;"),
    Mutant("a tile keeps old numbers behind the end", "tiles.cuh", "simulator",
           "        for (int i = 0; i < V; i++) to[i] = zero;\n", "        for (int i = 0; i < 0; i++) to[i] = zero;\n"),
    # --- out of bounds
    Mutant("keys behind the last are read", "tiles.cuh", "simulator",
           "      if (first + r < count && c < width) {\n", "      if (c < width) {\n"),
    Mutant("rows behind the last are written", FORWARD, "simulator", "    if (query >= Tq) continue;\n", ""),
    Mutant("a part's last rows are behind the matrix", "sums.cu", "simulator",
           "const i64 end = min(rows, i64(part + 1) * part_rows);", "const i64 end = i64(part + 1) * part_rows;"),
    # --- addresses
    Mutant("the width for the stride", "tiles.cuh", "simulator",
           "as<S>(g[(first + r) * stride + c])", "as<S>(g[(first + r) * width + c])"),
    Mutant("the width for the stride, 16 bytes at a time", "tiles.cuh", "simulator",
           "(g + (first + r) * stride + c)", "(g + (first + r) * width + c)"),
    Mutant("groups interleaved", FORWARD, "grouped_queries_are_repeated_keys", "h_kv = h / (H / H_kv);", "h_kv = h % H_kv;"),
    Mutant("the padding of the first sequence for all", "scores.cuh", "formula:attention",
           "padding ? padding + i64(b) * Tk : padding", "padding ? padding : padding"),
    Mutant("a bias of the first head for all", "scores.cuh", "formula:attention",
           "bias ? bias + ((b) * mask_batch + (h) * mask_head) : bias", "bias ? bias + ((b) * mask_batch) : bias"),
    Mutant("one random row for all sequences", FORWARD, "formula:attention",
           "const i64 row0 = (i64(b) * H + h) * Tq + first + ty * RM;",
           "const i64 row0 = (i64(0) * H + h) * Tq + first + ty * RM;"),
    # --- formulas
    Mutant("scores not scaled", "scores.cuh", "formula:attention", "const A s = dot * scale;", "const A s = dot * A(LOG2E);"),
    Mutant("scores of whole tiles not scaled", "scores.cuh", "several_tiles_follow_the_formula",
           "each(part, [&](A dot, int, int) { return dot * scale; });",
           "each(part, [&](A dot, int, int) { return dot * A(LOG2E); });"),
    Mutant("the diagonal's tile counts as whole", "scores.cuh", "several_tiles_follow_the_formula",
           "key + BN - 1 > query + (Tk - Tq)", "key > query + (Tk - Tq)"),
    Mutant("the last keys' tile counts as whole", "scores.cuh", "several_tiles_follow_the_formula",
           "key + BN <= Tk", "key <= Tk"),
    Mutant("a tile with a mask counts as whole", "scores.cuh", "masks_of_every_form_mean_the_same",
           "return padding || bias || seen;", "return padding || bias;"),
    Mutant("causal mask one off", "scores.cuh", "causal_weights_are_a_triangle", "j > i + (Tk - Tq)", "j >= i + (Tk - Tq)"),
    Mutant("causal mask aligned to the start", "scores.cuh", "causal_weights_are_a_triangle",
           "if (causal && j > i + (Tk - Tq))", "if (causal && j > i)"),
    Mutant("a tile of keys too few", "scores.cuh", "causal_weights_are_a_triangle",
           "min(last_query, Tq - 1) + 1 + (Tk - Tq)", "min(last_query, Tq - 1) + (Tk - Tq)"),
    Mutant("a key's first queries are skipped", "scores.cuh", "simulator",
           "max(0, first_key - (Tk - Tq)) / tile", "max(0, first_key) / tile"),
    Mutant("bias in the wrong base", "scores.cuh", "formula:attention", "const A x = bias * A(LOG2E),", "const A x = bias,"),
    Mutant("a row without keys becomes NaN", "scores.cuh", "a_query_without_keys_is_zero_with_zero_gradient",
           "(m == minus_infinity<A>() ? A(0) : m)", "m"),
    Mutant("a row without keys is divided by 0", FORWARD, "a_query_without_keys_is_zero_with_zero_gradient",
           "l[i] == 0 ? A(0) : 1 / l[i]", "1 / l[i]"),
    Mutant("O not rescaled", FORWARD, "several_tiles_follow_the_formula", "acc[i][c] *= rescale;", "acc[i][c] *= 1;"),
    Mutant("l not rescaled", FORWARD, "several_tiles_follow_the_formula", "l[i] = l[i] * rescale", "l[i] = l[i]"),
    Mutant("dropout without the second key", "random.cuh", "dropout_drops_what_the_generator_says", "  z += key.k1;\n", ""),
    Mutant("the sum is of the weights that dropout left", FORWARD, "dropout_drops_what_the_generator_says",
           "        sum += w;\n        if (threshold) w *= keep(key[i], start + tx + 16 * j, threshold, kept);\n",
           "        if (threshold) w *= keep(key[i], start + tx + 16 * j, threshold, kept);\n        sum += w;\n"),
    Mutant("no sum at all", FORWARD, "formula:attention",
           "        sum += w;\n        if (threshold)", "        if (threshold)"),
    Mutant("dQ not scaled", QUERY, "formula:attention", "narrow<T>(acc[i][c] * scale)", "narrow<T>(acc[i][c])"),
    Mutant("no δ in dS", QUERY, "formula:attention", "w * (dw[i][j] - d[i])", "w * dw[i][j]"),
    Mutant("one head of a group", KEY, "grouped_queries_are_repeated_keys", "h < (h_kv + 1) * group", "h < h_kv * group + 1"),
    Mutant("dV without dropout", KEY, "dropout_drops_what_the_generator_says", "= w * kept_or_0;", "= w;"),
    Mutant("bias gradient of one sequence", "attention_bias_gradient.cu", "formula:attention", "b += result_B", "b += B"),
    Mutant("decode: parts not weighted", "attention_decode.cu", "decoding_equals_attention",
           "multiply_add(weight_of(set[W - 2], most), set[c], sum)", "sum + set[c]"),
    Mutant("decode: bias of a group's first head", "attention_decode.cu", "decoding_equals_attention",
           "h = h_kv * group + min(r, R - 1) / Tq;", "h = h_kv * group;"),
    Mutant("decode: bias of a group's first head, few rows", "attention_decode.cu", "simulator",
           "SCORE_OF(b, h_kv * group + row / Tq);", "SCORE_OF(b, h_kv * group);"),
    Mutant("decode: no barrier before the teams are joined", "attention_decode.cu", "simulator",
           "__syncthreads();  // all sets are there\n", "\n"),
    Mutant("decode: a team forgets its older keys", "attention_decode.cu", "simulator",
           "acc[r][i] *= rescale;", "acc[r][i] *= 0;"),
    # --- tensor cores
    Mutant("tensor: registers of A swapped", "tensor_core.cuh", "half",
           "p + lane % 16 * LD + lane / 16 * 8;", "p + (lane % 8 + lane / 16 * 8) * LD + lane / 8 % 2 * 8;"),
    Mutant("tensor: the same half of B twice", "tensor_core.cuh", "half", "a, q[0], q[2]);", "a, q[0], q[0]);"),
    Mutant("tensor: rows for columns", "tensor_core.cuh", "half", "load_square<LD, true>(v,", "load_square<LD, false>(v,"),
    Mutant("tensor: the sum of a lane for that of a row", "tensor_forward.cu", "half", "    l[r] = sum_over_row(l[r]);\n", ""),
    Mutant("tensor: no barrier before the next tile", "tensor_forward.cu", "simulator_half", PAIR_THERE, "\n"),
    Mutant("tensor: no barrier after a tile is loaded", "tensor_query_gradient.cu", "simulator_half", PAIR_THERE, "\n"),
    Mutant("tensor: no barrier before the next queries", "tensor_key_gradient.cu", "simulator_half", PAIR_THERE, "\n"),
    Mutant("tensor: nobody waits for a copy", "tensor_query_gradient.cu", "simulator_half", "    copies_done();\n", "\n"),
    Mutant("tensor: the wait comes after the barrier", "tensor_forward.cu", "simulator_half",
           "    copies_done();\n    " + PAIR_THERE, "    " + PAIR_THERE + "    copies_done();\n"),
    Mutant("tensor: the next tile over this one", "tensor_key_gradient.cu", "simulator_half",
           "start_pair(pair + 1);\n    const T *Q = tiles_at + pair % 2 * (2 * BM * LD)",
           "start_pair(pair + 1);\n    const T *Q = tiles_at + (pair + 1) % 2 * (2 * BM * LD)"),
    Mutant("tensor: keys behind the last are copied", "tiles.cuh", "simulator_half",
           "inside = first + row + r < count && c < width;", "inside = c < width;"),
    Mutant("tensor: keys eight apart mixed up", "tensor_key_gradient.cu", "half", "own + 8 * (e / 2)}", "own}"),
    Mutant("bfloat16 cut off, not rounded", "types.cuh", "half_sums",
           "(bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16", "bits >> 16"),
    # --- rows and updates
    Mutant("variance of numbers not centred", "norms.cu", "formula:layer_norm",
           "const A d = widen(x[j]) - mu;\n    square", "const A d = widen(x[j]);\n    square"),
    Mutant("an eighth of the rows left out", "norms.cu", "formula:layer_norm",
           "for (int i = 0; i < 8; i++)", "for (int i = 0; i < 7; i++)"),
    Mutant("what was summed below an older maximum stays as it was", "loss.cu", "formula:softmax_cross_entropy",
           "total *= power_of_e(own - x);", ""),
    Mutant("a thread's maximum is taken for the row's", "loss.cu", "formula:softmax_cross_entropy",
           "total * power_of_e(own - most)", "total"),
    Mutant("smoothing not in the target's part", "loss.cu", "formula:softmax_cross_entropy", "d -= 1 - smoothing;", "d -= 1;"),
    Mutant("rotary: turned on instead of back", "residual.cu", "a_rotation_keeps_lengths_and_turns_back",
           "s = widen(sin[angle]) * sign", "s = widen(sin[angle])"),
    Mutant("AdamW: m without 1 − β₁", "update.cu", "adamw_follows_its_formula", "rest1 * gi", "gi"),
    Mutant("embedding: each place adds the whole id", "update.cu", "every_id_gets_its_sum",
           "|| (first > 0 && ids[order[first - 1]] == id)", ""),
    Mutant("clip: the smaller norms are scaled", "sums.cu", "the_joint_norm_is_clipped",
           "norm > max_norm ?", "norm < max_norm ?"),
]  # fmt: skip
