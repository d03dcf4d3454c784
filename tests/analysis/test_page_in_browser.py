"""What a page does in the hands of a reader: a browser runs it, and a script uses it."""

import html
import json
import shutil
import subprocess

import numpy as np
import pytest
from test_figures import ROWS

from renyi_jax.analysis import page
from renyi_jax.analysis.comparison import comparison
from renyi_jax.analysis.patch_maps import StageMap
from renyi_jax.analysis.photo import Entropies, Row, Stop, photo_card
from tools.screenshot_report import BROWSERS, FLAGS

BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
RNG = np.random.default_rng(0)
GRID = (4, 6)


def stop(rate):
    values = RNG.uniform(1, 4, GRID)
    stages = []
    for block in (4, 7):
        kept = values <= np.nanquantile(values, rate)
        stages.append(StageMap(block, values, kept, "entropy (nats)"))
        values = np.where(kept, RNG.uniform(1, 4, GRID), np.nan)
    return Stop(f"{rate:g}", stages, f"predicted <{rate:g}>")


STOPS = [stop(0.3), stop(0.7)]

USE = """
const found = {};
const $ = (selector) => document.querySelector(selector);
const $$ = (selector) => [...document.querySelectorAll(selector)];
const panel = '.medium[data-row="0"][data-stage="2"]';
const state = () => ({
  rate: $(".slider output").textContent,
  answer: $(".answer").textContent,
  left: $(panel).closest("figure").querySelector("b").textContent,
  striped: $(panel + " .gone").getBBox().width > 0 && $(panel + " .gone").getAttribute("d"),
  map: $(panel + ".map img").src,
});
async function until(is_so) {
  for (let tries = 0; tries < 1000 && !is_so(); tries++) {
    await new Promise((go) => setTimeout(go, 20));
  }
}
async function pointAt(element, x, y, tells = true) {
  const box = element.getBoundingClientRect();
  const place = { clientX: box.left + x * box.width, clientY: box.top + y * box.height };
  element.dispatchEvent(new PointerEvent("pointermove", { bubbles: true, ...place }));
  const told = () => ($("#tip")?.hidden === false && $("#tip").textContent) || null;
  await until(() => Boolean(told()) === tells);
  const text = told();
  $("#tip").textContent = "";
  return text;
}
const column = (number) => [...$("tbody").rows].map((row) => row.cells[number].textContent);
async function use() {
  found.before = state();
  found.patch = await pointAt($(panel + ".map"), 0.5 / 6, 0.5 / 4);
  const range = $("input[type=range]");
  range.value = 0;
  range.dispatchEvent(new Event("input"));
  found.after = state();
  found.moved = await pointAt($(panel + ".map"), 5.5 / 6, 3.5 / 4);
  found.nowhere = await pointAt(document.body, 0, 0, false);
  found.point = await pointAt($(".spot"), 0.5, 0.5);

  $(panel + ".map").click();
  found.dialogs = document.querySelectorAll("dialog[open]").length;
  found.enlarged = await pointAt($("dialog .map"), 5.5 / 6, 3.5 / 4);
  $("dialog .close").click();
  await until(() => !$("dialog"));
  found.closed = document.querySelectorAll("dialog").length;

  found.steps = [];
  const shown = () => $$("article.photo").map((each) => !each.hidden);
  const press = (key, at = document.body) =>
    at.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  const steps = [
    () => {},
    () => $("[aria-label='Next image']").click(),
    () => press("ArrowRight"),
    () => press("ArrowLeft"),
    () => press("ArrowLeft", range),
    () => $(".steps [aria-pressed]").click(),
    () => $("[aria-label='Previous image']").click(),
  ];
  for (const step of steps) {
    step();
    found.steps.push([shown(), $(".steps output").textContent]);
  }
  $(".medium").click();
  press("ArrowRight");
  await until(() => $$("dialog").length === 1);
  found.stepped = [$("dialog").article === $$("article.photo")[1], shown()];
  $("dialog .close").click();
  await until(() => !$("dialog"));

  const row = $("tr[id='row-3']");
  const lit = () => $$(".lit").map((each) => each.id || each.getAttribute("href"));
  const spot = $(".spot[href='#row-3']");
  found.rows = [...$("tbody").rows].map((each) => each.id);
  found.lit = [];
  for (const [element, type] of [
    [spot, "pointerover"],
    [spot, "pointerout"],
    [row.cells[0], "pointerover"],
    [row.cells[0], "pointerout"],
  ]) {
    element.dispatchEvent(new PointerEvent(type, { bubbles: true }));
    found.lit.push(lit());
  }
  spot.closest(".medium").click();
  $("dialog .spot[href='#row-3']").click();
  await until(() => !$("dialog"));
  found.went = [document.activeElement.id, location.hash, $$("dialog").length, lit().length];

  const headers = $$("th button");
  const top1 = headers.findIndex((button) => button.textContent.startsWith("top-1"));
  headers[top1].click();
  found.ascending = column(top1);
  found.sort = $("th[aria-sort]").getAttribute("aria-sort");
  headers[top1].click();
  found.descending = column(top1);

  const sections = () => [...$(".choices").querySelectorAll("section")].map((each) => each.hidden);
  found.sections = sections();
  $(".tabs button:last-child").click();
  found.chosen = sections();
  found.buttons = $$(".command button").map((each) => each.textContent);
  found.focusable = $$("a.spot, .medium[tabindex], tr[tabindex]").length;
  found.wide = document.documentElement.scrollWidth > innerWidth;
}
use().catch((error) => errors.push(String(error))).finally(() => {
  const pre = document.createElement("pre");
  pre.id = "found";
  pre.textContent = JSON.stringify({ ...found, errors });
  document.body.append(pre);
});
"""
LISTEN = """<script>
const errors = [];
addEventListener("error", (event) => errors.push(event.message));
addEventListener("unhandledrejection", (event) => errors.push(String(event.reason)));
console.error = (...words) => errors.push(words.join(" "));
</script>"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    if BROWSER is None:
        pytest.skip("no Chromium is installed")
    folder = tmp_path_factory.mktemp("browser")
    pixels = RNG.integers(0, 256, (40, 60, 3), np.uint8)
    entropies = Entropies(RNG.uniform(1, 4, (2, 3, *GRID)), [1.0, 2.0])
    command = page.command("python", "-m", "renyi_jax.predict", "--image=a b.png")
    rows = [Row("renyi", STOPS), Row("random", STOPS[::-1])]
    cards = [
        photo_card(number, pixels, "a", rows, 1, entropies, below=command if number == 0 else "")
        for number in range(3)
    ]
    text = page.page("Test", [*cards, *comparison(ROWS)])
    text = text.replace("<head>", "<head>" + LISTEN).replace(
        "</body>", f"<script>{USE}</script></body>"
    )
    (folder / "page.html").write_text(text)
    ran = subprocess.run(
        [
            BROWSER,
            *FLAGS,
            f"--user-data-dir={folder}",
            "--virtual-time-budget=200000",
            "--dump-dom",
            (folder / "page.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    _, mark, rest = ran.stdout.partition('<pre id="found">')
    assert mark, ran.stdout[-500:] + ran.stderr[-2000:]
    return json.loads(html.unescape(rest.partition("</pre>")[0]))


def test_nothing_goes_wrong(found):
    assert found["errors"] == []


def test_the_slider_changes_what_is_shown(found):
    before, after = found["before"], found["after"]
    assert (before["rate"], after["rate"]) == ("0.7", "0.3")
    assert (before["answer"], after["answer"]) == ("predicted <0.7>", "predicted <0.3>")
    for shown, of in ((after, STOPS[0]), (before, STOPS[1])):
        assert int(shown["left"]) == of.stages[1].kept.sum()
    assert before["map"] != after["map"]
    assert after["striped"].count("M") == (~STOPS[0].stages[1].kept).sum()


@pytest.mark.parametrize(
    ("name", "of", "y", "x"), [("patch", 1, 0, 0), ("moved", 0, 3, 5), ("enlarged", 0, 3, 5)]
)
def test_a_patch_tells_its_value_and_the_block_that_drops_it(found, name, of, y, x):
    first, second = STOPS[of].stages
    place, *value, fate = found[name].split(" · ")
    assert place == f"patch {y + 1}, {x + 1}"
    if not first.kept[y, x]:
        assert not value and fate == "dropped by block 4"
    else:
        (words,) = value
        quantity, number, unit, where = words.split(" ", 3)
        assert (quantity, unit, where) == ("entropy", "nats", "in block 7")
        assert float(number) == pytest.approx(second.values[y, x], abs=3 / 254 + 0.005)
        assert fate == ("stays to the end" if second.kept[y, x] else "dropped by block 7")


def test_a_point_of_a_curve_tells_its_row(found):
    assert "top-1 accuracy (%): " in found["point"]
    assert found["nowhere"] is None


def test_a_figure_grows_and_shrinks_again(found):
    assert (found["dialogs"], found["closed"]) == (1, 0)


def test_images_are_stepped_through_by_buttons_and_arrow_keys_but_not_from_a_slider(found):
    first, second, third = np.eye(3, dtype=bool).tolist()
    names = [f"image {number} of 3" for number in (1, 2, 3)]
    expected = [(first, 0), (second, 1), (third, 2), (second, 1), (second, 1)]
    assert found["steps"] == [
        *([shown, names[number]] for shown, number in expected),
        [[True] * 3, names[1]],
        [first, names[0]],
    ]


def test_an_enlarged_image_steps_to_the_same_of_the_next_image(found):
    assert found["stepped"] == [True, [False, True, False]]


def test_a_point_and_its_row_light_each_other(found):
    assert found["rows"] == [f"row-{number}" for number in range(len(ROWS))]
    by_point, left, by_row, left_again = found["lit"]
    # The row has a point in each of the four curves.
    assert sorted(by_point) == sorted(by_row) == [*["#row-3"] * 4, "row-3"]
    assert left == left_again == []


def test_a_click_on_a_point_goes_to_its_row_even_where_the_curve_is_enlarged(found):
    assert found["went"] == ["row-3", "#row-3", 0, 5]


def test_a_header_sorts_the_table_and_sorts_it_the_other_way_round(found):
    values = sorted(row["top1"] for row in ROWS)
    assert found["ascending"] == [f"{100 * value:.2f}" for value in values]
    assert found["descending"] == found["ascending"][::-1]
    assert found["sort"] == "ascending"


def test_one_order_is_shown_at_a_time(found):
    assert found["sections"] == [False, True] and found["chosen"] == [True, False]


def test_the_command_can_be_copied_and_all_can_be_reached_by_keys(found):
    assert found["buttons"] == ["copy"]
    assert found["focusable"] > 20


def test_nothing_is_wider_than_the_window(found):
    assert not found["wide"]
