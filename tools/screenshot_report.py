"""Takes the picture of a report that stands at the top of the README; needs Chromium.

python tools/screenshot_report.py runs/quickstart/report/index.html docs/report.png
"""

import argparse
import pathlib
import shutil
import subprocess
import tempfile

from PIL import Image

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--hide-scrollbars",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=pathlib.Path)
    parser.add_argument("picture", type=pathlib.Path)
    parser.add_argument("--window", default="1160,1400", help="width,height in pixels of the page")
    parser.add_argument("--width", type=int, default=1160, help="of the picture, in pixels")
    arguments = parser.parse_args()

    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        parser.error(f"none of {', '.join(BROWSERS)} is installed")
    with tempfile.TemporaryDirectory() as profile:
        shot = pathlib.Path(profile) / "shot.png"
        output = (f"--user-data-dir={profile}", f"--screenshot={shot}")
        page = arguments.report.resolve().as_uri()
        subprocess.run(
            [browser, *FLAGS, *output, f"--window-size={arguments.window}", page], check=True
        )
        with Image.open(shot) as image:
            height = round(image.height * arguments.width / image.width)
            small = image.convert("RGB").resize((arguments.width, height), Image.Resampling.LANCZOS)
        # 128 colours are plenty for a page of this kind, and a third of the bytes.
        small.save(arguments.picture, optimize=True)


if __name__ == "__main__":
    main()
