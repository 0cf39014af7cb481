"use strict";
// Sorting and filtering of tables, read-outs of charts, and opening of a folded part that a link points into.
// The page is complete without it: every value stands in a table.

const make = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};

// Tables sort by their headings; an empty data-value means "nothing here" and comes last.
const sortable = (table) => {
  const body = table.tBodies[0];
  const headings = Array.from(table.tHead.rows[0].cells);
  const key = (row, column) => {
    const cell = row.cells[column];
    if (!cell || row.classList.contains("untrained")) return null;
    if (cell.dataset.value === undefined) return cell.textContent.trim();
    const number = Number(cell.dataset.value);
    if (cell.dataset.value === "") return null;
    return Number.isNaN(number) ? cell.dataset.value : number;
  };
  headings.forEach((heading, column) => {
    if (heading.tagName !== "TH") return;
    const button = make("button", { type: "button" }, ...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const first = heading.classList.contains("number") ? "descending" : "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = heading.getAttribute("aria-sort") === first ? other : first;
      headings.forEach((h) => h.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const rows = Array.from(body.rows, (row) => ({ row, key: key(row, column) }));
      rows.sort((a, b) => {
        if (a.key === null || b.key === null) return (a.key === null) - (b.key === null);
        if (typeof a.key === "number" && typeof b.key === "number") return sign * (a.key - b.key);
        return sign * String(a.key).localeCompare(String(b.key), undefined, { numeric: true });
      });
      body.append(...rows.map((entry) => entry.row));
    });
  });
};
document.querySelectorAll("table.sortable").forEach(sortable);

