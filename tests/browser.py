"""Headless Chromium, to look at a page as a reader's browser does."""

import html
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
LOOK = """<script>
addEventListener("load", () => {
  const images = [...document.images];
  const links = [...document.querySelectorAll("a[href]")].map(a => a.getAttribute("href"));
  const resources = performance.getEntriesByType("resource").map(entry => entry.name);
  parent.postMessage(JSON.stringify({
    width: innerWidth,
    scrollWidth: document.documentElement.scrollWidth,
    images: images.length,
    embedded: images.filter(image => image.src.startsWith("data:image/png;base64,")).length,
    broken: images.filter(image => !image.complete || !image.naturalWidth).map(image => image.alt),
    speechless: images.filter(image => !image.alt.trim()).length,
    fetched: resources.filter(name => !name.startsWith("data:")),
    astray: links.filter(link => link[0] === "#" && !document.getElementById(decodeURIComponent(link.slice(1)))),
    links: links.filter(link => link[0] !== "#"),
    ids: [...document.querySelectorAll("[id]")].map(element => element.id),
    headers: [...document.querySelectorAll("th")].map(cell => cell.textContent),
    text: document.querySelector("main").innerText,
  }), "*");
});
</script>"""
NOTE = """<body><script>
addEventListener("message", event => document.body.append(Object.assign(new Option(), {value: event.data})));
</script>"""
FRAME = '<iframe src="page.html" width="{}" height="900" style="border: 0"></iframe>'


def look(page: Path, *widths: int) -> list[dict]:
    """What browsers of these widths make of the page; in frames, since a window is never narrower than 500."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "page.html").write_text(page.read_text().replace("</body>", f"{LOOK}</body>"))
        frames = Path(folder, "frames.html")
        frames.write_text(NOTE + "".join(map(FRAME.format, widths)))
        dom = _run(1400, 1000, "--dump-dom", "--virtual-time-budget=5000", frames.as_uri())
    found = [json.loads(html.unescape(value)) for value in re.findall(r'<option value="([^"]*)"', dom)]
    assert len(found) == len(widths), f"{page} did not load"
    return sorted(found, key=lambda one: widths.index(one["width"]))


def screenshot(page: Path, picture: Path, width: int, height: int = 2000) -> None:
    """Leaves a picture of the top of the page in a window of this size."""
    picture.parent.mkdir(parents=True, exist_ok=True)
    _run(width, height, f"--screenshot={picture}", page.resolve().as_uri())


def _run(width: int, height: int, *words: str) -> str:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        flags = [*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"]
        done = subprocess.run([CHROMIUM, *flags, *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
