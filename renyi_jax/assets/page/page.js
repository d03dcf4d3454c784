// Runs the model on a picture, and shows what it says, what it looked at and what it dropped.
import { centerCrop } from "./resize.js";

const $ = (id) => document.getElementById(id);
const TURNS = 5; // runs of each program that are timed
const DROPPED = [0x9a, 0xa5, 0xb1];
const COLOURS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];

let about, ort, picture, running;
const sessions = new Map();

async function start() {
  about = await (await fetch("model.json")).json();
  controls();
  const { module, wasm } = about.runtime;
  const [library, binary, weights] = await Promise.all([
    import(module.url),
    bytes(wasm.url, { integrity: wasm.integrity }),
    bytes(about.weights),
  ]);
  ort = library;
  ort.env.wasm.wasmBinary = binary;
  ort.env.wasm.numThreads = 1; // more need headers that static hosts do not send
  about.weightBytes = new Uint8Array(weights);
  $("state").textContent = "Ready.";
  if (about.samples.length) await load(await (await fetch(about.samples[0])).blob());
}

async function bytes(url, options) {
  const answer = await fetch(url, options);
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
  return answer.arrayBuffer();
}

function session({ file }) {
  if (!sessions.has(file)) {
    const external = [{ path: about.weights, data: about.weightBytes }];
    sessions.set(file, bytes(file).then((graph) =>
      ort.InferenceSession.create(new Uint8Array(graph), { externalData: external })));
  }
  return sessions.get(file);
}

async function run(program) {
  const made = await session(program);
  const { pixels, width, height } = picture;
  const feeds = { images: new ort.Tensor("uint8", pixels, [1, height, width, 3]) };
  if (made.inputNames.includes("alpha")) feeds.alpha = new ort.Tensor("float32", [alpha()], []);
  return made.run(feeds);
}

const alpha = () => 2 ** Number($("alpha").value);
const chosen = () =>
  about.programs[Number(document.querySelector("#rates input:checked").value)];

function controls() {
  const rates = about.programs.slice(1).map(({ keep_rate }, index) => {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"),
      { type: "radio", name: "rate", value: index + 1, checked: index === 0 });
    label.append(input, ` ${keep_rate}`);
    return label;
  });
  $("rates").append(...rates);
  $("order").hidden = about.alpha === null;
  if (about.alpha !== null) $("alpha").value = Math.log2(about.alpha);
  $("maps_title").textContent = `${about.is_entropy ? "Entropy" : "Score"}, and the patches kept`;
  about.samples.forEach((name, index) => {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.append(Object.assign(new Image(), { src: name, alt: `Sample ${index + 1}` }));
    button.onclick = async () => load(await (await fetch(name)).blob());
    $("samples").prepend(button);
  });
  $("about").append(` ${about.model ?? "The model"}, ${about.image_size.join(" x ")} pixels.`);
  tellAlpha();
  $("alpha").oninput = () => { tellAlpha(); update(); };
  $("rates").onchange = () => update(true);
  $("file").onchange = () => $("file").files[0] && load($("file").files[0]);
  $("drop").ondragover = (event) => { event.preventDefault(); $("drop").classList.add("over"); };
  $("drop").ondragleave = () => $("drop").classList.remove("over");
  $("drop").ondrop = (event) => {
    event.preventDefault();
    $("drop").classList.remove("over");
    if (event.dataTransfer.files[0]) load(event.dataTransfer.files[0]);
  };
  $("camera").onclick = camera;
}

function tellAlpha() {
  $("alpha_value").textContent = Number(alpha().toPrecision(3));
}

async function camera() {
  const video = $("video");
  if (video.hidden) {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: true });
    video.hidden = false;
    $("camera").textContent = "Take the picture";
    await video.play();
    return;
  }
  await show(video, video.videoWidth, video.videoHeight);
  video.srcObject.getTracks().forEach((track) => track.stop());
  video.hidden = true;
  $("camera").textContent = "Use the camera";
}

async function load(blob) {
  let decoded;
  try {
    decoded = await createImageBitmap(blob);
  } catch {
    $("state").textContent = "That file is no picture that this browser can read.";
    return;
  }
  await show(decoded, decoded.width, decoded.height);
}

async function show(source, width, height) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(source, 0, 0);
  const rgba = context.getImageData(0, 0, width, height).data;
  const pixels = new Uint8Array(3 * width * height);
  for (let i = 0; i < width * height; i++) {
    pixels.set(rgba.subarray(4 * i, 4 * i + 3), 3 * i);
  }
  picture = centerCrop({ pixels, width, height }, about.image_size, about.crop_pct,
    about.interpolation);
  draw($("picture"), () => true);
  await update(true);
}

