"""A pruned Vision Transformer in slow, plain numpy: loops over images, heads and patches, float64.

Written from the definitions, and shares nothing with the package but the names of the weights.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from flax import nnx


class Stage(NamedTuple):
    """One pruned block: its number, counted from 1, and what it does."""

    block: int
    criterion: str
    alpha: float
    keep_rate: str
    reducer: str = "drop"
    normalize: bool = True
    heads: str = "mean"
    keep_mass: float = 1.0
    r: int | None = None
    prefix_keys: bool = False
    reverse: bool = False


class Forward(NamedTuple):
    """Logits [b, classes]; per stage the importance [b, m] and the kept positions [b, k]."""

    logits: np.ndarray
    scores: list[np.ndarray]
    kept: list[np.ndarray]


def weights_of(model: nnx.Module) -> dict[str, np.ndarray]:
    """The weights by dotted name, in float64."""
    flat = nnx.to_flat_state(nnx.split(model)[1])
    return {".".join(map(str, path)): np.asarray(value[...], np.float64) for path, value in flat}


def forward(
    weights: dict[str, np.ndarray],
    images: np.ndarray,
    *,
    patch_size: int,
    num_heads: int,
    stages: Sequence[Stage],
    random_scores: Callable[[int], np.ndarray] | None = None,
) -> Forward:
    """The forward pass over [b, h, w, 3]; `random_scores(m)` gives those of all images."""
    results = [
        _forward_one(weights, image, index, patch_size, num_heads, stages, random_scores)
        for index, image in enumerate(np.asarray(images, np.float64))
    ]
    return Forward(
        np.stack([logits for logits, _, _ in results]),
        [np.stack([scores[i] for _, scores, _ in results]) for i in range(len(stages))],
        [np.stack([kept[i] for _, _, kept in results]) for i in range(len(stages))],
    )


def _forward_one(weights, image, image_index, patch_size, num_heads, stages, random_scores):
    stage_of = {stage.block: stage for stage in stages}

    def draw(size):
        return list(random_scores(size)[image_index])

    tokens = []
    for top in range(0, image.shape[0], patch_size):
        for left in range(0, image.shape[1], patch_size):
            pixels = image[top : top + patch_size, left : left + patch_size].reshape(-1)
            tokens.append(_dense(weights, "patch_embed.proj", pixels))
    positions = list(range(len(tokens)))
    prefix = [
        row
        for name in ("cls_token", "dist_token", "reg_token")
        if name in weights
        for row in weights[name][0]
    ]
    num_prefix = len(prefix)
    tokens = prefix + tokens
    embedding = weights["pos_embed"][0]
    offset = len(tokens) - len(embedding)  # 0, or the prefix where it has no embedding
    tokens = [
        token + embedding[i - offset] if i >= offset else token for i, token in enumerate(tokens)
    ]

    sizes = [1.0] * len(tokens)
    scores_of_stages, kept_of_stages = [], []
    depth = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks."))
    for block in range(1, depth + 1):
        name = f"blocks.{block - 1}"
        normed = [_norm(weights, f"{name}.norm1", token) for token in tokens]
        attention, keys, branch = _attention(weights, f"{name}.attn", normed, sizes, num_heads)
        tokens = [
            token + _scaled(weights, f"{name}.ls1", added) for token, added in zip(tokens, branch)
        ]
        if block in stage_of:
            stage = stage_of[block]
            if stage.reducer == "merge":
                scores, tokens, sizes, positions = _merge(
                    stage, keys, tokens, sizes, positions, num_prefix
                )
            else:
                scores, tokens, sizes, positions = _prune(
                    stage, attention, tokens, sizes, positions, num_prefix, draw
                )
            scores_of_stages.append(np.array(scores))
            kept_of_stages.append(np.array(positions))
        branch = []
        for token in tokens:
            hidden = _dense(weights, f"{name}.mlp.fc1", _norm(weights, f"{name}.norm2", token))
            hidden = np.array([0.5 * x * (1 + math.erf(x / math.sqrt(2))) for x in hidden])
            branch.append(_dense(weights, f"{name}.mlp.fc2", hidden))
        tokens = [
            token + _scaled(weights, f"{name}.ls2", added) for token, added in zip(tokens, branch)
        ]
    tokens = [_norm(weights, "norm", token) for token in tokens]
    logits = _dense(weights, "head", tokens[0])
    if "head_dist.kernel" in weights:
        logits = (logits + _dense(weights, "head_dist", tokens[1])) / 2
    return logits, scores_of_stages, kept_of_stages


def _prune(stage, attention, tokens, sizes, positions, num_prefix, draw):
    patches, there = tokens[num_prefix:], [size > 0 for size in sizes[num_prefix:]]
    if stage.criterion == "random":
        scores = draw(len(patches))
    else:
        scores = importance(attention, num_prefix, stage)
    scores = [-score for score in scores] if stage.reverse else scores
    scores = [score if real else -math.inf for score, real in zip(scores, there)]
    kept = kept_indices(scores, stage.keep_rate)
    needed = kept if stage.keep_mass == 1 else needed_indices(scores, kept, stage.keep_mass)
    reduced = [patches[i] for i in kept]
    sizes_left = [float(there[i] and i in needed) for i in kept]
    places = [positions[i] if size else -2 for i, size in zip(kept, sizes_left)]
    dropped = [i for i in range(len(patches)) if i not in needed and there[i]]
    if stage.reducer == "fuse" and (len(kept) < len(patches) or stage.keep_mass < 1):
        cls_row = np.mean([head[0, num_prefix:] for head in attention], axis=0)
        reduced.append(sum((cls_row[i] * patches[i] for i in dropped), 0 * patches[0]))
        places.append(-1 if dropped else -2)
        sizes_left.append(1.0 if dropped else 0.0)
    return scores, tokens[:num_prefix] + reduced, sizes[:num_prefix] + sizes_left, places


def needed_indices(scores: list[float], kept: list[int], keep_mass: float) -> list[int]:
    """The fewest of `kept`, the best first, that hold the share of the mass log n - H."""
    number = sum(score > -math.inf for score in scores)
    mass = [max(math.log(number) + score, 0.0) for score in scores]
    needed: list[int] = []
    for i in sorted(kept, key=lambda i: (-scores[i], i)):
        if needed and sum(mass[j] for j in needed) >= keep_mass * sum(mass):
            break
        needed.append(i)
    return needed


def _merge(stage, keys, tokens, sizes, positions, num_prefix):
    """ToMe: tokens at even places, counted with the prefix, merge into those at odd places."""
    length = len(tokens)
    sources = [i for i in range(num_prefix, length) if i % 2 == 0]
    sinks = [i for i in range(num_prefix, length) if i % 2 == 1]
    best = {}
    for i in sources:
        cosines = [
            keys[i] @ keys[j] / math.sqrt(keys[i] @ keys[i] * (keys[j] @ keys[j])) for j in sinks
        ]
        best[i] = max(zip(cosines, sinks))
    removed = stage.r
    if removed is None:
        removed = len(positions) - math.ceil(Fraction(stage.keep_rate) * len(positions))
    merged = sorted(sources, key=lambda i: -best[i][0])[: min(removed, len(positions) // 2)]
    scores = [-best[i][0] if i in best else 1.0 for i in range(num_prefix, length)]
    if not merged:
        return scores, tokens, sizes, positions
    groups = {i: [i] for i in range(length) if i not in merged}
    for i in merged:
        groups[best[i][1]].append(i)
    order = [*range(num_prefix), *(i for i in sources if i not in merged), *sinks]
    averaged = [
        sum(sizes[j] * tokens[j] for j in groups[i]) / sum(sizes[j] for j in groups[i])
        for i in order
    ]
    places = [positions[i - num_prefix] for i in order[num_prefix:]]
    return scores, averaged, [sum(sizes[j] for j in groups[i]) for i in order], places


def importance(attention: list[np.ndarray], num_prefix: int, stage: Stage) -> list[float]:
    """The score of every patch, from the [n, n] attention matrices of the heads."""
    length = len(attention[0])
    patches = range(num_prefix, length)
    if stage.criterion == "cls_attention":
        return [np.mean([head[0, j] for head in attention]) for j in patches]
    if stage.criterion in ("head_variance", "head_mad"):
        spread = {"head_variance": np.var, "head_mad": median_deviation}[stage.criterion]
        return [spread([head[0, j] for head in attention]) for j in patches]
    if stage.criterion in ("received_attention", "column_norm"):
        if stage.normalize:
            shares = [head[:, num_prefix:].sum(axis=1, keepdims=True) for head in attention]
            attention = [head / share for head, share in zip(attention, shares)]
        if stage.criterion == "received_attention":
            return [np.mean([head[i, j] for head in attention for i in patches]) for j in patches]
        if stage.heads == "average_first":
            attention = [sum(attention) / len(attention)]
        columns = [[head[num_prefix:, j] for head in attention] for j in patches]
        return [np.mean([norm(column, stage.alpha) for column in each]) for each in columns]
    if stage.criterion == "sharp_received":
        scores = np.zeros(length - num_prefix)
        for head in attention:
            for i in patches:
                row = head[i, num_prefix:] / head[i, num_prefix:].sum()
                scores += math.exp(-entropy(row, stage.alpha)) * row / len(attention)
        return list(scores)
    order = {"renyi": stage.alpha, "shannon": 1.0, "min_entropy": math.inf}[stage.criterion]
    if stage.heads == "average_first":
        attention = [sum(attention) / len(attention)]
    scores = []
    for i in patches:
        entropies = []
        for head in attention:
            row = head[i, 0 if stage.prefix_keys else num_prefix :]
            entropies.append(entropy(row / row.sum() if stage.normalize else row, order))
        scores.append(-np.mean(entropies))
    return scores


def median_deviation(values: Sequence[float]) -> float:
    """The median distance from the median."""
    return float(np.median([abs(value - np.median(values)) for value in values]))


def norm(column: np.ndarray, order: float) -> float:
    """The L_n norm, taken literally."""
    return max(column) if order == math.inf else sum(x**order for x in column) ** (1 / order)


def entropy(row: np.ndarray, alpha: float) -> float:
    """Rényi's formula, taken literally."""
    if alpha == 1:
        return -sum(p * math.log(p) for p in row if p > 0)
    if alpha == math.inf:
        return -math.log(max(row))
    return math.log(sum(p**alpha for p in row)) / (1 - alpha)


