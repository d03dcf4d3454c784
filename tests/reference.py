"""A pruned Vision Transformer in slow, plain numpy: loops over images, heads and patches, float64.

Written from the definitions, and shares nothing with the package but the names of the weights.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

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
    spec: Any,
    stages: Sequence[Stage],
    random_scores: Callable[[int], np.ndarray] | None = None,
) -> Forward:
    """The forward pass over [b, h, w, 3].

    `spec` says what the weights do not; `random_scores(m)` gives those of all images.
    """
    results = [
        _forward_one(weights, image, index, spec, stages, random_scores)
        for index, image in enumerate(np.asarray(images, np.float64))
    ]
    return Forward(
        np.stack([logits for logits, _, _ in results]),
        [np.stack([scores[i] for _, scores, _ in results]) for i in range(len(stages))],
        [np.stack([kept[i] for _, _, kept in results]) for i in range(len(stages))],
    )


def _forward_one(weights, image, image_index, spec, stages, random_scores):
    patch_size, eps = spec.patch_size, spec.norm_eps
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
    embedding = weights.get("pos_embed", np.zeros((1, len(tokens), 1)))[0]
    offset = len(tokens) - len(embedding)  # 0, or the prefix where it has no embedding
    tokens = [
        token + embedding[i - offset] if i >= offset else token for i, token in enumerate(tokens)
    ]
    if "norm_pre.scale" in weights:
        tokens = [_norm(weights, "norm_pre", token, eps) for token in tokens]

    sizes = [1.0] * len(tokens)
    scores_of_stages, kept_of_stages = [], []
    depth = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks."))
    for block in range(1, depth + 1):
        name = f"blocks.{block - 1}"
        normed = [_norm(weights, f"{name}.norm1", token, eps) for token in tokens]
        places = [-1] * num_prefix + [int(position) for position in positions]
        attention, keys, branch = _attention(weights, f"{name}.attn", normed, sizes, places, spec)
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
                    stage, attention, tokens, sizes, positions, num_prefix, draw, spec.class_token
                )
            scores_of_stages.append(np.array(scores))
            kept_of_stages.append(np.array(positions))
        branch = []
        for token in tokens:
            normed = _norm(weights, f"{name}.norm2", token, eps)
            branch.append(_mlp(weights, f"{name}.mlp", normed, spec.activation))
        tokens = [
            token + _scaled(weights, f"{name}.ls2", added) for token, added in zip(tokens, branch)
        ]
    if "norm.scale" in weights:
        tokens = [_norm(weights, "norm", token, eps) for token in tokens]
    first = 0 if spec.pool_prefix else num_prefix
    if spec.pool == "map":
        pooled = _attention_pool(weights, tokens[first:], sizes[first:], spec)
    elif spec.pool == "mean":
        pooled = sum(size * token for size, token in zip(sizes[num_prefix:], tokens[num_prefix:]))
        pooled = pooled / sum(sizes[num_prefix:])
    else:
        pooled = tokens[0]
    if "fc_norm.scale" in weights:
        pooled = _norm(weights, "fc_norm", pooled, eps)
    logits = _dense(weights, "head", pooled)
    if "head_dist.kernel" in weights:
        logits = (logits + _dense(weights, "head_dist", tokens[1])) / 2
    return logits, scores_of_stages, kept_of_stages


def _prune(stage, attention, tokens, sizes, positions, num_prefix, draw, has_class_token):
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
    sizes_left = [sizes[num_prefix + i] * (i in needed) for i in kept]
    places = [positions[i] if size else -2 for i, size in zip(kept, sizes_left)]
    dropped = [i for i in range(len(patches)) if i not in needed and there[i]]
    if stage.reducer == "fuse" and (len(kept) < len(patches) or stage.keep_mass < 1):
        cls_row = np.mean([head[0, num_prefix:] for head in attention], axis=0)
        if not has_class_token:
            shares = np.array(sizes[num_prefix:]) / sum(sizes[num_prefix:])
            cls_row = np.mean([shares @ head[num_prefix:, num_prefix:] for head in attention], 0)
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


def _attention(weights, name, tokens, sizes, places, spec):
    """The attention matrix of every head, the mean key of every token, and what is added to it."""
    length, width, num_heads = len(tokens), len(tokens[0]), spec.num_heads
    head_size = width // num_heads
    qkv = np.array([_dense(weights, f"{name}.qkv", token) for token in tokens])
    query, key, value = qkv[:, :width], qkv[:, width : 2 * width], qkv[:, 2 * width :]
    if f"{name}.qkv.q_bias" in weights:
        query = query + weights[f"{name}.qkv.q_bias"]
        value = value + weights[f"{name}.qkv.v_bias"]
    if spec.rotary is not None:
        for i, place in enumerate(places):
            if place >= 0:
                for start in range(0, width, head_size):
                    part = slice(start, start + head_size)
                    query[i, part] = _turned(query[i, part], place, spec)
                    key[i, part] = _turned(key[i, part], place, spec)
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


def _turned(vector, place, spec):
    """Each pair of channels as a complex number, turned by its own angle."""
    rotary, (rows, columns) = spec.rotary, spec.grid_size
    row, column = divmod(place, columns)
    if rotary.reference is None:
        y, x = (2 * math.pi * (2 * (i + 0.5) / n - 1) for i, n in ((row, rows), (column, columns)))
    else:
        y = (row + 1) * rotary.reference[0] / rows
        x = (column + 1) * rotary.reference[1] / columns
    half, quarter = len(vector) // 2, len(vector) // 4
    turned = np.empty(len(vector))
    for pair in range(half):
        coordinate = (x, y)[(pair < quarter) != rotary.columns_first]
        angle = coordinate / rotary.base ** (pair % quarter / quarter)
        one, other = (2 * pair, 2 * pair + 1) if rotary.interleaved else (pair, pair + half)
        number = complex(vector[one], vector[other]) * complex(math.cos(angle), math.sin(angle))
        turned[one], turned[other] = number.real, number.imag
    return turned


def _attention_pool(weights, tokens, sizes, spec):
    """What one query of its own gathers from the tokens, and an MLP of it."""
    name, width = "attn_pool", len(tokens[0])
    num_heads = spec.pool_heads or spec.num_heads
    query = _dense(weights, f"{name}.q", weights[f"{name}.latent"][0, 0])
    keys, values = np.split(np.array([_dense(weights, f"{name}.kv", t) for t in tokens]), 2, axis=1)
    outputs = []
    for part in np.split(np.arange(width), num_heads):
        powers = np.array(sizes) * np.exp(keys[:, part] @ query[part] / math.sqrt(len(part)))
        outputs.append(powers / powers.sum() @ values[:, part])
    pooled = _dense(weights, f"{name}.proj", np.concatenate(outputs))
    normed = _norm(weights, f"{name}.norm", pooled, spec.norm_eps)
    return pooled + _mlp(weights, f"{name}.mlp", normed, spec.activation)


def _mlp(weights, name, vector, activation):
    if activation == "swiglu":
        gate = _dense(weights, f"{name}.fc1_g", vector)
        hidden = gate / (1 + np.exp(-gate)) * _dense(weights, f"{name}.fc1_x", vector)
    else:
        act = {
            "gelu": lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))),
            "gelu_tanh": lambda x: (
                0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
            ),
            "quick_gelu": lambda x: x / (1 + math.exp(-1.702 * x)),
        }[activation]
        hidden = np.array([act(x) for x in _dense(weights, f"{name}.fc1", vector)])
    return _dense(weights, f"{name}.fc2", hidden)


def _dense(weights, name, vector):
    return vector @ weights[f"{name}.kernel"] + weights.get(f"{name}.bias", 0.0)


def _norm(weights, name, vector, eps):
    centred = vector - vector.mean()
    normed = centred / math.sqrt((centred**2).mean() + eps)
    return normed * weights[f"{name}.scale"] + weights[f"{name}.bias"]


def _scaled(weights, name, vector):
    return vector * weights[f"{name}.gamma"] if f"{name}.gamma" in weights else vector
