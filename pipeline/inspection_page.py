"""The page that shows an inspection: one file, nothing fetched, every text from the data escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from model.keypoints import RELIABLE
from pipeline.inspection import BINS, Inspection, share_above

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1180px; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.path { overflow-wrap: anywhere; } .faint { opacity: .7; }
.facts { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; margin: 1rem 0; }
.facts b { display: block; font-size: 1.4rem; font-variant-numeric: tabular-nums; }
.charts { display: flex; flex-wrap: wrap; gap: 1.2rem; }
svg { background: #8881; border-radius: 4px; } svg text { font: 11px system-ui, sans-serif; fill: currentColor; }
.bar { fill: #2f7dd1; } .unsure { fill: #d98a2b; } .limit { stroke: currentColor; stroke-dasharray: 3 3; }
figure { margin: 1rem 0; } figure img { max-width: 100%; display: block; }
.scroll { overflow-x: auto; }
table { font-size: .85rem; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: left; border-bottom: 1px solid #8884; vertical-align: top; }
td.number, th.number { text-align: right; }
td.long { min-width: 14rem; max-width: 34rem; overflow-wrap: anywhere; }
th button { all: unset; cursor: pointer; font-weight: 600; } th button:focus-visible { outline: 2px solid; }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
.warning { border-left: 4px solid #d98a2b; padding: .3rem .8rem; }
"""

# Empty cells stay last whichever way a column is sorted.
_SCRIPT = """
for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => {
  const head = button.parentElement, body = head.closest("table").tBodies[0], column = head.cellIndex;
  const up = head.getAttribute("aria-sort") !== "ascending";
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const numeric = head.className === "number";
  const rows = Array.from(body.rows, row => [row.cells[column].textContent, row]);
  rows.sort(([a], [b]) => (a === "") - (b === "") ||
    (up ? 1 : -1) * (numeric ? a.replaceAll(",", "") - b.replaceAll(",", "") : a.localeCompare(b)));
  body.append(...rows.map(([, row]) => row));
});
"""

_TITLES = {"body": "body", "face": "face", "left_hand": "left hand", "right_hand": "right hand", "feet": "feet"}
_COLUMNS = {
    "frames": "{:,}", "people": "{}", "confidence_body": "{:.3f}", "confidence_face": "{:.3f}",
    "confidence_left_hand": "{:.3f}", "confidence_right_hand": "{:.3f}", "reliable_left_hand": "{:.3f}",
    "reliable_right_hand": "{:.3f}", "motion": "{:.3f}",
}  # fmt: skip
_CHART = (210, 110)


@dataclass(frozen=True)
class Picture:
    """A contact sheet on the page: a JPEG, what it shows, why it is on black if it is, the overlay video's name."""

    jpeg: bytes
    caption: str
    trouble: str | None
    overlay: str | None


def page(where: str, found: Inspection, pictures: Sequence[Picture]) -> str:
    """The whole page as HTML. ``where`` names the tables."""
    title = f"Poses in {where}"
    parts = [
        f'<h1>Poses</h1><p class="path">{escape(where)}</p>',
        _facts(found),
        *(f'<p class="warning">{escape(name)}: {escape(reason)}</p>' for name, reason in found.failed),
        "<h2>Confidence by part</h2>",
        f'<p class="faint">Share of keypoints at each confidence, of {found.rows_read:,} of {found.rows:,} people in '
        f"frames. The dashed line is at {RELIABLE:g}, above which a keypoint counts as seen.</p>",
        _in("charts", [_histogram(_TITLES[part], counts) for part, counts in found.scores.items()]),
        "<h2>Contact sheets</h2>" if pictures else "",
        *map(_figure, pictures),
        _quarantine(found),
        f"<h2>Videos, the least sure first</h2>{_videos(found)}",
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy()}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(filter(None, parts))
        + f"\n<script>{_SCRIPT}</script></body></html>\n"
    )


def _policy() -> str:
    """Nothing is fetched and nothing runs but this page's own style and script, whatever the data hold."""
    style, script = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (_STYLE, _SCRIPT))
    return f"default-src 'none'; img-src data:; style-src 'sha256-{style}'; script-src 'sha256-{script}'"


