"""The explorer page: its tables against the operator, and the page itself in a browser."""

import math
import re
import shutil
import time
from collections.abc import Iterator
from itertools import product
from urllib.parse import urlencode

import pytest
import torch

import torchconv
from torchconv.tools import explorer
from torchconv.tools.__main__ import main

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
TABS = {tab["id"]: tab for tab in explorer.tabs()}
PADDINGS = range(3)


def conv(x, w, **options):
    return torchconv.conv2d(x[None, None], w[None, None], **options)[0, 0]


def shown(x, w, show):
    what, number = show.split()
    if what == "dilation":
        return conv(x, w, dilation=int(number))
    return torchconv.conv1d(x[None], w.view(4, -1, 3), groups=int(number))[0]


# What each tab claims to show, said without its tables: (input, kernel, *choices) -> output.
MEANT = {
    "kernel-sliding": lambda x, w, mode: conv(x, w, mode=mode),
    "stride": lambda x, w, stride: conv(x, w, stride=stride),
    "padding": lambda x, w, padding, mode: conv(x, w, padding=padding, padding_mode=mode),
    "1-d-by-hand": lambda x, w, mode: torchconv.conv1d(x[None], w[None], mode=mode)[0],
    "2-d-by-hand": conv,
    "dilation-and-groups": shown,
    "transposed": lambda x, w, stride, padding: torchconv.conv_transpose2d(
        x[None, None], w[None, None], stride=stride, padding=padding
    )[0, 0],
    "backward": lambda x, w, stride, padding, _: conv(x, w, stride=stride, padding=padding),
}
CHOICES = [
    (name, chosen)
    for name, tab in TABS.items()
    for chosen in product(*(control["values"] for control in tab["controls"]))
]


def test_all_tabs_are_there():
    assert [tab["title"] for tab in TABS.values()] == [
        "Kernel sliding", "Stride", "Padding", "1-d by hand", "2-d by hand",
        "Dilation and groups", "Transposed", "Backward",
    ]  # fmt: skip
    assert set(MEANT) == set(TABS)


def geometry_words(name: str, chosen: tuple) -> dict[str, int]:
    """Stride, padding and dilation as the controls have them."""
    words = {"stride": 1, "padding": 0, "dilation": 1}
    for control, value in zip(TABS[name]["controls"], chosen, strict=True):
        if str(value).startswith("dilation "):
            words["dilation"] = int(value.split()[1])
        words |= {control["name"]: value} if control["name"] in words else {}
    return words


