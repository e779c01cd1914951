"""Networks by what a command line calls them.

Enters: a name of torchvision's or this study's, `timm:NAME`, or `FILE.py:FUNCTION` of the user's own; a file of
weights. Leaves: the network in eval mode with these weights.
"""

import importlib.util
import sys
from pathlib import Path

from torch import nn

from lib.images import networks, public
from lib.images.checkpoints import weights
from lib.images.files import shown
from lib.network import models, saving


def build(name: str, classes: int, path: Path) -> nn.Module:
    """The network called `name`, in eval mode, with the weights in `path`.

    A function of the user's own is called without arguments; what it returns has its own number of classes.

    Raises ValueError or OSError, in one line that names the culprit, where there is no such network or file, or weights
    do not fit.
    """
    model = models.inside(_built(name, classes))
    own = model.state_dict()
    counters = {key: value for key, value in own.items() if key.endswith("num_batches_tracked")}
    found = weights(path, own.keys() - counters.keys())
    try:
        saving.load(
            model, counters | public.named_here(name, own, found)
        )  # old files do not have the counters, and eval mode does not use them
    except ValueError as error:
        raise ValueError(f"{shown(path)} does not fit {shown(name)}: {error}") from error
    return model.eval()


def _built(name: str, classes: int) -> nn.Module:
    if name.startswith("timm:"):
        return _from_timm(name.removeprefix("timm:"), classes)
    file, colon, function = name.rpartition(":")
    if colon and file.endswith(".py"):
        return _from_file(Path(file), function)
    return networks.build(name, classes)


def _from_timm(name: str, classes: int) -> nn.Module:
    try:
        import timm
    except ImportError:
        raise ValueError(f"timm:{name} needs the package timm, which is not installed: pip install timm") from None
    try:
        return timm.create_model(name, pretrained=False, num_classes=classes)
    except Exception as error:  # whatever it raises for a name that it does not know
        raise ValueError(f"timm:{name} cannot be built: {models.first_line(error)}") from error


def _from_file(path: Path, function: str) -> nn.Module:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {shown(path)}, which should hold the function {function}")
    specification = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(specification)
    sys.path.insert(0, str(path.parent.resolve()))  # where it may import its neighbours from
    try:
        specification.loader.exec_module(module)
        if not callable(builder := getattr(module, function, None)):
            raise ValueError(f"there is no function {function} in it")
        if not isinstance(model := builder(), nn.Module):
            raise ValueError(f"{function}() returns a {type(model).__name__}, not an nn.Module")
    except Exception as error:  # a user's code may fail in any way
        raise ValueError(f"{shown(path)} gives no network: {models.first_line(error)}") from error
    finally:
        sys.path.remove(str(path.parent.resolve()))
    return model