def _facts(found: Inspection) -> str:
    left, right = found.reliable / max(found.frames, 1)
    facts = {
        "videos": f"{found.videos:,}",
        "frames": f"{found.frames:,}",
        **{status: f"{count:,}" for status, count in sorted(found.statuses.items()) if status},
        "quarantined": f"{found.quarantined.total():,}",
        "of frames with a reliable left hand": f"{left:.1%}",
        "with a reliable right hand": f"{right:.1%}",
    }
    return _in("facts", [f"<div><b>{value}</b>{escape(name)}</div>" for name, value in facts.items()])


def _in(kind: str, parts: Iterable[str]) -> str:
    return f'<div class="{kind}">{"".join(parts)}</div>'


def _histogram(title: str, counts: np.ndarray) -> str:
    width, height = _CHART
    shares = counts / max(counts.sum(), 1)
    top, floor, step = 26, height - 18, width / BINS
    bars = []
    for number, share in enumerate(shares.tolist()):
        tall = (floor - top) * share / max(shares.max(), 1e-9)
        kind = "bar" if number >= round(RELIABLE * BINS) else "unsure"
        bars.append(
            f'<rect class="{kind}" x="{number * step + 0.5:.1f}" y="{floor - tall:.1f}" width="{step - 1:.1f}" '
            f'height="{tall:.1f}"><title>{number / BINS:.2f} to {(number + 1) / BINS:.2f}: {share:.1%}</title></rect>'
        )
    limit = RELIABLE * width
    label = f"{title}: {share_above(counts):.1%} above {RELIABLE:g}"
    return (
        f'<svg width="{width}" height="{height}" role="img" aria-label="{escape(label)}">'
        f'<text x="6" y="16">{escape(label)}</text>{"".join(bars)}'
        f'<line class="limit" x1="{limit}" x2="{limit}" y1="{top}" y2="{floor}"/>'
        f'<text x="2" y="{height - 4}">0</text><text x="{width - 8}" y="{height - 4}">1</text></svg>'
    )


def _figure(picture: Picture) -> str:
    source = f"data:image/jpeg;base64,{base64.b64encode(picture.jpeg).decode()}"
    lines = [f'<span class="path">{escape(picture.caption)}</span>']
    if picture.trouble:
        lines.append(f'<span class="faint">On black: {escape(picture.trouble)}</span>')
    if picture.overlay:
        lines.append(f'<a href="{escape(picture.overlay)}">the whole video with its poses</a>')
    return f'<figure><img src="{source}" alt="contact sheet of {escape(picture.caption)}">{"<br>".join(lines)}</figure>'


def _quarantine(found: Inspection) -> str:
    if not found.quarantined:
        return ""
    rows = "".join(
        f'<tr><td class="number">{count:,}</td><td>{escape(stage)}</td><td>{escape(error)}</td>'
        f'<td class="long">{escape(found.examples[stage, error])}</td></tr>'
        for (stage, error), count in sorted(found.quarantined.items(), key=lambda item: (-item[1], item[0]))
    )
    head = '<th class="number">rows</th><th>stage</th><th>error</th><th>for example</th>'
    return "<h2>Quarantine</h2>" + _table(head, rows)


def _videos(found: Inspection) -> str:
    names = ["video", "uri", "status", *(name.replace("_", " ") for name in _COLUMNS), "note"]
    classes = ["", "", "", *["number"] * len(_COLUMNS), ""]
    head = "".join(
        f'<th class="{kind}"><button type="button">{escape(name)}</button></th>'
        for name, kind in zip(names, classes, strict=True)
    )
    body = "".join(f"<tr>{_video(row)}</tr>" for row in found.worst)
    more = found.videos - len(found.worst)
    rest = f'<p class="faint">{more:,} more videos are seen better than these.</p>' if more > 0 else ""
    return _table(head, body) + rest


def _table(head: str, body: str) -> str:
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _video(row: dict[str, Any]) -> str:
    numbers = ("" if row[name] is None else shape.format(row[name]) for name, shape in _COLUMNS.items())
    return (
        f'<td>{escape(row["video_id"][:12])}</td><td class="long">{escape(row["uri"])}</td>'
        f"<td>{escape(row['status'] or '')}</td>"
        + "".join(f'<td class="number">{number}</td>' for number in numbers)
        + f'<td class="long">{escape(row["note"] or "")}</td>'
    )
