// What the page shows: every change of the state draws all of it again, into elements that stay.

const $ = (id) => document.getElementById(id);
const number = (value) => String(Math.round(value * 1e6) / 1e6).replace("-", "\u2212");
const factor = (value) => (value < 0 ? `(${number(value)})` : number(value));

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes))
    if (name in made && name !== "style") made[name] = value;
    else made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// "output[1, 2]", counted from 0 as tensors are, and the padding not at all
function named(grid, cell) {
  const { grids, input_size } = geometry();
  const [rows, columns] = grid === "input" && input_size.length > 1 ? input_size : grids[grid];
  const place = rows === 1 ? [cell] : [Math.floor(cell / columns), cell % columns];
  return `${grid}[${place.join(", ")}]`;
}

// --- Grids --------------------------------------------------------------------------------------

const NARROWEST = 4; // columns: a grid takes no less room, because of its title

// Every grid of the tab: what stands in its cells, which are lit, which can be changed.
function grids() {
  const { grids: shapes, inside, input_size } = geometry();
  const lit = current();
  const at = state.step - 1;
  const walk = state.tab.walk;
  const on = (key, note) => new Map(lit.map((term) => [term[key], note?.(term)]));
  const some = (cells, shape) => (cells.size < count(shape) ? cells : new Map()); // all say nothing
  const all = [
    {
      id: "input",
      title: inside ? "Input and padding" : "Input",
      shape: shapes.input,
      values: shownInput(),
      lit: walk === "input" ? new Map([[at]]) : on("place", (term) => `\u00d7${number(term.w)}`),
      cells: inside, // of the input; the rest is padding
      editable: true,
    },
    {
      id: "kernel",
      title: turned() ? "Kernel, turned" : "Kernel",
      shape: shapes.kernel,
      values: values("kernel"),
      lit: some(on("tap"), shapes.kernel),
      editable: true,
      turned: turned(),
    },
  ];
  if (walk !== "gradient") {
    const note = (term) => (walk === "input" ? `+${number(term.product)}` : "");
    const shown = { values: shownOutput(), lit: on("output", note) };
    return [...all, { id: "output", title: "Output", shape: shapes.output, walked: true, ...shown }];
  }
  const { seeds, input, kernel } = gradients();
  const told = (id, title, shape, values, key, walked) => {
    return { id, title, shape, values, lit: some(on(key), shape), walked };
  };
  return [
    ...all,
    told("seed", "Gradient of the output", shapes.output, seeds, "output", true),
    told("input-gradient", "Gradient of the input", input_size, input, "cell"),
    told("kernel-gradient", "Gradient of the kernel", shapes.kernel, kernel, "tap"),
  ];
}

function drawGrids() {
  const all = grids();
  const stage = $("stage");
  const beside = all.slice(0, 3).map(({ shape }) => Math.max(shape[1], NARROWEST));
  stage.style.setProperty("--across", beside.reduce((a, b) => a + b));
  for (const panel of [...stage.children])
    if (!all.some((grid) => `grid-${grid.id}` === panel.id)) panel.remove();
  for (const grid of all) {
    const layout = `${grid.shape} ${grid.cells ?? ""}`;
    let panel = $(`grid-${grid.id}`);
    if (panel?.dataset.layout !== layout) {
      const made = build(grid);
      made.dataset.layout = layout;
      if (panel) panel.replaceWith(made);
      else stage.append(made);
      panel = made;
    }
    fill(panel, grid);
  }
}

function build(grid) {
  const [rows, columns] = grid.shape;
  const body = element("tbody");
  for (let row = 0; row < rows; row++) {
    const line = element("tr");
    for (let column = 0; column < columns; column++) {
      const place = row * columns + column;
      const cell = grid.cells ? grid.cells[place] : place;
      let value = element("span", { className: "value" });
      if (grid.editable && cell >= 0) {
        value = element("input", { className: "value", autocomplete: "off" });
        value.setAttribute("aria-label", named(grid.id, cell));
        value.addEventListener("input", () => typed(value, grid.id, cell));
        value.addEventListener("blur", () => draw());
        value.addEventListener("focus", () => value.select());
      } else if (grid.walked) {
        value = element("button", { type: "button", className: "value", tabIndex: -1 });
        value.title = `To step ${place + 1}`;
        value.addEventListener("click", () => goto(place + 1));
      }
      line.append(element("td", {}, value, element("small")));
    }
    body.append(line);
  }
  return element(
    "figure",
    { id: `grid-${grid.id}`, style: `--columns: ${columns}` },
    element("figcaption"),
    element("table", {}, body),
  );
}

