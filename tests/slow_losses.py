"""Losses of embeddings as loops over triplets and pairs, that a reader can believe; and the batch of their tests."""

import math

import numpy as np
import pytest
from slow_forms import normal

# The last image is alone in its class: as an anchor it has no positive.
LABELS = np.array([0, 0, 1, 1, 1, 2, 2, 3])
CLASSES = 4
KEY = np.array([3, 5], np.int32)


def embeddings(channels=4, seed=0):
    """`(8, channels)` of the images with the `LABELS`, which are a little like the others of their class."""
    return normal(seed, CLASSES, channels)[LABELS] + normal(seed + 1, len(LABELS), channels)


def unit(x):
    return x / np.sqrt((x**2).sum(-1, keepdims=True))


def assert_slopes(gradient, function, x):
    """That a gradient at x is that of a function, by its values a little to both sides, along random directions."""
    for seed in range(3):
        direction = normal(seed, *x.shape)
        numeric = (function(x + 1e-6 * direction) - function(x - 1e-6 * direction)) / 2e-6
        assert (gradient * direction).sum() == pytest.approx(numeric, rel=1e-5, abs=1e-8)


# Distances and similarities of two images


def between(x, compare):
    """`compare(x[i], x[j])` as a function of the places i and j in a batch."""
    return lambda i, j: compare(x[i], x[j])


def vector_distance(a, b):
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(unit(a), unit(b), strict=True)) + 1e-6)


def vector_similarity(a, b):
    return sum(x * y for x, y in zip(unit(a), unit(b), strict=True))


def described(cells):
    """The whole image and its cells, as vectors of length one, of cells `(h, w, c)`: as DIML describes it."""
    cells = cells.reshape(-1, cells.shape[-1])
    return unit(cells.mean(0)), unit(cells)


def slow_plan(a, b, sweeps=20, entropy=0.05, swap_marginals=False):
    """The transport plan of two images, in Sinkhorn's manner."""
    (whole, cells), (other_whole, other_cells) = described(a), described(b)
    u = np.array([max(cell @ other_whole, 0) for cell in cells])
    v = np.array([max(cell @ whole, 0) for cell in other_cells])
    u, v = u / u.sum(), v / v.sum()
    if swap_marginals:
        u, v = v, u
    kernel = np.array([[math.exp(-(1 - cell @ other) / entropy) for other in other_cells] for cell in cells])
    columns = np.ones(len(v))
    for _ in range(sweeps):
        rows = u / (kernel @ columns)
        columns = v / (kernel.T @ rows)
    return rows[:, None] * kernel * columns


def cell_distance(a, b, plan):
    """½(Σ T_rs d_rs + d of the whole images), of maps whose pixels are the cells."""
    (whole, cells), (other_whole, other_cells) = described(a), described(b)
    total = vector_distance(whole, other_whole)
    for r, s in np.ndindex(plan.shape):
        total += plan[r, s] * vector_distance(cells[r], other_cells[s])
    return total / 2


def cell_similarity(a, b, plan):
    """½(Σ T_rs s_rs + Σ T_rs · cos), likewise."""
    (whole, cells), (other_whole, other_cells) = described(a), described(b)
    total = plan.sum() * vector_similarity(whole, other_whole)
    for r, s in np.ndindex(plan.shape):
        total += plan[r, s] * vector_similarity(cells[r], other_cells[s])
    return total / 2


# The losses. `between(i, j)` is the distance, or the similarity, of two images of the batch. `triplets` are (anchor,
# positive, negative).


def slow_contrastive(labels, triplets, between, positive_margin=0.0, negative_margin=1.0):
    total = 0.0
    for a, p, n in triplets:
        total += max(between(a, p) - positive_margin, 0) + max(negative_margin - between(a, n), 0)
    return total / len(triplets)


def slow_triplet(labels, triplets, between, margin=0.2, squared=True):
    power = 2 if squared else 1
    total = 0.0
    for a, p, n in triplets:
        total += max(between(a, p) ** power - between(a, n) ** power + margin, 0)
    return total / len(triplets)


def slow_margin(labels, triplets, between, betas, margin=0.2, nu=0.0, every_beta=False):
    total, active = 0.0, 0
    for a, p, n in triplets:
        for other, _, _ in triplets if every_beta else [(a, p, n)]:
            beta = betas[labels[other]]
            nearer = max(between(a, p) - beta + margin, 0)
            farther = max(beta - between(a, n) + margin, 0)
            total += nearer + farther
            active += nearer > 0 or farther > 0
    return total / max(active, 1) + nu * sum(betas[labels[a]] for a, _, _ in triplets)


def slow_multi_similarity(labels, between, alpha=2.0, beta=40.0, base=0.5, epsilon=0.1):
    losses = []
    for a in range(len(labels)):
        positives = [between(a, i) for i in range(len(labels)) if i != a and labels[i] == labels[a]]
        negatives = [between(a, i) for i in range(len(labels)) if labels[i] != labels[a]]
        if not positives or not negatives:
            continue
        kept_positives = [s for s in positives if s - epsilon < max(negatives)]
        kept_negatives = [s for s in negatives if s + epsilon > min(positives)]
        if not kept_positives or not kept_negatives:
            continue
        together = math.log(1 + sum(math.exp(-alpha * (s - base)) for s in kept_positives)) / alpha
        apart = math.log(1 + sum(math.exp(beta * (s - base)) for s in kept_negatives)) / beta
        losses.append(together + apart)
    return sum(losses) / len(losses) if losses else 0.0


def slow_proxy_anchor(x, labels, proxies, alpha=32.0, margin=0.1):
    pulled, pushed, there = 0.0, 0.0, 0
    for n, proxy in enumerate(proxies):
        own = [vector_similarity(image, proxy) for image, label in zip(x, labels, strict=True) if label == n]
        others = [vector_similarity(image, proxy) for image, label in zip(x, labels, strict=True) if label != n]
        there += bool(own)
        pulled += math.log(1 + sum(math.exp(-alpha * (s - margin)) for s in own))
        pushed += math.log(1 + sum(math.exp(alpha * (s + margin)) for s in others))
    return pulled / there + pushed / len(proxies)


def slow_normalized_softmax(x, labels, proxies, temperature=0.05):
    total = 0.0
    for image, label in zip(x, labels, strict=True):
        exponentials = [math.exp(vector_similarity(image, proxy) / temperature) for proxy in proxies]
        total -= math.log(exponentials[label] / sum(exponentials))
    return total / len(x)
