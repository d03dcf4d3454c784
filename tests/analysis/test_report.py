"""The page that shows a run."""

import html.parser
import re

import ml_collections
import pytest
from test_figures import ROWS
from tiny import tiny_dataset, tiny_model, tiny_spec

from renyi_jax.analysis.report import write_report
from renyi_jax.analysis.style import text_of
from renyi_jax.config import default_config
from renyi_jax.pruning import PruningConfig

SPEC = tiny_spec(depth=2)
VOID = {"meta", "link", "img", "br"}


class Page(html.parser.HTMLParser):
    """Reads a page, and refuses tags that are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text, self.cells = [], [], "", []
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
        self.text += data
        if "td" in self.open:
            self.cells[-1][-1] += data


def report(folder, rows=ROWS, pruning=None, dataset=None):
    config = default_config()
    config.model.name = "<tiny> & co"
    model = tiny_model(pruning or PruningConfig(blocks=(1, 2)), SPEC)
    frozen = ml_collections.FrozenConfigDict(config)
    write_report(folder, rows, model, dataset or tiny_dataset(), frozen)
    return (folder / "report" / "index.html").read_text()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return report(tmp_path_factory.mktemp("run"))


def test_the_page_is_well_formed_and_says_what_it_is(written):
    page = Page(written)
    assert "<tiny> & co on noise, pruned" in page.text
    assert "criterion renyi, α = 2, keep rate 0.7" in page.text
    assert "−2.0 points against no pruning" in page.text


def test_the_page_asks_the_network_for_nothing(written):
    assert not re.search(r"https?:|//\w|@import|url\(", re.sub(r"base64,[^\"]*", "", written))
    sources = [
        value
        for _, attrs in Page(written).tags
        for name, value in attrs.items()
        if name in ("src", "href")
    ]
    assert sources and all(source.startswith("data:") for source in sources)


def test_the_table_has_every_evaluation(written):
    rows = [cells for cells in Page(written).cells if cells]
    assert len(rows) == len(ROWS)
    assert "as trained" in rows[0][0]
    for cells, row in zip(rows, ROWS):
        assert cells[2:4] == [text_of(row["alpha"]), text_of(row["keep_rate"])]
        assert cells[4] == f"{100 * row['top1']:.2f}"


def test_eight_test_images_are_shown_and_every_picture_is_described(written):
    pictures = [attrs for tag, attrs in Page(written).tags if tag == "img"]
    kinds = [attrs["src"].split(";")[0] for attrs in pictures]
    assert kinds.count("data:image/png") == 8 + 2
    assert kinds.count("data:image/svg+xml") == 4 + 2
    assert all(attrs["alt"] for attrs in pictures)
    assert len(written) < 3e6


def test_the_same_run_writes_the_same_page_and_leaves_nothing_beside_it(written, tmp_path):
    assert report(tmp_path) == written
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["index.html"]


def test_fused_tokens_few_test_images_and_no_masks_are_shown_too(tmp_path):
    rows = [{k: v for k, v in row.items() if k != "kept_on_object"} for row in ROWS]
    pruning = PruningConfig(criterion="cls_attention", reducer="fuse", blocks=(1, 2))
    page = Page(report(tmp_path, rows, pruning, tiny_dataset(3, masks=False)))
    kinds = [attrs["src"].split(";")[0] for tag, attrs in page.tags if tag == "img"]
    assert kinds.count("data:image/png") == 3 + 2
    assert "on object" not in page.text.lower()
