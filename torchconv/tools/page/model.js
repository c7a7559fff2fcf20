// What the page knows: the tables written by the operator, and the reader's choices and numbers.
// No formula of convolution is here: an output is the sum of the products its table lists.

const TABS = JSON.parse(document.getElementById("tables").textContent);
const WALKS = { output: "output", input: "input", gradient: "output" }; // the grid a walk follows

// input and kernel are null until the reader changes a number.
const state = { tab: TABS[0], choice: {}, step: 1, input: null, kernel: null };

const geometry = () =>
  state.tab.geometries[state.tab.controls.map((c) => state.choice[c.name]).join(",")];
const count = (shape) => shape.reduce((a, b) => a * b, 1);
const outputs = () => count(geometry().grids.output);
const steps = () => count(geometry().grids[WALKS[state.tab.walk]]);
const values = (name) => state[name] ?? geometry()[name];

// The number in a cell of the input grid, which holds the padding as well.
function shownInput() {
  const { fill } = geometry();
  const input = values("input");
  return fill ? fill.map((cell) => (cell < 0 ? 0 : input[cell])) : input;
}

// Whether the kernel lies on the input the other way round: its first tap after its last.
function turned() {
  const { reads, places, taps } = geometry();
  return WALKS[state.tab.walk] === "output" && (places ?? reads)[0] > (places ?? reads)[taps - 1];
}

// The products of one output: which tap met which input, and where on the grid.
function terms(output) {
  const { reads, places, taps, output_size } = geometry();
  const first = Math.floor(output / count(output_size)) * taps; // of this output's channel
  const list = [];
  for (let t = 0; t < taps; t++) {
    const at = output * taps + t;
    const cell = reads[at];
    const place = (places ?? reads)[at];
    if (state.tab.walk === "input" && cell < 0) continue; // a stamp that does not reach it
    const x = cell < 0 ? 0 : values("input")[cell];
    const w = values("kernel")[first + t];
    list.push({ output, cell, place, tap: first + t, x, w, product: x * w });
  }
  return list.sort((a, b) => a.place - b.place);
}

const sum = (list) => list.reduce((total, term) => total + term.product, 0);
const every = () => Array.from({ length: outputs() }, (_, o) => terms(o));

// The terms that the current step is about.
function current() {
  const at = state.step - 1;
  return state.tab.walk === "input"
    ? every().flat().filter((term) => term.cell === at)
    : terms(at);
}

// The output as far as the walk has come; null where it has not been yet.
function shownOutput() {
  const at = state.step - 1;
  if (state.tab.walk !== "input") return every().map((list, o) => (o <= at ? sum(list) : null));
  return every().map((list) => {
    const stamped = list.filter((term) => term.cell <= at);
    return stamped.length || at + 1 === steps() ? sum(stamped) : null;
  });
}

// Backward: what each input and each tap is told, for one output or for all so far.
function gradients() {
  const at = state.step - 1;
  const seeds = Array.from({ length: outputs() }, (_, o) =>
    o === at || (o < at && state.choice.outputs === "all so far") ? 1 : 0,
  );
  const input = values("input").map(() => 0);
  const kernel = values("kernel").map(() => 0);
  for (const { output, cell, tap, x, w } of every().flat()) {
    if (cell >= 0) input[cell] += seeds[output] * w;
    kernel[tap] += seeds[output] * x;
  }
  return { seeds, input, kernel };
}

// --- Choices ------------------------------------------------------------------------------------

function openTab(tab) {
  state.tab = tab;
  state.choice = Object.fromEntries(tab.controls.map((c) => [c.name, c.values[0]]));
  state.step = 1;
  state.input = state.kernel = null;
}

// Keeps the reader's numbers where they still fit, and the place in the walk where it still is.
function choose(name, value) {
  const done = state.step >= steps();
  state.choice[name] = value;
  for (const grid of ["input", "kernel"])
    if (state[grid]?.length !== geometry()[grid].length) state[grid] = null;
  state.step = done ? steps() : Math.min(state.step, steps());
}

function edit(grid, cell, value) {
  state[grid] = [...values(grid)];
  state[grid][cell] = value;
}

// --- The address: #tab?choice=..&step=..&input=..&kernel=.. ---------------------------------------

function toHash() {
  const words = new URLSearchParams(state.choice);
  words.set("step", state.step);
  for (const grid of ["input", "kernel"]) if (state[grid]) words.set(grid, state[grid].join(" "));
  return `#${state.tab.id}?${words}`;
}

function fromHash(hash) {
  const [id, query] = hash.slice(1).split("?");
  openTab(TABS.find((tab) => tab.id === id) ?? TABS[0]);
  const words = new URLSearchParams(query);
  for (const { name, values } of state.tab.controls) {
    const known = values.find((value) => String(value) === words.get(name));
    if (known !== undefined) state.choice[name] = known;
  }
  for (const grid of ["input", "kernel"]) {
    const numbers = (words.get(grid) ?? "").split(" ").map(Number);
    if (numbers.length === geometry()[grid].length && numbers.every(Number.isFinite))
      state[grid] = numbers;
  }
  const step = Math.round(Number(words.get("step"))) || 1;
  state.step = Math.min(Math.max(step, 1), steps());
}