// A chart reads out the row of its table that is nearest to the pointer, or that the arrow keys chose.
const readable = (figure) => {
  const chart = figure.querySelector("svg.chart");
  const table = figure.querySelector("table");
  const curves = Array.from(chart.querySelectorAll("polyline[data-column]"));
  const rows = Array.from(table.tBodies[0].rows);
  if (!curves.length || !rows.length) return;
  const names = Array.from(table.tHead.rows[0].cells, (cell) => cell.textContent);
  // The points of a curve, in the order of the rows that have a value in its column.
  const at = rows.map(() => []);
  for (const curve of curves) {
    const column = Number(curve.dataset.column);
    const having = rows.flatMap((row, i) => (row.cells[column].textContent.trim() === "–" ? [] : [i]));
    having.forEach((row, i) => {
      if (i < curve.points.length) at[row].push({ curve, column, x: curve.points[i].x, y: curve.points[i].y });
    });
  }
  // Columns without a curve: those of a diagram are few, and belong to its bin.
  const drawn = new Set(curves.map((curve) => Number(curve.dataset.column)));
  const others = names.map((_, column) => column).filter((column) => figure.closest("#calibration") && column && !drawn.has(column));
  const places = at.map((points) => (points.length ? points[0].x : null));
  const [, , width, height] = chart.getAttribute("viewBox").split(" ").map(Number);

  const line = document.createElementNS(chart.namespaceURI, "path");
  line.setAttribute("class", "reading");
  const dots = document.createElementNS(chart.namespaceURI, "g");
  const box = make("div", { className: "read-out", hidden: true });
  box.dataset.scripted = "";
  box.setAttribute("aria-hidden", "true");
  const slider = make("div", { className: "reader", tabIndex: 0 });
  slider.dataset.scripted = "";
  const set = (name, value) => slider.setAttribute(name, value);
  set("role", "slider");
  // What heads the rows: epochs, which are numbers, or something else, whose places are.
  const head = names[0].toLowerCase();
  const place = (row) => (head === "epoch" ? rows[row].cells[0].textContent : String(row + 1));
  set("aria-label", `${chart.querySelector("title").textContent}: values by ${head}`);
  set("aria-valuemin", place(0));
  set("aria-valuemax", place(rows.length - 1));
  const frame = make("div", { className: "chart-frame" });
  chart.replaceWith(frame);
  frame.append(chart, slider, box);

  let current = rows.length - 1;
  const announce = () => {
    const columns = at[current].map((p) => p.column).concat(others);
    const values = columns.map((column) => `${names[column]} ${rows[current].cells[column].textContent}`);
    set("aria-valuenow", place(current));
    set("aria-valuetext", `${names[0]} ${rows[current].cells[0].textContent}: ${values.join(", ")}`);
  };
  const show = (row) => {
    if (places[row] === null) return;
    current = row;
    announce();
    const points = at[row].slice().sort((a, b) => a.y - b.y);
    line.setAttribute("d", `M${places[row]} 88V${height - 160}`);
    dots.replaceChildren(...points.map((point) => {
      const dot = document.createElementNS(chart.namespaceURI, "circle");
      for (const [name, value] of [["cx", point.x], ["cy", point.y], ["r", 16]]) dot.setAttribute(name, value);
      dot.setAttribute("class", point.curve.getAttribute("class"));
      return dot;
    }));
    chart.append(line, dots);
    const value = (point) => {
      const key = make("span", { className: `line ${point.curve.getAttribute("class")}` });
      const name = make("span", { className: "name", textContent: names[point.column] });
      return make("div", {}, key, name, make("b", { textContent: rows[row].cells[point.column].textContent }));
    };
    const other = (column) => make("div", {}, make("span", { className: "name", textContent: names[column] }),
      make("b", { textContent: rows[row].cells[column].textContent }));
    const title = make("div", { textContent: `${head} ${rows[row].cells[0].textContent}` });
    box.replaceChildren(title, ...points.map(value), ...others.map(other));
    box.hidden = false;
    const right = places[row] > width / 2;
    // Beside the line, away from the nearer edge, and on a narrow screen rather over the line than beyond the chart.
    const x = (frame.clientWidth * places[row]) / width;
    box.style.left = "0"; // so that its width is its own
    const left = right ? x - 12 - box.offsetWidth : x + 12;
    box.style.left = `${Math.max(0, Math.min(left, frame.clientWidth - box.offsetWidth))}px`;
  };
  const hide = () => {
    box.hidden = true;
    line.remove();
    dots.remove();
  };
  const near = (event) => {
    const area = chart.getBoundingClientRect();
    const x = ((event.clientX - area.left) / area.width) * width;
    let best = current;
    places.forEach((place, i) => {
      if (place !== null && Math.abs(place - x) < Math.abs(places[best] - x)) best = i;
    });
    show(best);
  };
  const step = (by) => {
    let row = current + by;
    while (row >= 0 && row < rows.length && places[row] === null) row += Math.sign(by);
    if (row >= 0 && row < rows.length) show(row);
  };
  const keys = {
    ArrowLeft: () => step(-1), ArrowDown: () => step(-1), ArrowRight: () => step(1), ArrowUp: () => step(1),
    Home: () => show(places.findIndex((p) => p !== null)), End: () => show(places.findLastIndex((p) => p !== null)),
    PageUp: () => show(Math.min(current + 10, places.findLastIndex((p) => p !== null))),
    PageDown: () => show(Math.max(current - 10, places.findIndex((p) => p !== null))), Escape: hide,
  };
  slider.addEventListener("keydown", (event) => {
    const act = event.ctrlKey || event.metaKey || event.altKey ? undefined : keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  slider.addEventListener("focus", () => { if (slider.matches(":focus-visible")) show(current); });
  slider.addEventListener("blur", hide);
  slider.addEventListener("pointermove", near);
  slider.addEventListener("pointerdown", near);
  slider.addEventListener("pointerleave", () => { if (document.activeElement !== slider) hide(); });
  announce();
};
document.querySelectorAll("figure.plot").forEach(readable);

// Many runs can be narrowed down by their names.
const filtered = Array.from(document.querySelectorAll("[data-run]"));
const names = new Set(filtered.map((element) => element.dataset.run));
const place = document.querySelector(".filter");
if (place && names.size > 5) {
  const field = make("input", { type: "search", id: "filter-field", autocomplete: "off" });
  const count = make("span", { className: "quiet" });
  count.setAttribute("role", "status");
  const label = make("label", { htmlFor: "filter-field", textContent: "Show runs with" });
  place.append(label, field, count);
  place.hidden = false;
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = new Set(Array.from(names).filter((n) => words.every((word) => n.toLowerCase().includes(word))));
    for (const element of filtered) element.hidden = !shown.has(element.dataset.run);
    count.textContent = words.length ? `${shown.size} of ${names.size}` : "";
  });
}

// A link into a folded part opens it.
const reveal = () => {
  const target = document.getElementById(location.hash.slice(1)); // ids are plain: nothing to decode
  for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
  if (target) target.scrollIntoView();
};
window.addEventListener("hashchange", reveal);
if (location.hash) reveal();

// A page that loads itself again keeps open what was open.
if (document.querySelector("meta[http-equiv=refresh]")) {
  const parts = Array.from(document.querySelectorAll("details"));
  // Its own id, else that of the chart beside it, else its words: parts may come and go.
  const name = (part) => part.id || part.parentElement.querySelector("[id]")?.id || part.firstElementChild.textContent;
  const kept = `open ${location.pathname}`;
  try {
    const open = JSON.parse(sessionStorage.getItem(kept) || "[]");
    for (const part of parts) if (open.includes(name(part))) part.open = true;
    window.addEventListener("pagehide", () => {
      sessionStorage.setItem(kept, JSON.stringify(parts.filter((part) => part.open).map(name)));
    });
  } catch { /* without storage they fold again */ }
}
