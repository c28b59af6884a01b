"""GGUF weights as a Hugging Face folder, made once and kept."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from idiolect.errors import MissingExtra, ModelError


def to_folder(gguf: Path, target: Path) -> Path:
    """Write ``gguf`` into the folder ``target`` (float16 safetensors, tokenizer, configuration) unless it is there.

    float16 holds what 8-bit blocks say to 1 part in 4096; bfloat16 would round eight times as coarsely.
    """
    if (target / "config.json").is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    made = target.with_name(f"{target.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        made.mkdir()
        _write(gguf, made)
        os.replace(made, target)
    except ImportError as error:
        raise MissingExtra("reading GGUF weights with PyTorch", "transformers") from error
    except (ValueError, KeyError, NotImplementedError) as error:
        raise ModelError(f"transformers cannot read {gguf} ({error})") from error
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # another process was quicker
            return target
        raise ModelError(f"{target} cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return target


def _write(gguf: Path, folder: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    # from_pretrained(gguf_file=...) would need the package accelerate, and its model refuses to be saved.
    config = AutoConfig.from_pretrained(gguf.parent, gguf_file=gguf.name)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    with no_progress_bars():
        tensors = load_gguf_checkpoint(str(gguf), return_tensors=True, model_to_load=model)["tensors"]
    halves = {name: tensor.to(torch.float16).contiguous() for name, tensor in tensors.items()}
    config.architectures, config.dtype = [type(model).__name__], "float16"
    config.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
    save_file(halves, folder / "model.safetensors", metadata={"format": "pt"})


@contextlib.contextmanager
def no_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing on the terminal of whoever loads a model."""
    from transformers.utils import logging

    was_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            logging.enable_progress_bar()