def kept_indices(scores: Sequence[float], keep_rate: str) -> list[int]:
    """The best `ceil(r N)`, ties to the lower index, in their order; `keep_rate` is a decimal."""
    count = math.ceil(Fraction(keep_rate) * len(scores))
    return sorted(sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:count])


def _attention(weights, name, tokens, sizes, num_heads):
    """The attention matrix of every head, the mean key of every token, and what is added to it."""
    length, width = len(tokens), len(tokens[0])
    head_size = width // num_heads
    qkv = np.array([_dense(weights, f"{name}.qkv", token) for token in tokens])
    query, key, value = qkv[:, :width], qkv[:, width : 2 * width], qkv[:, 2 * width :]
    matrices, outputs = [], []
    for head in range(num_heads):
        part = slice(head * head_size, (head + 1) * head_size)
        matrix = np.zeros((length, length))
        for i in range(length):
            logits = [query[i, part] @ key[j, part] / math.sqrt(head_size) for j in range(length)]
            powers = np.array(sizes) * np.exp(np.array(logits) - max(logits))
            matrix[i] = powers / powers.sum()
        matrices.append(matrix)
        outputs.append(matrix @ value[:, part])
    joined = np.concatenate(outputs, axis=1)
    keys = key.reshape(length, num_heads, head_size).mean(axis=1)
    return matrices, keys, [_dense(weights, f"{name}.proj", row) for row in joined]


def _dense(weights, name, vector):
    return vector @ weights[f"{name}.kernel"] + weights[f"{name}.bias"]


def _norm(weights, name, vector):
    centred = vector - vector.mean()
    normed = centred / math.sqrt((centred**2).mean() + 1e-6)
    return normed * weights[f"{name}.scale"] + weights[f"{name}.bias"]


def _scaled(weights, name, vector):
    return vector * weights[f"{name}.gamma"] if f"{name}.gamma" in weights else vector