function fill(panel, grid) {
  const size = grid.shape.join(" \u00d7 ");
  panel.firstChild.replaceChildren(grid.title, " ", element("span", {}, size));
  panel.classList.toggle("turned", Boolean(grid.turned));
  panel.querySelectorAll("td").forEach((cell, place) => {
    const [value, note] = cell.children;
    const shown = grid.values[place];
    const text = shown === null ? "\u00b7" : number(shown);
    if (value.tagName !== "INPUT") value.textContent = text;
    else if (value !== document.activeElement) {
      value.value = text;
      value.removeAttribute("aria-invalid");
    }
    note.textContent = grid.lit.get(place) ?? "";
    cell.classList.toggle("lit", grid.lit.has(place));
    cell.classList.toggle("pad", Boolean(grid.cells && grid.cells[place] < 0));
    cell.classList.toggle("empty", shown === null);
  });
}

// --- Words --------------------------------------------------------------------------------------

const product = (term) =>
  element("span", { className: term.cell < 0 ? "term pad" : "term" },
    `${factor(term.x)}\u00b7${factor(term.w)}`);

// One output as its products, a line of the kernel a line of text, and their values under them.
function spelled(output) {
  const list = terms(output);
  const columns = geometry().kernel_size.at(-1);
  const rows = [];
  for (let i = 0; i < list.length; i += columns) {
    const row = element("span", { className: "row" }, i ? "+ " : "= ");
    list.slice(i, i + columns).forEach((term, j) => row.append(j ? " + " : "", product(term)));
    rows.push(row, " ");
  }
  const products = list.map(({ product }, i) =>
    i ? `${product < 0 ? "\u2212" : "+"}\u00a0${number(Math.abs(product))}` : number(product));
  rows.push(element("span", { className: "products" }, `= ${products.join(" ")} =\u00a0`,
    element("b", {}, number(sum(list)))));
  const now = output === state.step - 1;
  return element("p", now ? { className: "now" } : {}, element("b", {}, named("output", output)),
    " ", ...rows);
}

function sentences() {
  const at = state.step - 1;
  if (state.tab.walk === "input") {
    const stamps = current().flatMap((term, i) => [i ? ", " : "", product(term)]);
    return [element("p", { className: "now" }, element("b", {}, named("input", at)),
      ` = ${number(values("input")[at])} stamps `, ...stamps)];
  }
  if (state.tab.walk === "gradient") {
    const pairs = terms(at).map(({ cell, tap }, i) => element("span", { className: "row" },
      `${i ? "+" : "="} ${cell < 0 ? "0" : named("input", cell)}\u00b7${named("kernel", tap)}`));
    return [element("p", { className: "now" }, element("b", {}, named("output", at)),
      ...pairs.flatMap((pair) => [" ", pair])),
      element("p", {}, "In each product, either factor is told the other.")];
  }
  const shown = state.tab.spell === "all" ? [...Array(outputs()).keys()] : [at];
  return shown.map(spelled);
}

function drawWords() {
  $("text").textContent = state.tab.text;
  $("step").textContent = `step ${state.step} / ${steps()}`;
  $("sum").replaceChildren(...sentences());
  const { rule, formulas, output_size } = geometry();
  const code = (text) =>
    element("code", {}, text.replaceAll("*", "\u00b7").replaceAll("-", "\u2212"));
  $("size").replaceChildren("Size of the output: ", code(rule), element("br"),
    "Here: ", code([...new Set(formulas)].join(" and ")),
    ". The operator gave ", element("b", {}, output_size.join(" \u00d7 ")), ".");
}

// --- Controls -----------------------------------------------------------------------------------

function buildControls() {
  $("controls").replaceChildren(...state.tab.controls.map(control));
}

function control({ name, label, values, words }) {
  const pressed = (value, text) => {
    const button = element("button", { type: "button" }, String(text).replaceAll("_", " "));
    button.setAttribute("data-choice", `${name}=${value}`);
    button.addEventListener("click", () => chosen(name, value));
    return button;
  };
  if (typeof values[0] !== "number")
    return element("fieldset", {}, element("legend", {}, label), ...values.map((v) => pressed(v, v)));
  const slider = element("input", { type: "range", min: values[0], max: values.at(-1), id: name });
  slider.setAttribute("aria-label", label);
  slider.addEventListener("input", () => chosen(name, Number(slider.value)));
  const named = Object.entries(words ?? {}).map(([word, value]) => pressed(value, word));
  return element("fieldset", {}, element("legend", {}, label),
    slider, element("output", { id: `${name}-value` }), ...named);
}

