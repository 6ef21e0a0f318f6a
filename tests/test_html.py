"""The report as one HTML file: the same content, nothing beside it, nothing from a network."""

import base64
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from report_text import tables_of
from tables_factory import Tables

from seqgrid.report.__main__ import copy, main, write
from seqgrid.report.markdown import links, slug

VOID = {"meta", "br", "img", "hr", "link", "input"}


class Page(HTMLParser):
    """What a page is made of; open elements must be closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.images, self.tables = [], [], [], [], []
        self.words, self.cell = [], None
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "a":
            self.links.append(given["href"])
        if tag == "img":
            self.images.append(given)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.cell = []
        if tag == "th":
            assert given["scope"] == "col"

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        assert self.open.pop() == tag
        if tag in ("td", "th"):
            self.tables[-1][-1].append(" ".join("".join(self.cell).split()))
            self.cell = None

    def handle_data(self, data):
        if "style" not in self.open and "script" not in self.open:
            self.words.append(data)
        if self.cell is not None:
            self.cell.append(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = Tables(models=["lstm", "gru"])
    made.levels("copy", [64, 128], chance=0.1, ceiling=1.0, solved=0.9)
    made.cells("lstm", "copy", 64, [0.95, 0.96, 0.97]).cells("lstm", "copy", 128, [0.5, 0.52, 0.51])
    made.cells("gru", "copy", 64, [0.1, 0.11, 0.12])
    made.cell("gru", "copy", 128, 0, 0.3, outcome="timed_out", reason="`part 1` | ran out of time")
    return write(made.write(tmp_path_factory.mktemp("study"))).parent


@pytest.fixture(scope="module")
def text(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_its_tables_are_those_of_the_markdown(folder, page):
    markdown = (folder / "report.md").read_text(encoding="utf-8")
    plain = [[list(t[0]), *(list(row.values()) for row in t)] for t in tables_of(markdown)]
    bare = [[[_unmarked(c) for c in r] for r in t] for t in plain]
    assert len(bare) > 10
    assert page.tables == bare


def _unmarked(cell):
    """Without code marks; escaped signs as they are meant."""
    kept = re.sub(r"(?<!\\)`", "", cell)
    return re.sub(r"\\([\\`|])", r"\1", kept)


FREE = (
    "a*b and _c_ of [d](e) or `f`, d_model stays; x < y, <b> & &amp; # no - heading + 1. at 2) all"
    " \\ -- === ~~~ > __init__ ***"
)


@pytest.mark.parametrize("width", range(20, 130, 7))
def test_free_text_stands_as_it_was_written_wherever_it_is_wrapped(tmp_path, monkeypatch, width):
    from seqgrid.report import markdown
    from seqgrid.report.html_page import render

    monkeypatch.setattr(markdown, "WIDTH", width)
    for made in (markdown.text(markdown.free(FREE)), markdown.item(markdown.free(FREE))):
        body = render(f"# t\n\n{made}", tmp_path, {}).split("</h1>")[1].split("</main>")[0]
        assert not re.search("<(em|strong|code|a|h[1-6]|blockquote|ol|hr|pre)[ >]", body)
        assert body.count("<li>") == made.startswith("- ")
        assert " ".join("".join(Page(f"<p>{body}</p>").words).split()) == FREE
    assert "d_model stays; x < y" in markdown.free(FREE)
    assert markdown.free("The GRU's plain words, 0.5 of 3; so (yes).") == (
        "The GRU's plain words, 0.5 of 3; so (yes)."
    )


def test_signs_in_questions_claims_and_reasons_are_no_marks(tmp_path):
    said = "Is a*b*c = _d_?"
    claim = {
        "statement": said,
        "place": {"model": "m", "task": "t"},
        "verdict": "SOLVED",
        "why": said,
    }
    made = Tables(question=said, config={"claims": [claim]})
    made.levels("t", [64], chance=0.1, ceiling=1.0, solved=0.9).cells("m", "t", 64, [0.5] * 3)
    made.cell("m", "t", 64, 3, outcome="failed", reason=f"{said} `x`")
    write(made.write(tmp_path))
    found = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    words = " ".join(" ".join(found.words).split())
    assert words.count(said.rstrip("?")) >= 4
    assert "\nIs a\\*b\\*c = \\_d\\_?\n" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_it_needs_nothing_from_anywhere(folder, text, page):
    assert not re.search(r"(?:src|href)=\"(?!#|data:)", text)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|<link", text)
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert len(page.images) == len(list((folder / "figures").glob("*.svg")))
    for image in page.images:
        kind, _, data = image["src"].partition(",")
        assert kind == "data:image/svg+xml;base64"
        assert b"<svg" in base64.b64decode(data)
        assert len(image["alt"]) > 20


def test_sections_are_linked_in_their_order(page):
    markdown_titles = [link for link in page.links if re.match(r"#\d+-", link)]
    assert [int(re.match(r"#(\d+)", link)[1]) for link in markdown_titles] == [
        *range(1, len(markdown_titles) + 1)
    ]


def test_the_contents_of_the_markdown_lead_somewhere(folder):
    markdown = (folder / "report.md").read_text(encoding="utf-8")
    contents = markdown.split("Contents: ")[1].split("\n\n")[0]
    found = re.findall(r"\]\(#(\S+?)\)", contents)
    titles = re.findall(r"^## (.+)$", markdown, flags=re.M)
    assert found == [slug(title) for title in titles[1:]]
    assert slug("Peak against final?") == "peak-against-final"
    assert max(map(len, links([f"section {i}" for i in range(30)]).splitlines())) <= 100


def test_names_of_a_study_cannot_become_tags(tmp_path):
    evil = "<script>alert(1)</script>"
    made = Tables(question=evil, name="a<b").levels("t", [64], chance=0.1, ceiling=1.0)
    write(made.cells(evil, "t", 64, [0.5] * 3).write(tmp_path))
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert evil not in text
    found = Page(text)
    assert evil in "".join(found.words)
    assert text.count("<script>") == 1


def test_copies_for_snakemake_are_complete(folder, tmp_path):
    copy(folder, tmp_path / "1.report.html", tmp_path / "figures", tmp_path / "tables")
    assert (tmp_path / "1.report.html").read_bytes() == (folder / "report.html").read_bytes()
    drawn = {p.name for p in (folder / "figures").glob("*.svg")}
    assert {p.name for p in (tmp_path / "figures").iterdir()} == drawn
    lines = (tmp_path / "tables/summary.csv").read_text().splitlines()
    assert lines[0].startswith("model,task,")
    assert '"[0, 1, 2]"' in lines[1]
    with pytest.raises(SystemExit, match="2"):
        main([str(folder), "--copy", "one"])


BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
CLICKS = """<script>
const shown = [];
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  const column = heads.findIndex((head) => head.textContent === "value");
  if (column < 0) continue;
  for (let click = 0; click < 4; click++) {
    shown.push([...table.tBodies[0].rows].map((row) => row.cells[0].textContent).join(" "));
    heads[column].querySelector("button").click();
  }
}
document.body.textContent = "SHOWN " + shown.join(" / ") + " END";
</script></body>"""
ROWS = (
    *("| ten | 1,000.5 |", "| (chance) | 9 |", "| words | DIVERGED |", "| none | - |"),
    *("| hour | 1 h |", "| two | 2.5† |", "| all | 5 |", "| half | 1/2 |", "| less | [-3, 4] |"),
)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no browser is installed")
def test_a_click_sorts_by_size_and_a_third_one_restores(tmp_path):
    from seqgrid.report.html_page import render

    markdown = "\n".join(["# t", "", "| name | value |", "| - | -: |", *ROWS])
    path = tmp_path / "page.html"
    path.write_text(render(markdown, tmp_path, {}).replace("</body>", CLICKS), encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    done = subprocess.run(
        [*command, path.as_uri()], capture_output=True, text=True, timeout=60, check=True
    )
    before, up, down, after = re.search(r"SHOWN (.*) END", done.stdout)[1].split(" / ")
    assert up == "(chance) less half two ten hour words none all"
    assert down == "(chance) words hour ten two half less none all"
    assert after == before == "ten (chance) words none hour two all half less"


PHONE = """<pre id="wide"></pre><iframe src="page.html" style="width: 390px"></iframe><script>
addEventListener("load", () => {
  const page = document.querySelector("iframe").contentDocument.documentElement;
  document.getElementById("wide").textContent = page.scrollWidth;
});
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no browser is installed")
def test_only_tables_and_figures_are_wider_than_a_phone(tmp_path):
    from seqgrid.report.html_page import render

    word, wide = "x" * 80, "| one | two " * 9 + "|"
    markdown = f"# {word}\n\n{word}\n\n- `{word}`\n\n{wide}\n{'| - ' * 18}|\n{wide}\n"
    (tmp_path / "page.html").write_text(render(markdown, tmp_path, {}), encoding="utf-8")
    (tmp_path / "phone.html").write_text(PHONE, encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    done = subprocess.run(
        [BROWSER, *options, "--dump-dom", (tmp_path / "phone.html").as_uri()],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert 0 < int(re.search(r'id="wide">(\d+)<', done.stdout)[1]) <= 390
