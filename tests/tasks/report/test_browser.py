"""In a real browser, offline: sliders, windows, colours, no overflow."""

from __future__ import annotations

import json
import re
import subprocess

import numpy as np
from PIL import Image

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars",
)  # fmt: skip

PROBE = """
<script>
addEventListener("load", () => {
  const shown = () => [...document.querySelectorAll("[data-strip]")]
    .map(strip => strip.querySelectorAll(".slice:not([hidden])").length);
  const hu = document.querySelector("img.hu");
  const told = { atStart: shown(), filter: getComputedStyle(hu).filter };
  const slider = document.querySelector("input[type=range]");
  slider.value = slider.value === "0" ? "1" : "0";
  slider.dispatchEvent(new Event("input"));
  const first = document.querySelector("[data-strip]");
  told.after = shown();
  told.number = [...first.children].findIndex(slice => !slice.hidden) === Number(slider.value);
  told.output = document.querySelector("output").textContent;
  told.spoken = slider.getAttribute("aria-valuetext");
  document.querySelector("input[value=bone]").click();
  told.bone = getComputedStyle(hu).filter;
  told.broken = [...document.images].filter(i => i.offsetParent && !i.naturalWidth).length;
  told.overflow = document.documentElement.scrollWidth - innerWidth;
  document.title = JSON.stringify(told);
});
</script>
"""


def chromium(browser, tmp_path, *arguments):
    command = [browser, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def test_sliders_and_windows_work_and_a_phone_needs_no_sideways_scrolling(
    browser, page_file, tmp_path
):
    probed = tmp_path / "probed.html"
    probed.write_text(page_file.read_text().replace("</body>", f"{PROBE}</body>"))
    done = chromium(
        browser, tmp_path, "--window-size=500,900", "--virtual-time-budget=5000", "--dump-dom",
        probed.as_uri(),
    )  # fmt: skip
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL).group(1)
    told = json.loads(title.replace("&quot;", '"').replace("&amp;", "&"))
    assert told["atStart"] == told["after"] == [1] * 6
    assert told["number"]
    assert told["output"] == told["spoken"]
    assert told["output"].startswith("slice ")
    assert "window-soft" in told["filter"]
    assert "window-bone" in told["bone"]
    assert told["broken"] == 0
    assert told["overflow"] <= 0
    assert "Refused to" not in done.stderr  # the page's own policy blocks nothing of its own


def test_windows_and_error_colours_reach_the_screen(browser, page_file, tmp_path):
    picture = tmp_path / "page.png"
    chromium(
        browser, tmp_path, "--window-size=1200,9000", f"--screenshot={picture}", page_file.as_uri()
    )
    pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    red, green, blue = np.moveaxis(pixels, -1, 0)
    assert np.count_nonzero((red > blue + 80) & (red > green + 80)) > 1000  # sCT too dense
    assert np.count_nonzero((blue > red + 60) & (green < 160)) > 1000  # sCT too thin
    black = (pixels.max(axis=-1) == 0).mean()
    assert black > 0.01  # air is black only through the window's table: its code is not zero