function drawControls() {
  for (const button of document.querySelectorAll("[data-choice]")) {
    const [name, value] = button.dataset.choice.split("=");
    button.setAttribute("aria-pressed", String(state.choice[name]) === value);
  }
  for (const slider of document.querySelectorAll("input[type=range]")) {
    slider.value = state.choice[slider.id];
    $(`${slider.id}-value`).textContent = state.choice[slider.id];
  }
  for (const tab of $("tabs").children) {
    const open = tab.id === `tab-${state.tab.id}`;
    tab.setAttribute("aria-selected", open);
    tab.tabIndex = open ? 0 : -1;
  }
  $("panel").setAttribute("aria-labelledby", `tab-${state.tab.id}`);
  $("first").disabled = $("back").disabled = state.step === 1;
  $("last").disabled = $("forward").disabled = state.step === steps();
  $("reset").hidden = !state.input && !state.kernel;
  $("play").textContent = playing ? "Pause" : "Play";
}

function draw() {
  drawGrids();
  drawWords();
  drawControls();
  history.replaceState(null, "", toHash());
}

// --- Deeds --------------------------------------------------------------------------------------

const PACE = 800; // milliseconds a step
let playing = 0;

function pause() {
  clearInterval(playing);
  playing = 0;
}

function goto(step) {
  pause();
  state.step = Math.min(Math.max(step, 1), steps());
  draw();
}

function play() {
  if (playing) return goto(state.step);
  if (state.step === steps()) state.step = 1;
  playing = setInterval(() => {
    state.step++;
    if (state.step >= steps()) goto(steps());
    draw();
  }, PACE);
  draw();
}

function chosen(name, value) {
  pause();
  choose(name, value);
  draw();
}

function typed(field, grid, cell) {
  const value = Number(field.value.replace("\u2212", "-").replace(",", "."));
  const known = field.value.trim() !== "" && Number.isFinite(value);
  field.setAttribute("aria-invalid", !known);
  if (!known) return;
  edit(grid, cell, value);
  draw();
}

function show(hash) {
  pause();
  fromHash(hash);
  buildControls();
  draw();
  const tab = $(`tab-${state.tab.id}`);
  $("tabs").scrollLeft = tab.offsetLeft - $("tabs").offsetLeft - 24; // seen on a phone as well
}

function turnTo(tab) {
  show(`#${tab.id}`);
  $(`tab-${tab.id}`).focus();
}

// --- Start --------------------------------------------------------------------------------------

for (const tab of TABS) {
  const button = element("button", { type: "button", id: `tab-${tab.id}` }, tab.title);
  button.setAttribute("role", "tab");
  button.setAttribute("aria-controls", "panel");
  button.addEventListener("click", () => turnTo(tab));
  $("tabs").append(button);
}
$("tabs").addEventListener("keydown", (event) => {
  const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!way) return;
  event.stopPropagation();
  turnTo(TABS.at((TABS.indexOf(state.tab) + way) % TABS.length));
});
$("first").addEventListener("click", () => goto(1));
$("back").addEventListener("click", () => goto(state.step - 1));
$("forward").addEventListener("click", () => goto(state.step + 1));
$("last").addEventListener("click", () => goto(steps()));
$("play").addEventListener("click", play);
$("reset").addEventListener("click", () => {
  state.input = state.kernel = null;
  goto(state.step);
});
$("controls").addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("keydown", (event) => {
  const busy = event.target.closest("input, button");
  if (event.ctrlKey || event.altKey || event.metaKey || busy?.tagName === "INPUT") return;
  const deeds = {
    ArrowLeft: () => goto(state.step - 1),
    ArrowRight: () => goto(state.step + 1),
    Home: () => goto(1),
    End: () => goto(steps()),
    " ": busy ? null : play, // a button takes the space for itself
  };
  if (!deeds[event.key]) return;
  event.preventDefault();
  deeds[event.key]();
});
window.addEventListener("hashchange", () => show(location.hash));
show(location.hash);
