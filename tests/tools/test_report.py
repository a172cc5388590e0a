"""report.html: parses, shows the scores, and refers to files that exist."""

from html.parser import HTMLParser

import pytest

from tools.metrics import METRICS
from tools.report import write_report
from tools.run_folder import RunFolder
from tools.score_files import percent

pytestmark = pytest.mark.unit


class Page(HTMLParser):
    """Cells, image files, and whether every element that is opened is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.cells, self.images = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.images.append(dict(attributes)["src"])
        elif tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th", "dd"):
            self.cells.append(data)


def test_the_page_of_a_run(whole_run):
    folder, records = whole_run
    page = Page(folder.report.read_text())
    assert page.open == []
    assert page.images == ["plot.png", "pictures/stages.png"]
    assert all((folder.root / image).exists() for image in page.images)
    for stage, record in records.items():
        at = page.cells.index(stage)
        assert page.cells[at + 1 : at + 5] == [percent(record[m]) for m in METRICS]
    assert {"ground", "left", "right"} <= set(page.cells)


def test_names_are_escaped(tmp_path):
    folder = RunFolder(tmp_path)
    config = {"settings": {"net": "a<b>", "data": "x & y"}, "made_with": {}, "palette": []}
    write_report(folder, config, {}, [])
    text = folder.report.read_text()
    assert "<b>" not in text and "a&lt;b&gt; on x &amp; y" in text