// One run at a time; what is asked for meanwhile is run once, at the end.
async function update(isTimed = false) {
  if (!picture || !ort) return;
  if (running) {
    running.again = true;
    running.isTimed ||= isTimed;
    return;
  }
  running = { isTimed };
  try {
    do {
      running.again = false;
      const program = chosen();
      const outputs = await run(program);
      predict(outputs.logits?.data);
      maps(outputs);
      document.body.dataset.runs = Number(document.body.dataset.runs ?? 0) + 1;
    } while (running.again);
    if (running.isTimed) await time();
  } catch (error) {
    $("state").textContent = `Something went wrong: ${error.message}`;
    console.error(error);
  } finally {
    const { again } = running;
    running = undefined;
    if (again) update();
  }
}

async function time() {
  $("state").textContent = "Timing ...";
  const program = chosen();
  const times = [[], []];
  for (let turn = 0; turn <= TURNS; turn++) {
    for (const [index, each] of [about.programs[0], program].entries()) {
      const begun = performance.now();
      await run(each);
      if (turn) times[index].push(performance.now() - begun);
      await new Promise((go) => setTimeout(go));
    }
  }
  const [plain, pruned] = times.map((each) => each.sort((a, b) => a - b)[TURNS >> 1]);
  $("time").textContent = `${pruned.toFixed(1)} ms with pruning, ${plain.toFixed(1)} ms without; `
    + `${program.gmacs.toPrecision(2)} and ${about.programs[0].gmacs.toPrecision(2)} G multiply-adds.`;
  $("state").textContent = "Ready.";
}

function predict(logits) {
  if (!logits) return;
  const top = Math.max(...logits);
  const powers = Array.from(logits, (logit) => Math.exp(logit - top));
  const sum = powers.reduce((a, b) => a + b, 0);
  const ranked = powers.map((power, index) => [power / sum, index]).sort((a, b) => b[0] - a[0]);
  $("prediction").replaceChildren(...ranked.slice(0, 5).map(([share, index]) => {
    const item = document.createElement("li");
    item.style.setProperty("--share", `${100 * share}%`);
    const name = about.class_names?.[index] ?? `class ${index}`;
    for (const text of [name, `${(100 * share).toFixed(1)} %`]) {
      item.append(Object.assign(document.createElement("span"), { textContent: text }));
    }
    return item;
  }));
}

function maps(outputs) {
  const [rows, columns] = about.grid_size;
  let entered = Array.from({ length: rows * columns }, (_, place) => place);
  $("maps").replaceChildren(...about.blocks.map((block) => {
    const scores = outputs[`scores_${block}`].data;
    const kept = Array.from(outputs[`kept_${block}`].data, Number).filter((place) => place >= 0);
    const values = new Map(entered.map((place, i) => [place, about.is_entropy ? -scores[i] : scores[i]])
      .filter(([, value]) => Number.isFinite(value)));
    const low = Math.min(...values.values());
    const high = Math.max(...values.values());
    const figure = document.createElement("figure");
    const map = document.createElement("canvas");
    drawMap(map, values, low, high);
    const left = document.createElement("canvas");
    const keeps = new Set(kept);
    draw(left, (place) => keeps.has(place));
    const range = `${low.toPrecision(3)} to ${high.toPrecision(3)}${about.is_entropy ? " nats" : ""}`;
    const words = `Block ${block}: ${kept.length} of ${values.size} patches kept; ${range}`;
    const caption = Object.assign(document.createElement("figcaption"), { textContent: words });
    map.setAttribute("role", "img");
    map.setAttribute("aria-label", `${about.is_entropy ? "Entropy" : "Score"} of each patch, ${range}`);
    left.setAttribute("role", "img");
    left.setAttribute("aria-label", `The ${kept.length} patches kept`);
    figure.append(map, left, caption);
    entered = Array.from(outputs[`kept_${block}`].data, Number);
    return figure;
  }));
}

function paint(canvas, width, height, colour) {
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let i = 0; i < width * height; i++) image.data.set([...colour(i), 255], 4 * i);
  context.putImageData(image, 0, 0);
}

function drawMap(canvas, values, low, high) {
  const [rows, columns] = about.grid_size;
  paint(canvas, columns, rows, (place) => {
    if (!values.has(place)) return DROPPED;
    const x = ((values.get(place) - low) / (high - low || 1)) * (COLOURS.length - 1);
    const below = Math.min(COLOURS.length - 2, Math.floor(x));
    return COLOURS[below].map((from, i) => from + (COLOURS[below + 1][i] - from) * (x - below));
  });
}

// The picture, with patches that are not kept greyed out.
function draw(canvas, isKept) {
  const { pixels, width, height } = picture;
  const [rows, columns] = about.grid_size;
  paint(canvas, width, height, (i) => {
    const row = Math.floor((Math.floor(i / width) * rows) / height);
    const place = row * columns + Math.floor(((i % width) * columns) / width);
    const colour = pixels.subarray(3 * i, 3 * i + 3);
    return isKept(place) ? colour : DROPPED.map((grey, c) => 0.85 * grey + 0.15 * colour[c]);
  });
}

if ("serviceWorker" in navigator) navigator.serviceWorker.register("worker.js").catch(() => {});
start().catch((error) => {
  $("state").textContent = `The page could not start: ${error.message}`;
  console.error(error);
});
