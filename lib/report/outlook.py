"""What scoring all of ImageNet would take, reckoned from what benchmarks measured on this machine.

Enters: the tables of `make benchmark`. Leaves: Markdown, whose every number comes from them but for the two facts
below. Nothing in it was measured on more than this machine, and it says so.
"""

from pathlib import Path

import pandas

from lib.report import provenance, tables

TITLE = "All of ImageNet, on paper"
IMAGES = 1_281_167  # training images of ImageNet-1k (Russakovsky et al. 2015, arXiv 1409.0575)
TRAINED = 938  # images a second, ResNet-50 in training on one A100 in TF32 (NVIDIA DeepLearningExamples, 2021)
GPUS, CORES = (1, 8, 64), 16  # and cores beside each of them
NEEDED = ("imagenet", "growth-images", "growth-processes")  # benchmarks


def imagenet(folder: Path) -> str:
    """A paragraph and a table for ResNet-50 on 1, 8 and 64 GPUs; "" where a benchmark that it needs is missing."""
    if not all((folder / f"{name}.csv").exists() for name in NEEDED):
        return ""
    here, images, processes = (pandas.read_csv(folder / f"{name}.csv") for name in NEEDED)
    by_task = here.set_index("task")
    scoring, decoding = by_task.loc["scoring"], by_task.loc["decoding"]
    rate, decoded = TRAINED / scoring["share"], decoding["images_per_second"]
    speed_up = processes["seconds"].iloc[0] / processes["seconds"].iloc[-1]
    fewest, most = processes["size"].iloc[[0, -1]]
    exponents = " and ".join(
        f"{round(images[f'{name}_exponent'].iloc[0], 2) + 0.0:.2f} for {words}"  # + 0.0: no "-0.00"
        for name, words in (("seconds", "time"), ("peak_mb", "memory"))
    )
    hours = IMAGES / scoring["images_per_second"] / 3600
    machine = provenance.in_words(*here[["device_name", "device", "threads"]].iloc[0])
    said = f"""All {IMAGES:,} training images of 224 pixels, ResNet-50, one criterion without labels. On
{machine} {scoring["images_per_second"]:.1f} images are scored a second,
in {scoring["share"]:.2f} of the time of a plain pass: {hours:.0f} hours in all, since from
{images["size"].min():,} to {images["size"].max():,} images (of 32 pixels, ResNet-20) the exponents are {exponents}.
{most} processes are {speed_up:.2f} times as fast as {fewest}, and exchange
{8 * scoring["units"] / 1000:.0f} kB per criterion once, at the end.

No GPU was measured. One that trains this network on {TRAINED} images a second (NVIDIA's figure for an A100 in TF32)
would at the same share score {rate:,.0f}. To be fed so fast it needs {rate / decoded:.0f} cores beside it, as one core
here decodes {decoded:.0f} JPEGs of 500 x 375 pixels a second; with {CORES} beside each GPU
{"decoding" if rate > CORES * decoded else "scoring"} takes longer. More GPUs with as many cores each divide both,
since they share nothing else:"""
    rows = [
        {
            "GPUs": count,
            "scoring (minutes)": IMAGES / rate / count / 60,
            f"decoding, {CORES} cores each (minutes)": IMAGES / decoded / CORES / count / 60,
        }
        for count in GPUS
    ]
    return f"{said}\n\n{tables.markdown(pandas.DataFrame(rows), 2)}"
