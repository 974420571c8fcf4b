import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pipeline.inspection import Inspection
from pipeline.inspection_page import Picture, page
from tests.browser import CHROMIUM, DRIVER, browser

_SCRIPT = "document.title='owned'"
HOSTILE = f'</td><script>{_SCRIPT}</script><img src=http://192.0.2.1/a.png onerror="{_SCRIPT}">'


def row(video_id: str, confidence: float | None, **values: Any) -> dict[str, Any]:
    return {
        "video_id": video_id, "uri": f"s3://v/{video_id}.mp4", "status": "whole", "note": None, "frames": 1200,
        "people": 1, "confidence_body": confidence, "confidence_face": confidence, "confidence_left_hand": None,
        "confidence_right_hand": 0.25, "reliable_left_hand": 0.5, "reliable_right_hand": 0.0, "motion": None, **values,
    }  # fmt: skip


@pytest.fixture
def found() -> Inspection:
    found = Inspection()
    hostile = row(HOSTILE, 0.2, uri=HOSTILE, note=HOSTILE)
    found.add_videos([row("nobody", None), row("bad", 0.1, frames=90), hostile, row("good", 0.9)], ())
    found.statuses["<b>odd</b>"] = 1
    found.quarantined[("decode", HOSTILE)] = 2
    found.quarantined[("fetch", "InputError")] = 7
    found.examples = {("decode", HOSTILE): HOSTILE, ("fetch", "InputError"): "no such file"}
    found.failed = [("poses/<x>.parquet", HOSTILE)]
    found.scores["face"][2] = 30
    found.scores["face"][10] = 10
    return found


def picture() -> Picture:
    return Picture(b"\xff\xd8jpeg", HOSTILE, HOSTILE, "01-a.mp4")


class Elements(HTMLParser):
    """Every tag with its attributes, and every table's cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self._cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.tables[-1][-1][-1] += data


def test_text_from_the_data_is_text_and_nothing_is_fetched(found):
    elements = Elements(page(HOSTILE, found, [picture()]))
    kinds = [tag for tag, _ in elements.tags]
    assert kinds.count("script") == 1
    assert kinds.count("img") == 1
    assert "b" not in [tag for tag, attributes in elements.tags if attributes.get("class") == "odd"]
    for tag, attributes in elements.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert (attributes.get("src") or "data:").startswith("data:image/jpeg;base64,") or tag != "img"
    assert [attributes["href"] for tag, attributes in elements.tags if tag == "a"] == ["01-a.mp4"]
    (policy,) = [attributes["content"] or "" for _, attributes in elements.tags if "http-equiv" in attributes]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy


def test_videos_stand_the_least_sure_first_and_quarantine_by_count(found):
    quarantine, videos = Elements(page("out", found, [])).tables
    assert [line[0] for line in videos[1:]] == ["nobody", "bad", HOSTILE[:12], "good"]
    assert videos[0][:4] == ["video", "uri", "status", "frames"]
    assert videos[1][3:9] == ["1,200", "1", "", "", "", "0.250"]
    assert [line[:3] for line in quarantine[1:]] == [["7", "fetch", "InputError"], ["2", "decode", HOSTILE]]


def test_a_histogram_has_a_bar_for_each_bin_as_high_as_its_share(found):
    text = page("out", found, [])
    (face,) = re.findall(r'<svg[^>]*aria-label="face: 25.0% above 0.3".*?</svg>', text)
    bars = re.findall(r'<rect class="(\w+)".*?height="([\d.]+)"><title>([^<]+)</title>', face)
    assert len(bars) == 20
    assert bars[2][0] == "unsure"
    assert bars[2][2] == "0.10 to 0.15: 75.0%"
    assert bars[10][0] == "bar"
    assert float(bars[2][1]) == pytest.approx(3 * float(bars[10][1]), abs=0.2)
    assert "body: 0.0% above 0.3" in text


def test_only_the_worst_of_many_videos_are_listed():
    found = Inspection()
    found.add_videos((row(f"v{number:04}", 1 - number / 10_000) for number in range(3000)), ("v0007",))
    (videos,) = Elements(page("out", found, [])).tables
    assert len(videos) == 201
    assert videos[1][0] == "v2999"
    assert "2,800 more videos" in page("out", found, [])
    assert [chosen["video_id"] for chosen in found.chosen] == ["v0007"]
    assert found.best[0]["video_id"] == "v0000"


@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium and chromedriver")
def test_in_a_browser_it_runs_its_own_script_alone_and_sorts(found, tmp_path: Path):
    path = tmp_path / "index.html"
    path.write_text(page(HOSTILE, found, [picture()]))

    def videos(cell: int) -> list[str]:
        rows = "Array.from(document.querySelectorAll('tbody')).at(-1).rows"
        return window.run(f"return Array.from({rows}, row => row.cells[{cell}].textContent)")

    def click(name: str) -> None:
        window.run(f"Array.from(document.querySelectorAll('th button')).find(b => b.textContent === '{name}').click()")

    with browser() as window:
        window.open(path)
        assert window.run("return document.title").startswith("Poses in </td><script>")
        assert window.run("return getComputedStyle(document.querySelector('.facts')).display") == "flex"
        assert videos(0)[0] == "nobody"
        click("confidence body")
        assert videos(5) == ["0.100", "0.200", "0.900", ""]
        click("confidence body")
        assert videos(5) == ["0.900", "0.200", "0.100", ""]
        click("frames")
        assert videos(3) == ["90", "1,200", "1,200", "1,200"]
        click("video")
        assert videos(0) == [HOSTILE[:12], "bad", "good", "nobody"]
        assert all(address.startswith(("file:", "data:")) for address in window.requested())
        assert window.complaints() == []
