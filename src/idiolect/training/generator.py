"""A network that makes somebody's adapter in one pass from a vector that stands for them.

Profile-to-PEFT's task with Text-to-LoRA's design (arXiv:2506.06105, section 3): the vector, the layer and the kind of
module go through residual blocks, and a head for each kind of module gives its factors. All of it is numpy with
gradients written by hand, so that serving needs no PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from idiolect.training.factors import Factors, LowRank
from idiolect.training.modules import Place
from idiolect.training.user_encoder import pack, unpack
from idiolect.types import Floats

BLOCKS = 2
_EPSILON = 1e-5
Weights = Mapping[str, Floats]
Stacked = Mapping[str, Factors]
"""Factors of several people by module: ``a`` ``[people, rank, in]``, ``b`` ``[people, out, rank]``."""
Pull = Callable[[Stacked], dict[str, Floats]]
"""From the gradients of factors to those of the weights that made them."""
Back = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Generator:
    """Vectors of length ``dim`` to adapters of ``places``; ``weights`` are trained, ``fixed`` is not.

    No change of a module exceeds ``bound`` times the norm of its matrix, whatever the vector: who writes a person's
    records must not be able to take over the model.
    """

    places: tuple[Place, ...]
    rank: int
    scaling: float
    bound: float
    base_model: str
    weights: Weights
    fixed: Weights

    @staticmethod
    def new(
        places: Sequence[Place], vectors: Floats, rank: int, alpha: float, bound: float, width: int, base_model: str,
        seed: int = 0,
    ) -> Generator:  # fmt: skip
        """Return a generator whose adapters change nothing yet; ``vectors`` ``[people, dim]`` say how people spread."""
        rng, dim = np.random.default_rng(seed), vectors.shape[1]
        kinds = {place.kind: place for place in places}
        layers = max(place.layer for place in places) + 1
        centre = vectors.mean(axis=0)
        spread = np.sqrt(((vectors - centre) ** 2).sum(axis=1).mean(keepdims=True)) or np.ones(1)  # [1]
        weights = {"into": rng.normal(size=(dim, width)), "layer": rng.normal(size=(layers, width))}
        weights["kind"] = rng.normal(size=(len(kinds), width))
        for block in range(BLOCKS):
            weights[f"up{block}"] = rng.normal(size=(width, 2 * width)) * width**-0.5
            weights[f"up_bias{block}"] = np.zeros(2 * width)
            weights[f"down{block}"] = rng.normal(size=(2 * width, width)) * (2 * width) ** -0.5
        fixed = {"centre": centre, "spread": spread}
        for kind, place in kinds.items():
            weights[f"head/{kind}"] = np.zeros((width, rank * (place.inputs + place.outputs)))
            limit = place.inputs**-0.5
            fixed[f"start/{kind}"] = rng.uniform(-limit, limit, (rank, place.inputs))  # as LoRA's A begins
        return Generator(tuple(places), rank, alpha / rank, bound, base_model, _single(weights), _single(fixed))

    def forward(self, vectors: Floats) -> tuple[dict[str, Factors], Pull]:
        """Return the factors of people with vectors ``[people, dim]``, and the way back."""
        w, kinds = self.weights, list(dict.fromkeys(place.kind for place in self.places))
        seen = (vectors - self.fixed["centre"]) / self.fixed["spread"]
        layer = np.array([place.layer for place in self.places])
        kind = np.array([kinds.index(place.kind) for place in self.places])
        states = (seen @ w["into"])[:, None] + (w["layer"][layer] + w["kind"][kind])  # [people, places, width]
        blocks = []
        for block in range(BLOCKS):
            states, back = _block(states, w[f"up{block}"], w[f"up_bias{block}"], w[f"down{block}"])
            blocks.append(back)
        normal, unscale = _normal(states)
        made, pulls = dict[str, Factors](), dict[str, Callable[[Stacked], tuple[Floats, Floats]]]()
        for number, name in enumerate(kinds):
            factors, pulls[name] = self._head(name, normal[:, kind == number])
            made |= factors

        def pull(gradients: Stacked) -> dict[str, Floats]:
            out, towards = dict[str, Floats](), np.zeros_like(normal)
            for number, name in enumerate(kinds):
                out[f"head/{name}"], towards[:, kind == number] = pulls[name](gradients)
            towards = unscale(towards)
            for block in reversed(range(BLOCKS)):
                towards, slopes = blocks[block](towards)
                out |= {f"{part}{block}": slope for part, slope in slopes.items()}
            people = towards.sum(axis=0)  # [places, width]
            out["into"] = seen.T @ towards.sum(axis=1)
            for part, where in (("layer", layer), ("kind", kind)):
                out[part] = np.zeros_like(w[part])
                np.add.at(out[part], where, people)
            return out

        return made, pull

    def _head(self, kind: str, normal: Floats) -> tuple[dict[str, Factors], Callable[[Stacked], tuple[Floats, Floats]]]:
        # normal [people, places of this kind, width]
        places = [place for place in self.places if place.kind == kind]
        head, start = self.weights[f"head/{kind}"], self.fixed[f"start/{kind}"]
        people, inputs, outputs = len(normal), places[0].inputs, places[0].outputs
        raw = (normal.reshape(-1, head.shape[0]) @ head).reshape(people, len(places), -1)
        cut, length = self.rank * inputs, float(np.linalg.norm(start))
        most = np.array([self.bound * place.norm / (2 * length * self.scaling) for place in places], np.float32)
        a, back_a = _bounded(raw[..., :cut], np.full(len(places), length, np.float32))
        b, back_b = _bounded(raw[..., cut:], most)
        a = start + a.reshape(people, len(places), self.rank, inputs)
        b = b.reshape(people, len(places), outputs, self.rank)

        def pull(gradients: Stacked) -> tuple[Floats, Floats]:
            to_a = np.stack([gradients[place.name].a for place in places], axis=1).reshape(people, len(places), -1)
            to_b = np.stack([gradients[place.name].b for place in places], axis=1).reshape(people, len(places), -1)
            flat = np.concatenate([back_a(to_a), back_b(to_b)], axis=2).reshape(-1, head.shape[1])
            return normal.reshape(-1, head.shape[0]).T @ flat, (flat @ head.T).reshape(normal.shape)

        return {place.name: Factors(a[:, n], b[:, n]) for n, place in enumerate(places)}, pull

    def adapter(self, vector: Floats) -> LowRank:
        """Return the adapter of a person with a vector ``[dim]``."""
        made, _ = self.forward(vector[None])
        return LowRank({name: Factors(one.a[0], one.b[0]) for name, one in made.items()}, self.scaling, self.base_model)

    def with_weights(self, weights: Weights) -> Generator:
        """Return the same generator with other weights."""
        return replace(self, weights=weights)

    def dump(self) -> bytes:
        """Serialise, rounded to float16."""
        arrays = {f"w/{name}": one for name, one in self.weights.items()}
        arrays |= {f"f/{name}": one for name, one in self.fixed.items()}
        meta: dict[str, Any] = {"rank": self.rank, "scaling": self.scaling, "bound": self.bound}
        return pack(arrays, {**meta, "base_model": self.base_model, "places": [asdict(one) for one in self.places]})

    @staticmethod
    def load(data: bytes) -> Generator:
        """Inverse of :meth:`dump`, up to its rounding."""
        arrays, meta = unpack(data)
        parts = ({name[2:]: one for name, one in arrays.items() if name.startswith(sign)} for sign in ("w/", "f/"))
        places = tuple(Place(**one) for one in meta["places"])
        return Generator(places, meta["rank"], meta["scaling"], meta["bound"], meta["base_model"], *parts)


def _single(arrays: Mapping[str, Any]) -> dict[str, Floats]:
    return {name: one.astype(np.float32) for name, one in arrays.items()}


def _normal(states: Floats) -> tuple[Floats, Back]:
    """Return states with mean 0 and variance 1 over the last axis, and the way back."""
    centred = states - states.mean(axis=-1, keepdims=True)
    scale = 1 / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + _EPSILON)
    out = centred * scale

    def back(gradient: Floats) -> Floats:
        along = (gradient * out).mean(axis=-1, keepdims=True)
        found: Floats = scale * (gradient - gradient.mean(axis=-1, keepdims=True) - out * along)
        return found

    return out, back


def _block(
    states: Floats, up: Floats, bias: Floats, down: Floats
) -> tuple[Floats, Callable[[Floats], tuple[Floats, dict[str, Floats]]]]:
    # x + down(silu(up(LN(x)) + bias))
    normal, unscale = _normal(states)
    inner: Floats = normal @ up + bias
    gate: Floats = ((1 + np.tanh(inner / 2)) / 2).astype(inner.dtype)
    active: Floats = inner * gate

    def back(gradient: Floats) -> tuple[Floats, dict[str, Floats]]:
        below: Floats = (gradient @ down.T) * (gate * (1 + inner * (1 - gate)))
        wide = below.reshape(-1, below.shape[-1])
        slopes = {
            "up": normal.reshape(-1, normal.shape[-1]).T @ wide, "up_bias": wide.sum(axis=0),
            "down": active.reshape(-1, active.shape[-1]).T @ gradient.reshape(-1, gradient.shape[-1]),
        }  # fmt: skip
        towards: Floats = gradient + unscale(below @ up.T)
        return towards, slopes

    out: Floats = states + active @ down
    return out, back


def _bounded(raw: Floats, most: Floats) -> tuple[Floats, Back]:
    """Return vectors ``[people, places, n]`` shortened so that none is longer than ``most`` ``[places]``."""
    limit = most[None, :, None] ** 2
    scale = 1 / np.sqrt(1 + (raw**2).sum(axis=-1, keepdims=True) / limit)

    def back(gradient: Floats) -> Floats:
        along = (raw * gradient).sum(axis=-1, keepdims=True)
        found: Floats = scale * gradient - raw * (along * scale**3 / limit)
        return found

    return raw * scale, back
