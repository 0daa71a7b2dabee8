"""Reading released checkpoints of ImageBind and of Point-BERT: checked key by key, never executed."""

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from encoders.imagebind import ImageBind, ImageBindConfig
from encoders.points import PointConfig, PointEncoder


def load_imagebind(
    path: str | Path, config: ImageBindConfig | None = None, dtype: torch.dtype = torch.float32
) -> ImageBind:
    """``imagebind_huge.pth``, or the same as safetensors, in evaluation mode; ``config`` where it is another size.

    Weights narrower or wider than ``dtype`` are cast. Raises ValueError that names the first missing, unknown,
    wrongly shaped or not finite entry, and for a file that holds more than tensors.
    """
    path = Path(path)
    state = read_state(path)
    with torch.device("meta"):
        model = ImageBind(ImageBindConfig.huge() if config is None else config)
    check_state(state, model.state_dict(), str(path))
    model.load_state_dict({name: value.to(dtype) for name, value in state.items()}, assign=True)
    return model.eval()


def load_points(path: str | Path, config: PointConfig | None = None) -> PointEncoder:
    """A published point encoder with the names of :class:`PointEncoder`, in evaluation mode; refused as above."""
    encoder = PointEncoder(PointConfig() if config is None else config)
    state, expected = (
        {name: value for name, value in values.items() if not name.endswith("num_batches_tracked")}
        for values in (read_state(Path(path)), encoder.state_dict())
    )
    check_state(state, expected, str(path))
    encoder.load_state_dict(state)
    return encoder.eval()


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a .safetensors file or of a PyTorch archive, mapped into memory rather than read."""
    if not path.is_file():
        raise ValueError(f"there is no checkpoint {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, SafetensorError, EOFError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} is not a file of tensors alone, and nothing else is read: {reason}") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"{path} holds something other than a state dict: expected names and tensors")
    return state


def check_state(state: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], source: str) -> None:
    """Raise ValueError unless ``state`` has exactly the names and shapes of ``expected``, and finite values."""
    if missing := [name for name in expected if name not in state]:
        raise ValueError(f"{source} lacks {len(missing)} of {len(expected)} entries, the first is {missing[0]!r}")
    if unknown := [name for name in state if name not in expected]:
        raise ValueError(f"{source} has {len(unknown)} unknown entries, the first is {unknown[0]!r}")
    for name, value in state.items():
        if value.shape != expected[name].shape:
            found, wanted = tuple(value.shape), tuple(expected[name].shape)
            raise ValueError(f"{source}: {name!r} has shape {found}, expected {wanted}")
        if not name.endswith(".mask") and not value.isfinite().all():  # the causal mask is made of -inf
            raise ValueError(f"{source}: {name!r} holds values that are not finite")
