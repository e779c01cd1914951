"""The command, once, on embedded data: what `make quickstart` runs.

Enters: nothing: a network is trained for a moment on scikit-learn's digits, scaled up. Leaves: its weights, the digits
as folders of images, and all that `python -m lib.prune` leaves; the command that it runs is printed.
"""

from lib.study import surroundings

if __name__ == "__main__":  # before anything else could act
    surroundings.end_silently()

import argparse
import shlex
import sys
from pathlib import Path

from lib.images import datasets, folders, networks, training
from lib.images.files import shown
from lib.network import saving
from lib.prune import __main__ as command
from lib.study import devices

NETWORK, PIXELS = "resnet20", 32
RECIPE = training.Recipe(epochs=4, batch=32, learning_rate=0.05, crop=2, flip=False)
EPOCHS = 8  # of distilling


def main() -> int:
    """Trains what is to be pruned, and prunes it; returns the exit status."""
    asked = argparse.ArgumentParser(description="Prune a network on embedded digits.")
    asked.add_argument("--out", type=Path, default=Path("results/quickstart"))
    asked.add_argument("--device", default="auto", choices=devices.NAMES)
    asked = asked.parse_args()
    digits, weights = folders.stand_in(asked.out / "digits", PIXELS), asked.out / "weights.safetensors"
    sets = folders.image_sets(digits, PIXELS)
    moments = datasets.statistics(sets[0].images)
    model = networks.build(NETWORK, len(sets[0].classes))
    print(f"training {NETWORK} on {len(sets[0])} digits for {RECIPE.epochs} epochs", file=sys.stderr)
    training.train(model, *sets, RECIPE, seed=0, device=devices.pick(asked.device), moments=moments)
    saving.save(model, weights, {})
    mean, std = ([f"{value:.4f}" for value in moment.tolist()] for moment in moments)
    words = [NETWORK, shown(digits / "train"), "--weights", shown(weights), "--classes", "10", "--pixels", str(PIXELS)]
    words += ["--mean", *mean, "--std", *std, "--budget", "0.5", "--distil", "--epochs", str(EPOCHS), "--no-flip"]
    words += ["--test", shown(digits / "test"), "--out", shown(asked.out), "--device", asked.device]
    print(shlex.join(["python", "-m", "lib.prune", *words]), flush=True)
    return command.main(words)


if __name__ == "__main__":
    sys.exit(main())
