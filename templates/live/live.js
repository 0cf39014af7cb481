// What the page does: take an image, ask the network, show classes, times and where it looked.

const $ = (id) => document.getElementById(id);
const page = JSON.parse($("network").textContent);
const tensors = tensorsOf(page, $("weights").textContent);
const gradCam = new GradCam(page, tensors);
const shown = { canvas: null, logits: null, features: null, place: 0 };
let opened;

const softmax = (logits) => {
  const largest = Math.max(...logits);
  const powers = Array.from(logits, (v) => Math.exp(v - largest));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((v) => v / sum);
};

const milliseconds = (time) => (time < 10 ? time.toFixed(1) : Math.round(time).toLocaleString("en")) + "\u00a0ms";
const say = (text) => { $("status").textContent = text; };

// The square, and where the network looked for the chosen class: the rest in grey, what speaks for it in orange.
const draw = () => {
  const picture = $("picture");
  const context = picture.getContext("2d");
  const { canvas, features, place } = shown;
  const heat = features && $("heat").checked;
  context.imageSmoothingEnabled = canvas.width > picture.width;
  context.filter = heat ? "grayscale(1)" : "none";
  context.drawImage(canvas, 0, 0, picture.width, picture.height);
  context.filter = "none";
  if (!heat) return null;
  const begun = performance.now();
  const map = gradCam.map(features, place);
  const time = performance.now() - begun;
  const { height, width } = gradCam.shape;
  const largest = Math.max(...map);
  const small = new OffscreenCanvas(width, height);
  const image = new ImageData(width, height);
  map.forEach((value, pixel) => {
    image.data.set([213, 94, 0, largest > 0 ? Math.round((0.75 * 255 * value) / largest) : 0], 4 * pixel);
  });
  small.getContext("2d").putImageData(image, 0, 0);
  context.imageSmoothingEnabled = true;
  context.drawImage(small, 0, 0, picture.width, picture.height);
  return time;
};

const choose = (place) => {
  shown.place = place;
  for (const button of $("classes").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.place) === place));
  }
  const name = page.classes[place];
  const heat = shown.features && $("heat").checked;
  const label = heat ? `The image, orange where it speaks for ${name}` : "The image as the network is given it";
  $("picture").setAttribute("aria-label", label);
  $("looked").textContent = heat ? `Orange: what speaks for ${name}.` : "";
  const time = draw();
  $("time-map").textContent = time === null ? "–" : milliseconds(time);
};

const list = (probabilities) => {
  const best = probabilities.map((_, place) => place).sort((a, b) => probabilities[b] - probabilities[a] || a - b);
  const rows = best.slice(0, 5).map((place) => {
    const percent = (100 * probabilities[place]).toFixed(1);
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.place = place;
    const parts = ["name", "track", "percent"].map((part) => {
      const span = document.createElement("span");
      span.className = part;
      return span;
    });
    parts[0].textContent = page.classes[place];
    const bar = document.createElement("span");
    bar.style.width = `${percent}%`;
    parts[1].append(bar);
    parts[2].textContent = `${percent}\u00a0%`;
    button.append(...parts);
    button.addEventListener("click", () => choose(place));
    const item = document.createElement("li");
    item.append(button);
    return item;
  });
  $("classes").replaceChildren(...rows);
  return best[0];
};

// Shows what is said of a square; `truth` and `expected` (logits) are known of images that the page brings along.
const present = (canvas, answer, { name, truth, expected, prepared }) => {
  Object.assign(shown, { canvas, ...answer });
  const logits = answer.logits.subarray(0, page.classes.length);
  const best = list(softmax(logits));
  $("result").hidden = false;
  $("asked").textContent = truth ? `${name}, in truth ${truth}` : name;
  $("time-pixels").textContent = answer.features ? milliseconds(prepared) : "–";
  $("time-network").textContent = answer.features ? milliseconds(answer.milliseconds) : "–";
  choose(best);
  let compared = "";
  if (expected && answer.features) {
    const apart = expected.reduce((most, v, i) => Math.max(most, Math.abs(v - logits[i])), 0);
    compared = `Its logits are within ${apart.toPrecision(2)} of those that vggkit computes for this image.`;
    document.body.dataset.apart = apart;
  }
  $("compared").textContent = compared;
  say(`${name}: ${page.classes[best]}, ${(100 * softmax(logits)[best]).toFixed(1)} percent`);
};

const ask = async (source, about) => {
  say("Computing…");
  const begun = performance.now();
  const canvas = await squareOf(source);
  const input = normalised(canvas, page);
  const prepared = performance.now() - begun;
  const network = await opened.catch(() => null);
  if (network) {
    const answer = await network.infer(input);
    present(canvas, answer, { ...about, prepared });
    return answer;
  }
  if (about.expected) present(canvas, { logits: Float32Array.from(about.expected), features: null }, about);
  else say("Without WebGPU only the page’s own images have an answer, which vggkit computed when it made the page.");
  return null;
};

// One question at a time, and none is lost.
let last = Promise.resolve();
const enqueue = (source, about) => {
  last = last.then(() => ask(source, about)).catch((error) => {
    say(error.name === "InvalidStateError" ? `${about.name} is no image that this browser can read.` : String(error.message));
    return null;
  });
  return last;
};

const take = (files) => {
  for (const file of files) enqueue(file, { name: file.name || "Pasted image" });
};
$("file").addEventListener("change", (event) => take(event.target.files));
$("heat").addEventListener("change", () => choose(shown.place));
window.addEventListener("paste", (event) => take(event.clipboardData.files));
for (const name of ["dragover", "drop"]) {
  window.addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", name === "dragover");
    if (name === "drop") take(event.dataTransfer.files);
  });
}
window.addEventListener("dragleave", () => $("drop").classList.remove("over"));
const samples = Array.from(document.querySelectorAll("#samples button"));
samples.forEach((button, index) => {
  const { name, logits } = page.samples[index];
  const picture = button.querySelector("img");
  button.addEventListener("click", () => {
    picture.decode().then(() => enqueue(picture, { name: `Image ${index + 1}`, truth: name, expected: logits }));
  });
});

const begun = performance.now();
opened = Network.open(page, tensors);
opened.then(
  ({ adapter }) => {
    const name = adapter.description || [adapter.vendor, adapter.architecture].filter(Boolean).join(" ");
    const time = milliseconds(performance.now() - begun);
    $("device").textContent = `By WebGPU on ${name || "your graphics card"}, ready after ${time}.`;
    document.body.dataset.state = "ready";
  },
  (error) => {
    $("why").textContent = error.message;
    $("without").hidden = false;
    document.body.dataset.state = "without";
  },
).finally(() => samples[0]?.click());

// For the console: `await vggkit.ask(file)` gives logits and activations.
window.vggkit = { ask: (source, name = "Image") => enqueue(source, { name }), page, gradCam };
