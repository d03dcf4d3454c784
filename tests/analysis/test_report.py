"""The page that shows a run."""

import html.parser
import json
import re

import ml_collections
import numpy as np
import pytest
from test_figures import ROWS
from tiny import tiny_dataset, tiny_model, tiny_spec

from renyi_jax.analysis.comparison import comparison
from renyi_jax.analysis.report import write_report
from renyi_jax.analysis.report_images import NUM_SHOWN, mistakes_first
from renyi_jax.analysis.style import text_of
from renyi_jax.config import default_config
from renyi_jax.pruning import PruningConfig

SPEC = tiny_spec(depth=2)
VOID = {"meta", "link", "img", "input"}


class Page(html.parser.HTMLParser):
    """Reads a page, and refuses tags that are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text, self.cells, self.data = [], [], "", [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.cells.append([])
        if tag == "td":
            self.cells[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["script"]:
            if self.tags[-1][1].get("type") == "application/json":
                self.data.append(json.loads(data))
        elif self.open[-1:] != ["style"]:
            self.text += data
        if "td" in self.open:
            self.cells[-1][-1] += data

    def all(self, tag, **attributes):
        wanted = {name.strip("_"): value for name, value in attributes.items()}
        return [each for name, each in self.tags if name == tag and wanted.items() <= each.items()]


def report(folder, rows=ROWS, pruning=None, dataset=None, **options):
    config = default_config()
    config.model.name = "<tiny> & co"
    model = tiny_model(pruning or PruningConfig(blocks=(1, 2)), SPEC)
    frozen = ml_collections.FrozenConfigDict(config)
    write_report(folder, rows, model, dataset or tiny_dataset(), frozen, **options)
    return (folder / "report" / "index.html").read_text()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return report(tmp_path_factory.mktemp("run"), weights="runs/<mine>")


def test_the_page_is_well_formed_and_says_what_it_is(written):
    page = Page(written)
    assert "<tiny> & co on noise, pruned" in page.text
    assert "criterion renyi, α = 2, keep rate 0.7" in page.text
    assert "python -m renyi_jax.predict '--weights=runs/<mine>' --image=photo.jpg" in page.text


def test_the_page_asks_the_network_for_nothing(written):
    without_data = re.sub(r"base64,[^\"]*|<script type=.application/json.*", "", written)
    assert not re.search(r"https?:|//\w|@import|url\((?!#)|fetch\(|XMLHttp", without_data)
    sources = [
        value
        for _, attrs in Page(written).tags
        for name, value in attrs.items()
        if name in ("src", "href")
    ]
    assert sources and all(source.startswith(("data:", "#")) for source in sources)


def test_the_table_has_every_evaluation(written):
    page = Page(written)
    rows = [cells for cells in page.cells if cells]
    assert len(rows) == len(ROWS)
    assert "as trained" in rows[0][0]
    for cells, row in zip(rows, ROWS):
        assert cells[1:3] == [text_of(row["alpha"]), text_of(row["keep_rate"])]
        assert cells[3] == f"{100 * row['top1']:.2f}"
        assert any(attributes["data-value"] == str(row["top1"]) for attributes in page.all("td"))


def test_a_difference_is_told_with_its_interval_and_its_test():
    tested = {"difference": -0.007, "difference_interval": [-0.021, 0.007], "p_value": 0.1}
    tested |= {"p_corrected": 0.31, "real": False, "top1_interval": [0.77, 0.83], "num_runs": 1}
    plain = dict.fromkeys(tested) | {"top1_interval": [0.79, 0.85]}
    rows = [row | (plain if row["criterion"] == "none" else tested) for row in ROWS]
    page = Page("".join(comparison(rows)))
    assert (
        "−0.7 points against no pruning (95 %: −2.1 to +0.7); p 0.31, not significant" in page.text
    )
    trained, unpruned, *_ = [cells for cells in page.cells if cells]
    assert {"77.0 to 83.0", "−0.70 (−2.1 to +0.7)", "0.31"} <= set(trained)
    assert {"79.0 to 85.0", "–"} <= set(unpruned)


def test_a_difference_that_was_not_tested_says_so(written):
    assert "−2.0 points against no pruning, not tested" in Page(written).text


def test_no_row_is_called_trained_where_none_is():
    page = Page("".join(comparison([row | {"trained": False} for row in ROWS])))
    assert not page.all("span", class_="badge")
    assert "top-1 accuracy, renyi, keep rate 0.7" in page.text


def test_eight_test_images_are_shown_and_every_picture_is_described(written):
    page = Page(written)
    assert len(page.all("article")) == len(page.data) == NUM_SHOWN
    assert len(page.all("image")) == NUM_SHOWN  # each is in the page once
    plots = [each for each in page.all("img") if "svg" in each["src"]]
    assert len(plots) == 4 + 2
    assert all(each["alt"] for each in page.all("img"))
    assert len(written) < 1e6


def test_the_slider_offers_the_keep_rates_that_were_evaluated(written):
    page = Page(written)
    assert len(page.all("input", type="range", min="0", max="1", value="1")) == NUM_SHOWN
    for ((row,),) in zip(page.data):
        assert [stop["rate"] for stop in row["stops"]] == ["0.5", "0.7"]
        assert row["blocks"] == [1, 2]
        assert [stop["left"] for stop in row["stops"]] == [[8, 4], [12, 9]]
        assert all(stop["gone"].count("0") == stop["left"][-1] for stop in row["stops"])


def test_mistakes_come_first_and_leave_room_for_what_is_right():
    rng = np.random.default_rng(0)
    for wrong in (0, 1, 3, 4, 5, 20, 31, 32):
        is_wrong = rng.permutation(np.arange(32) < wrong)
        order = mistakes_first([0] * 32, is_wrong.astype(int).tolist())
        shown = is_wrong[order].tolist()
        assert len(set(order)) == NUM_SHOWN
        assert shown == sorted(shown, reverse=True)
        assert sum(shown) == min(wrong, max(NUM_SHOWN // 2, NUM_SHOWN - (32 - wrong)))


def test_the_same_run_writes_the_same_page_and_leaves_nothing_beside_it(written, tmp_path):
    assert report(tmp_path, weights="runs/<mine>") == written
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["index.html"]


@pytest.mark.parametrize(
    "pruning",
    [
        PruningConfig(criterion="cls_attention", reducer="fuse", blocks=(1, 2)),
        PruningConfig(reducer="merge", blocks=(1, 2), r=3),
        PruningConfig(keep_mass=0.5, keep_rate=(0.9, 0.5), blocks=(1, 2)),
    ],
    ids=["fused", "merged", "adaptive"],
)
def test_any_pruning_few_test_images_and_no_masks_are_shown_too(tmp_path, pruning):
    rows = [{k: v for k, v in row.items() if k != "kept_on_object"} for row in ROWS[:2]]
    rows = [row | {"trained": False} for row in rows]
    page = Page(report(tmp_path, rows, pruning, tiny_dataset(3, masks=False)))
    assert "was evaluated without further training" in page.text
    assert len(page.all("article")) == 3
    assert "on object" not in page.text.lower()
    assert "renyi_jax.predict" not in page.text  # no weights were written
