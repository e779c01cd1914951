"""report.outlook: reckoned from tables, by hand."""

import pandas

from lib.report import outlook


def write(folder, **changes):
    facts = {"device": "cpu", "device_name": "One EPYC", "threads": 2}
    here = {"task": ["plain pass", "scoring", "decoding"], "share": [1, 0.5, None], "images_per_second": [5, 10, 100]}
    pandas.DataFrame(here | facts | {"units": 1000} | changes).to_csv(folder / "imagenet.csv", index=False)
    images = {"size": [1000, 100_000], "seconds_exponent": 0.99, "peak_mb_exponent": 0.01}
    pandas.DataFrame(images).to_csv(folder / "growth-images.csv", index=False)
    pandas.DataFrame({"size": [1, 2], "seconds": [3.0, 1.6]}).to_csv(folder / "growth-processes.csv", index=False)


def test_a_gpu_scores_at_the_share_measured_here_and_needs_cores_to_decode(tmp_path):
    assert outlook.imagenet(tmp_path) == ""
    write(tmp_path)
    said = outlook.imagenet(tmp_path).replace("\n", " ")
    assert "On 2 cores of a server processor (One EPYC) 10.0 images are scored a second" in said
    assert "a second, in 0.50 of the time of a plain pass: 36 hours" in said
    assert "from 1,000 to 100,000 images" in said and "exponents are 0.99 for time and 0.01 for memory" in said
    assert "2 processes are 1.88 times as fast as 1, and exchange" in said and "8 kB per criterion" in said
    assert "score 1,876." in said and "it needs 19 cores" in said  # 938 / .5, and that / 100
    assert "with 16 beside each GPU decoding takes longer" in said
    write(tmp_path, images_per_second=[5, 10, 200])
    assert "with 16 beside each GPU scoring takes longer" in outlook.imagenet(tmp_path).replace("\n", " ")
    write(tmp_path)
    rows = [line for line in outlook.imagenet(tmp_path).splitlines() if line.startswith("| 8 ")]
    assert rows == [f"| 8 | {1_281_167 / 1876 / 8 / 60:.1f} | {1_281_167 / 1600 / 8 / 60:.1f} |"]
