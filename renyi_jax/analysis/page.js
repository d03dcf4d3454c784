"use strict";
// What a page can do beyond being read: without this script everything is there, but stands still.

const all = (selector, root = document) => [...root.querySelectorAll(selector)];

function make(tag, attributes = {}, ...content) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...content);
  return element;
}

// ---- A word about what is under the pointer.

const tip = make("div", { id: "tip", role: "status", hidden: "" });

function tell(text, x, y) {
  tip.hidden = !text;
  if (!text) return;
  (document.querySelector("dialog[open]") ?? document.body).append(tip);
  tip.textContent = text;
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(x + 12, innerWidth - width - 4))}px`;
  tip.style.top = `${y + 18 + height > innerHeight ? Math.max(4, y - height - 12) : y + 18}px`;
}

// ---- Pictures: the stops of their sliders, and the values of their patches.

const cards = new Map();

function card(element) {
  const article = element.closest("article") ?? element.closest("dialog").article;
  if (!cards.has(article)) {
    const rows = JSON.parse(article.querySelector("script").textContent);
    const range = article.querySelector("input[type=range]");
    cards.set(article, { article, rows, stop: range ? Number(range.value) : 0 });
  }
  return cards.get(article);
}

// A digit for each patch: 0 where it stays, else the stage that drops it, counted from 1.
const stageOfDrop = (stop, cell) => parseInt(stop.gone[cell], 36);

function outline(stop, stage, columns) {
  let path = "";
  for (let cell = 0; cell < stop.gone.length; cell++) {
    const drop = stageOfDrop(stop, cell);
    if (drop && drop <= stage) path += `M${cell % columns} ${Math.floor(cell / columns)}h1v1h-1z`;
  }
  return path;
}

function showStop(article, number) {
  const { rows } = card(article);
  card(article).stop = number;
  article.querySelector("output").textContent = rows[0].stops[number].rate;
  all(".answer", article).forEach((answer, row) => {
    answer.textContent = rows[row].stops[number].answer;
  });
  for (const medium of all(".medium[data-stage]", article)) {
    const stage = Number(medium.dataset.stage);
    if (!stage) continue;
    const stop = rows[medium.dataset.row].stops[number];
    const image = medium.querySelector("img");
    if (image) image.src = `data:image/png;base64,${stop.maps[stage - 1]}`;
    else {
      const columns = medium.querySelector("svg").viewBox.baseVal.width;
      medium.querySelector(".gone").setAttribute("d", outline(stop, stage, columns));
      medium.closest("figure").querySelector("b").textContent = stop.left[stage - 1];
    }
  }
}

const pixels = new Map();

async function levelsOf(source) {
  if (!pixels.has(source)) {
    const image = new Image();
    image.src = source;
    await image.decode();
    const canvas = make("canvas", { width: image.naturalWidth, height: image.naturalHeight });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    pixels.set(source, context.getImageData(0, 0, canvas.width, canvas.height));
  }
  return pixels.get(source);
}

async function valueIn(map, x, y) {
  const { data, width, height } = await levelsOf(map.querySelector("img").src);
  const at = 4 * (Math.floor(y * height) * width + Math.floor(x * width));
  if (data[at + 3] === 0) return null;
  const [low, high] = [Number(map.dataset.low), Number(map.dataset.high)];
  return low + (data[at] / 254) * (high - low);
}

// The patch at shares x and y of a medium's width and height, in words.
async function describePatch(medium, x, y) {
  const { article, rows, stop } = card(medium);
  const box = article.querySelector("svg").viewBox.baseVal;
  const [line, column] = [Math.floor(y * box.height), Math.floor(x * box.width)];
  const words = [`patch ${line + 1}, ${column + 1}`];
  const { row = 0, stage = 0 } = medium.dataset;
  const ofStage = `.map[data-row="${row}"][data-stage="${Number(stage) || 1}"]`;
  const map = medium.matches(".map") ? medium : article.querySelector(ofStage);
  const value = map && (await valueIn(map, x, y));
  if (value !== null) {
    const [quantity, unit = ""] = map.dataset.quantity.split(/ \(|\)/);
    const block = map.dataset.stage ? `in block ${rows[row].blocks[map.dataset.stage - 1]}` : "";
    words.push([quantity, value.toPrecision(3), unit, block].filter(Boolean).join(" "));
  }
  if (rows.length) {
    const { blocks, stops } = rows[row];
    const drop = stageOfDrop(stops[stop], line * box.width + column);
    words.push(drop ? `dropped by block ${blocks[drop - 1]}` : "stays to the end");
  }
  return words.join(" · ");
}

let moves = 0;

async function point({ target, clientX, clientY }) {
  const move = ++moves;
  const spot = target.closest?.("[data-tip]");
  const medium = target.closest?.(".medium:not(.plot)");
  if (spot) return tell(spot.dataset.tip, clientX, clientY);
  if (!medium) return tell("");
  const { left, top, width, height } = medium.getBoundingClientRect();
  const share = (part) => Math.min(0.9999, Math.max(0, part));
  const [x, y] = [share((clientX - left) / width), share((clientY - top) / height)];
  const text = await describePatch(medium, x, y);
  if (move === moves) tell(text, clientX, clientY); // else the pointer is elsewhere by now
}

addEventListener("pointermove", point);
addEventListener("pointerdown", point); // a finger that taps does not move

for (const range of all("input[type=range]")) {
  range.hidden = false;
  range.addEventListener("input", () => showStop(range.closest("article"), Number(range.value)));
}

// ---- Figures that grow on a click, or on Enter.

function enlarge(medium) {
  const dialog = make("dialog", {}, medium.cloneNode(true));
  const close = make("button", { class: "close", "aria-label": "Close" }, "×");
  dialog.medium = medium;
  dialog.article = medium.closest("article");
  dialog.prepend(close);
  document.body.append(dialog);
  dialog.addEventListener("close", () => {
    document.body.append(tip);
    dialog.remove();
    tell("");
  });
  dialog.addEventListener("click", ({ target }) => {
    if (target === dialog || target === close) dialog.close();
  });
  dialog.showModal();
}

for (const medium of all(".medium")) {
  medium.tabIndex = 0;
  medium.setAttribute("role", "button");
  medium.setAttribute("aria-label", `Enlarge: ${medium.querySelector("[alt]")?.alt ?? "image"}`);
  medium.addEventListener("click", () => enlarge(medium));
  medium.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target === medium) enlarge(medium);
  });
}

// ---- Images that are stepped through, by buttons or by the arrow keys.

const photos = all("article.photo");

if (photos.length > 1) {
  let current = 0;
  const count = make("output");
  const whole = make("button", { type: "button", "aria-pressed": "false" }, "all at once");
  const show = (number) => {
    current = (number + photos.length) % photos.length;
    const isWhole = whole.getAttribute("aria-pressed") === "true";
    photos.forEach((photo, place) => (photo.hidden = !isWhole && place !== current));
    count.textContent = `image ${current + 1} of ${photos.length}`;
  };
  const step = (by) => {
    const dialog = document.querySelector("dialog[open]");
    if (dialog && !dialog.article) return;
    const place = dialog && all(".medium", dialog.article).indexOf(dialog.medium);
    dialog?.close();
    whole.setAttribute("aria-pressed", "false");
    show(current + by);
    if (dialog) enlarge(all(".medium", photos[current])[place]);
  };
  const [back, on] = [["Previous image", "←", -1], ["Next image", "→", 1]].map(([name, sign, by]) => {
    const button = make("button", { type: "button", "aria-label": name }, sign);
    button.addEventListener("click", () => step(by));
    return button;
  });
  whole.addEventListener("click", () => {
    whole.setAttribute("aria-pressed", whole.getAttribute("aria-pressed") !== "true");
    show(current);
  });
  photos[0].before(make("nav", { class: "steps", "aria-label": "Images" }, back, count, on, whole));
  addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const isTaken = event.altKey || event.ctrlKey || event.metaKey || event.shiftKey;
    // Arrows move a slider, and scroll what is wide.
    if (by && !isTaken && !event.target.closest?.("input, .table, .command, pre")) step(by);
  });
  show(0);
}

// ---- A point of a curve and its row of the table: who is on one sees the other.

for (const row of all("tr[id]")) row.tabIndex = 0;

function light({ type, target }) {
  const element = target.closest?.("a.spot, tr[id]");
  if (!element) return;
  const id = element.id || element.hash.slice(1);
  const isLit = type === "pointerover" || type === "focusin";
  for (const each of all(`#${id}, a.spot[href="#${id}"]`)) each.classList.toggle("lit", isLit);
}

