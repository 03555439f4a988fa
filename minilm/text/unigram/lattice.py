r"""All cuts of all words at once: the arrays on which a Unigram model is trained.

A word of n characters has n + 1 nodes, the places between its characters. A piece that may stand from place s to
place e is an arc s → e. A cut of the word is a path from its first node to its last.

    "▁ab"    0 —▁→ 1 —a→ 2 —b→ 3        arcs: ▁ a b ▁a ab ▁ab
             0 ———▁a———→ 2
                    1 ———ab———→ 3
             0 —————▁ab—————→ 3

The nodes of all words stand in one row, and the arcs are sorted by how far from the start of their word they end
(`depth`). All arcs of one depth are handled together, in a few calls of NumPy for all words.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Arcs(NamedTuple):
    """starts, ends: (A,) nodes. pieces: (A,) which piece each arc is."""

    starts: np.ndarray
    ends: np.ndarray
    pieces: np.ndarray

    def select(self, which: np.ndarray) -> Arcs:
        return Arcs(self.starts[which], self.ends[which], self.pieces[which])


class Lattice:
    """The arcs of W words.

    lengths: (W,) characters of each word. arcs: in any order. weights: (W,) how often each word occurs.
    """

    def __init__(self, lengths: np.ndarray, arcs: Arcs, weights: np.ndarray) -> None:
        self.last_nodes = np.cumsum(lengths + 1) - 1
        self.first_nodes = self.last_nodes - lengths
        self.lengths, self.weights = lengths, weights
        nodes = int(self.last_nodes[-1]) + 1
        self.word_of_node = np.repeat(np.arange(len(lengths)), lengths + 1)
        self.depth = np.arange(nodes) - np.repeat(self.first_nodes, lengths + 1)
        # by end: for each depth a slice of arcs, in it the arcs of one end node side by side
        by_end = np.argsort(self.depth[arcs.ends] * nodes + arcs.ends, kind="stable")
        self.arcs = arcs.select(by_end)
        self._forward = _levels(self.arcs.ends, self.depth)
        by_start = np.argsort(self.depth[self.arcs.starts] * nodes + self.arcs.starts, kind="stable")
        self._by_start = by_start
        self._backward = _levels(self.arcs.starts[by_start], self.depth)

    def without(self, kept: np.ndarray, new_number: np.ndarray) -> Lattice:
        """The lattice with only the pieces for which kept[piece]; they get the numbers new_number[piece]."""
        arcs = self.arcs.select(kept[self.arcs.pieces])
        return Lattice(self.lengths, arcs._replace(pieces=new_number[arcs.pieces]), self.weights)

    def forward(self, scores: np.ndarray) -> np.ndarray:  # [eq:unigram-forward]
        r"""a(e) = log Σ over arcs s→e of exp(a(s) + log p),   a(first node) = 0.

        exp a(e) is the summed probability of all cuts of what stands before e. scores: (pieces,) log p.
        Returns (nodes,), −∞ where no path leads.
        """
        a = np.full(len(self.depth), -np.inf)
        a[self.first_nodes] = 0
        for arcs, groups, nodes in self._forward:
            a[nodes] = _log_sum(a[self.arcs.starts[arcs]] + scores[self.arcs.pieces[arcs]], groups)
        return a

    def backward(self, scores: np.ndarray) -> np.ndarray:
        r"""b(s) = log Σ over arcs s→e of exp(log p + b(e)),   b(last node) = 0: the same from the other end."""
        b = np.full(len(self.depth), -np.inf)
        b[self.last_nodes] = 0
        for place, groups, nodes in reversed(self._backward):
            arcs = self._by_start[place]
            b[nodes] = _log_sum(scores[self.arcs.pieces[arcs]] + b[self.arcs.ends[arcs]], groups)
        return b

    def expected_counts(self, scores: np.ndarray) -> tuple[np.ndarray, float]:  # [eq:unigram-expected-counts]
        r"""How often each piece occurs on average over all cuts, each weighed by its probability; and the likelihood.

            P(arc s→e in the cut of x) = exp(a(s) + log p + b(e)) / P(x),       P(x) = exp a(last node)
            count(z) = Σ_x weight(x) Σ over arcs of z  P(arc in the cut of x)

        Returns (counts (pieces,), L = Σ_x weight(x) log P(x)).
        """
        a, b = self.forward(scores), self.backward(scores)
        arcs = self.arcs
        log_probability = a[self.last_nodes]
        words = self.word_of_node[arcs.starts]
        share = np.exp(a[arcs.starts] + scores[arcs.pieces] + b[arcs.ends] - log_probability[words])
        counts = np.bincount(arcs.pieces, share * self.weights[words], minlength=len(scores))
        return counts, float(self.weights @ log_probability)

    def best_counts(self, scores: np.ndarray) -> np.ndarray:
        """(pieces,) how often each piece occurs in the best cuts of all words, by Viterbi."""
        counts = np.zeros(len(scores))
        for words, arcs in self.best_arcs(scores):
            counts += np.bincount(self.arcs.pieces[arcs], self.weights[words], minlength=len(scores))
        return counts

    def best_arcs(self, scores: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """The best cut of every word, from its end: in entry k the k-th last arc of each word that has so many.

        Returns [(words, their arcs)]. A word without any cut has no arc.
        """
        best = np.full(len(self.depth), -np.inf)
        best[self.first_nodes] = 0
        chosen = np.full(len(self.depth), -1)
        for arcs, groups, nodes in self._forward:
            totals = best[self.arcs.starts[arcs]] + scores[self.arcs.pieces[arcs]]
            best[nodes] = np.maximum.reduceat(totals, groups)
            winners = np.flatnonzero(totals == np.repeat(best[nodes], np.diff(groups, append=len(totals))))
            # of equal ones the first: written last
            chosen[self.arcs.ends[arcs][winners[::-1]]] = arcs.start + winners[::-1]
        path: list[tuple[np.ndarray, np.ndarray]] = []
        words = np.flatnonzero(np.isfinite(best[self.last_nodes]) & (self.lengths > 0))
        nodes = self.last_nodes[words]
        while len(words):
            last = chosen[nodes]
            path.append((words, last))
            nodes = self.arcs.starts[last]
            going = nodes > self.first_nodes[words]
            words, nodes = words[going], nodes[going]
        return path


Level = tuple[slice, np.ndarray, np.ndarray]  # the arcs of one depth; where each node's begin among them; the nodes


def _levels(nodes: np.ndarray, depth: np.ndarray) -> list[Level]:
    """The arcs, sorted by the depth of `nodes` and then by node, as one entry for each depth."""
    if not len(nodes):
        return []
    firsts = np.flatnonzero(np.diff(nodes, prepend=-1))  # the first arc of each node
    edges = np.flatnonzero(np.diff(depth[nodes], prepend=-1))  # the first arc of each depth
    levels = []
    for start, end in zip(edges, [*edges[1:], len(nodes)]):
        mine = firsts[np.searchsorted(firsts, start) : np.searchsorted(firsts, end)]
        levels.append((slice(int(start), int(end)), mine - start, nodes[mine]))
    return levels


def _log_sum(x: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """log Σ exp over each group of x; the group's maximum is taken out first, so that exp cannot underflow to 0."""
    top = np.maximum.reduceat(x, groups)
    top = np.where(np.isfinite(top), top, 0.0)
    sizes = np.diff(groups, append=len(x))
    sums = np.add.reduceat(np.exp(x - np.repeat(top, sizes)), groups)
    with np.errstate(divide="ignore"):  # a node that no path reaches: log 0 = −∞
        return top + np.log(sums)