@pytest.mark.parametrize(("name", "chosen"), CHOICES, ids=lambda v: str(v))
def test_a_table_lists_what_the_operator_adds(name, chosen):
    tab = TABS[name]
    made = tab["geometries"][",".join(map(str, chosen))]
    cells, taps = len(made["input"]), made["taps"]
    generator = torch.Generator().manual_seed(0)
    x, w = (torch.randint(-9, 10, (len(made[k]),), generator=generator).float()
            for k in ("input", "kernel"))  # fmt: skip
    padded = torch.cat([x, torch.zeros(1)])  # -1 reads the last
    outputs = math.prod(made["grids"]["output"])
    positions = math.prod(made["output_size"])
    sums = [
        sum(padded[made["reads"][o * taps + t]] * w[o // positions * taps + t] for t in range(taps))
        for o in range(outputs)
    ]
    size = [cells // made["input_size"][0], -1] if len(made["input_size"]) == 1 else (
        made["input_size"])  # fmt: skip
    expected = MEANT[name](x.view(*size), w.view(*made["grids"]["kernel"]), *chosen)
    assert list(expected.shape) == made["grids"]["output"]
    assert torch.stack(sums).view_as(expected).equal(expected)
    axes = zip(made["formulas"], made["input_size"], made["kernel_size"], made["output_size"],
               strict=True)  # fmt: skip
    for formula, n, k, real in axes:
        left, right = formula.split(" = ")
        numbers = {"input": n, "kernel": k, **geometry_words(name, chosen), "floor": math.floor}
        assert eval(left, {"floor": math.floor}) == int(right) == real
        assert eval(made["rule"], numbers) == real


def test_words_of_padding_are_the_operators():
    (control, _) = TABS["padding"]["controls"]
    assert control["words"] == {"valid": 0, "same": 1, "full": 2}


def test_the_file_is_small_quick_and_alone(tmp_path, capsys, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    path = tmp_path / "page.html"
    start = time.process_time()
    assert main(["explorer", "--out", str(path), "--open"]) == 0
    assert time.process_time() - start < 3
    assert capsys.readouterr().out.strip() == str(path) and opened == [path.as_uri()]
    text = path.read_text(encoding="utf-8")
    assert len(text.encode()) < 400_000
    assert "{{" not in text and not re.search(r"https?://", text)
    assert "default-src 'none'" in text and 'type="module"' in text


def luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    digits = "".join(d * 2 for d in digits) if len(digits) == 3 else digits
    parts = (int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4))
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_have_contrast_in_the_light_and_in_the_dark():
    style = (explorer.PAGE / "explorer.css").read_text(encoding="utf-8")
    for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL):
        colours = dict(re.findall(r"--([\w-]+): (#\w+);", block))
        for pair in ("ink paper", "ink card", "ink light", "quiet paper", "accent card",
                     "accent light", "pad pad-back", "pad light", "pad paper",
                     "wrong card", "wrong light"):  # fmt: skip
            high, low = sorted((luminance(colours[c]) for c in pair.split()), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5, pair


# --- In a browser -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs pip install playwright")
    if BROWSER is None:
        pytest.skip("needs a browser: apt install chromium")
    with sync_api.sync_playwright() as running:
        started = running.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("explorer") / "explorer.html"
    explorer.save(path)
    return path.as_uri()


@pytest.fixture
def page(browser, address) -> Iterator:
    """The page, opened; complains about any error, and about any request beside the file itself."""
    context = browser.new_context(viewport={"width": 1100, "height": 800})
    opened = context.new_page()
    problems = []
    opened.on("console", lambda message: problems.append(message.text))
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("request", lambda request: problems.append(request.url)
              if not request.url.startswith((address, "data:")) else None)  # fmt: skip
    opened.goto(address)
    yield opened
    context.close()
    assert problems == []


READ = """(id) => [...document.querySelectorAll(`#grid-${id} tr`)].map((row) =>
  [...row.cells].filter((cell) => !cell.classList.contains("pad")).map((cell) =>
    cell.firstChild.value || cell.firstChild.textContent)).filter((row) => row.length)"""


def grid(page, name: str) -> torch.Tensor:
    """The numbers of a grid; NaN where it is still empty. Padding is left out."""
    rows = page.evaluate(READ, name)
    return torch.tensor(
        [[float(t.replace("−", "-")) if t != "·" else math.nan for t in row] for row in rows]
    )


def operands(page) -> tuple[torch.Tensor, torch.Tensor]:
    return grid(page, "input"), grid(page, "kernel")


def choose(page, tab: str, chosen: tuple) -> None:
    """Sets every control by hand, as a reader would."""
    for control, value in zip(TABS[tab]["controls"], chosen, strict=True):
        if isinstance(value, int):
            page.locator(f"#{control['name']}").fill(str(value))
        else:
            page.locator(f'[data-choice="{control["name"]}={value}"]').click()


def open_tab(page, tab: str) -> None:
    page.locator(f"#tab-{tab}").click()


def to_the_end(page) -> None:
    if page.locator("#last").is_enabled():
        page.locator("#last").click()


@pytest.mark.browser
@pytest.mark.parametrize("tab", [t for t in TABS if t != "backward"])
def test_every_choice_shows_the_operators_numbers(page, tab):
    open_tab(page, tab)
    for name, chosen in CHOICES:
        if name != tab:
            continue
        choose(page, tab, chosen)
        to_the_end(page)
        x, w = operands(page)
        output = MEANT[tab](x, w, *chosen)
        assert grid(page, "output").equal(output), chosen
        size = TABS[tab]["geometries"][",".join(map(str, chosen))]["output_size"]
        assert f"The operator gave {' × '.join(map(str, size))}." in page.inner_text("#size")


@pytest.mark.browser
def test_backward_shows_autograds_numbers(page):
    open_tab(page, "backward")
    for name, chosen in CHOICES:
        if name != "backward":
            continue
        choose(page, name, chosen)
        to_the_end(page)
        page.locator("#back").click()
        x, w = (t.requires_grad_() for t in operands(page))
        output = MEANT[name](x, w, *chosen)
        seed = torch.zeros(output.numel())
        seed[-2] = 1
        if chosen[2] == "all so far":
            seed[:-1] = 1
        gradients = torch.autograd.grad(output, (x, w), seed.view_as(output))
        assert grid(page, "seed").equal(seed.view_as(output))
        for which, gradient in zip(("input", "kernel"), gradients, strict=True):
            assert grid(page, f"{which}-gradient").equal(gradient), (chosen, which)


def arithmetic(text: str) -> list[tuple[list[float], float]]:
    """Each spelled sum evaluated, of factors and of products, and the result beside them."""
    spelled = []
    for line in text.replace("−", "-").replace("·", "*").split("output")[1:]:
        _, *sums, result = " ".join(line.split()).split(" = ")
        spelled.append(([eval(terms) for terms in sums], float(result)))
    return spelled


@pytest.mark.browser
@pytest.mark.parametrize(("tab", "chosen"), [
    ("kernel-sliding", ("convolution",)), ("stride", (2,)), ("padding", (1, "circular")),
    ("1-d-by-hand", ("cross_correlation",)), ("2-d-by-hand", ()),
])  # fmt: skip
def test_each_step_fills_one_output_and_spells_it_out(page, tab, chosen):
    open_tab(page, tab)
    choose(page, tab, chosen)
    x, w = operands(page)
    output = MEANT[tab](x, w, *chosen).flatten()
    for step in range(1, min(output.numel(), 8) + 1):
        assert page.inner_text("#step") == f"step {step} / {output.numel()}"
        filled = grid(page, "output").flatten()
        assert filled[:step].equal(output[:step]) and filled[step:].isnan().all()
        spelled = arithmetic(page.inner_text("#sum"))
        assert all(values == [result, result] for values, result in spelled)
        every = TABS[tab]["spell"] == "all"
        assert [r for _, r in spelled] == (output if every else output[step - 1 : step]).tolist()
        assert page.locator("#grid-input .lit").count() == w.numel()
        if step < output.numel():
            page.locator("#forward").click()


@pytest.mark.browser
def test_the_tutorials_numbers(page):
    open_tab(page, "1-d-by-hand")
    assert "1·1 + 2·0 + 3·(−1) = 1 + 0 − 3 = −2" in " ".join(page.inner_text("#sum").split())
    page.keyboard.press("End")
    assert grid(page, "output").tolist() == [[-2, -2, -2]]
    choose(page, "1-d-by-hand", ("convolution",))
    assert grid(page, "output").tolist() == [[2, 2, 2]]
    open_tab(page, "2-d-by-hand")
    page.keyboard.press("End")
    assert grid(page, "output").tolist() == [[-1, 1], [1, 1]]


@pytest.mark.browser
@pytest.mark.parametrize("mode", explorer.MODES)
def test_the_kernel_lies_on_the_input_as_it_is_drawn(page, mode):
    """Turned in true convolution: what the eye sees is what each cell is multiplied with."""
    page.emulate_media(reduced_motion="reduce")
    choose(page, "kernel-sliding", (mode,))
    places = """() => [...document.querySelectorAll('#grid-kernel td')].map((cell) => {
      const box = cell.getBoundingClientRect();
      return [Math.round(box.top), Math.round(box.left), cell.firstChild.value]; })"""
    seen = [text for *_, text in sorted(page.evaluate(places))]
    notes = [t.lstrip("×") for t in page.locator("#grid-input .lit small").all_inner_texts()]
    assert seen == notes
    assert (seen[0] == "−1") == (mode == "convolution")
    assert ("turned" in page.inner_text("#grid-kernel figcaption")) == (mode == "convolution")


@pytest.mark.browser
def test_editing_a_cell_updates_the_sums(page):
    page.keyboard.press("End")
    cells = page.locator("#grid-input input"), page.locator("#grid-kernel input")
    cells[0].nth(12).fill("-7.5")
    cells[1].nth(8).fill("4")
    x, w = operands(page)
    assert x[2, 2] == -7.5 and w[2, 2] == 4
    assert grid(page, "output").equal(conv(x, w))
    cells[0].nth(0).fill("none")
    assert cells[0].nth(0).get_attribute("aria-invalid") == "true"
    assert grid(page, "output").equal(conv(x, w))
    page.locator("#reset").click()
    assert operands(page)[0].flatten().tolist() == explorer.IMAGE
    assert page.locator("#reset").is_hidden()


@pytest.mark.browser
def test_play_reaches_the_last_step(page):
    page.clock.install()
    page.reload()
    page.locator("#play").click()
    page.clock.run_for(3 * 800 + 100)
    assert page.inner_text("#step") == "step 4 / 9" and page.inner_text("#play") == "Pause"
    page.keyboard.press("ArrowLeft")
    page.clock.run_for(5000)
    assert page.inner_text("#step") == "step 3 / 9" and page.inner_text("#play") == "Play"
    page.locator("#play").click()
    page.clock.run_for(20_000)
    assert page.inner_text("#step") == "step 9 / 9" and page.inner_text("#play") == "Play"
    assert not grid(page, "output").isnan().any()


@pytest.mark.browser
def test_keys(page):
    def step() -> str:
        return page.inner_text("#step")

    page.clock.install()
    page.reload()
    for key, expected in {"ArrowRight": 2, "End": 9, "ArrowLeft": 8, "Home": 1}.items():
        page.keyboard.press(key)
        assert step() == f"step {expected} / 9"
    page.keyboard.press(" ")
    page.clock.run_for(900)
    page.keyboard.press(" ")
    page.clock.run_for(5000)
    assert step() == "step 2 / 9"
    page.locator("#grid-input input").first.focus()
    page.keyboard.press("ArrowRight")  # moves in the number
    assert step() == "step 2 / 9"
    page.locator("#tab-kernel-sliding").focus()
    page.keyboard.press("ArrowRight")  # moves among the tabs
    assert page.locator("#tab-stride").get_attribute("aria-selected") == "true"
    assert page.evaluate("document.activeElement.id") == "tab-stride"
    page.locator("#grid-output button").nth(5).click()
    assert step() == "step 6 / 16"


@pytest.mark.browser
def test_the_address_restores_everything(page, browser):
    open_tab(page, "padding")
    choose(page, "padding", (2, "reflect"))
    page.locator("#grid-input input").nth(3).fill("2.5")
    page.keyboard.press("Tab")
    page.locator("#forward").click()
    page.locator("#forward").click()
    before = [page.inner_text("main"), *map(torch.Tensor.tolist, operands(page))]
    other = browser.new_page()
    other.goto(page.url)
    assert [other.inner_text("main"), *map(torch.Tensor.tolist, operands(other))] == before
    other.goto(page.url.split("#")[0] + "#no-such-tab?step=oh&input=1")
    assert other.inner_text("#step") == "step 1 / 9"
    other.close()


WIDTHS = """async (addresses) => {
  const widths = [];
  for (const address of addresses) {
    location.hash = address;
    await new Promise((done) => addEventListener("hashchange", done, { once: true }));
    widths.push(document.documentElement.scrollWidth);
  }
  return widths;
}"""


@pytest.mark.browser
@pytest.mark.parametrize("width", [320, 375, 700, 960, 1100])
def test_every_choice_fits_every_screen(page, width, tmp_path):
    page.set_viewport_size({"width": width, "height": 760})
    addresses = []
    for tab, chosen in CHOICES:
        names = [control["name"] for control in TABS[tab]["controls"]]
        words = urlencode({**dict(zip(names, chosen, strict=True)), "step": 99})
        addresses.append(f"{tab}?{words}")
    widths = page.evaluate(WIDTHS, addresses)
    assert dict(zip(addresses, widths, strict=True)) == dict.fromkeys(addresses, width)
    page.screenshot(path=tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000


@pytest.mark.browser
def test_everything_has_a_label(page):
    for tab in TABS:
        open_tab(page, tab)
        unlabelled = """[...document.querySelectorAll('input, button')].filter((item) =>
          !(item.textContent.trim() || item.getAttribute('aria-label'))).length"""
        assert page.evaluate(unlabelled) == 0
        assert page.locator("[role=tab][tabindex='0']").count() == 1
        assert page.get_attribute("#panel", "aria-labelledby") == f"tab-{tab}"


@pytest.mark.browser
def test_reduced_motion_and_the_dark(page):
    page.emulate_media(reduced_motion="reduce", color_scheme="dark")
    style = "getComputedStyle(document.querySelector('table'))"
    assert page.evaluate(f"{style}.transitionDuration") == "0s"
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert colour == "rgb(19, 22, 28)"