for (const type of ["pointerover", "pointerout", "focusin", "focusout"]) addEventListener(type, light);

// Before the figure hears of the click, which would enlarge it.
const goToRow = (event) => {
  const spot = event.target.closest?.("a.spot");
  if (!spot) return;
  event.stopPropagation();
  document.querySelector("dialog[open]")?.close();
  document.querySelector(spot.hash)?.focus();
};
addEventListener("click", goToRow, { capture: true });

// ---- Points of curves and cells of tables, told by a tip in place of the browser's own title.

for (const element of all("main [title]")) {
  element.dataset.tip = element.title;
  element.removeAttribute("title");
  element.addEventListener("focus", () => {
    const { right, bottom } = element.getBoundingClientRect();
    tell(element.dataset.tip, right, bottom);
  });
  element.addEventListener("blur", () => tell(""));
}

// ---- One of several sections at a time.

for (const choices of all(".choices")) {
  const sections = all("section", choices);
  if (sections.length < 2) continue;
  const buttons = sections.map((section) => make("button", { type: "button" }, section.dataset.name));
  const choose = (chosen) =>
    sections.forEach((section, number) => {
      section.hidden = number !== chosen;
      section.querySelector("h5").hidden = true;
      buttons[number].setAttribute("aria-pressed", number === chosen);
    });
  buttons.forEach((button, number) => button.addEventListener("click", () => choose(number)));
  choices.prepend(make("div", { class: "tabs" }, ...buttons));
  choose(Number(choices.dataset.first ?? 0));
}

// ---- Tables that a click on a header sorts: upwards, and downwards the next time.

for (const table of all("table")) {
  const body = table.tBodies[0];
  all("th", table).forEach((header, column) => {
    const button = make("button", { type: "button" }, ...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const direction = header.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
      const sign = direction === "ascending" ? 1 : -1;
      const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const compare = (left, right) => {
        const [a, b] = [value(left), value(right)];
        if (a === "" || b === "") return (a === "") - (b === ""); // what is not known comes last
        const difference = Number(a) - Number(b);
        return sign * (Number.isNaN(difference) ? a.localeCompare(b) : difference);
      };
      all("th", table).forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", direction);
      body.append(...[...body.rows].sort(compare));
    });
  });
}

// ---- Commands that are copied.

for (const command of all(".command")) {
  const button = make("button", { type: "button" }, "copy");
  button.addEventListener("click", async () => {
    const code = command.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      getSelection().selectAllChildren(code); // a page from a file may not reach the clipboard
      document.execCommand("copy");
    }
    button.textContent = "copied";
    setTimeout(() => (button.textContent = "copy"), 1500);
  });
  command.append(button);
}
