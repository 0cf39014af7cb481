// Confusion matrices drawn as pictures: the cell under the mouse, or under the arrow keys, in words. Every matrix is
// complete without it: the picture, its order of classes, and the table of most confused pairs.
for (const plot of document.querySelectorAll(".matrix-plot")) {
  const picture = plot.querySelector("img");
  const frame = plot.parentElement;
  const readOut = frame.parentElement.querySelector(".cell-read-out");
  const list = document.getElementById(plot.dataset.classes);
  if (!list || !readOut) continue;
  const names = Array.from(list.querySelectorAll("li > bdi"), (name) => name.textContent);
  const counts = [];
  for (const token of plot.dataset.counts.match(/\d+|[A-Z]/g) || []) {
    if (/\d/.test(token)) counts.push(Number(token));
    else for (let zeros = token.charCodeAt(0) - 64; zeros > 0; zeros -= 1) counts.push(0);
  }
  const mark = document.createElement("div");
  mark.className = "cell-mark";
  mark.hidden = true;
  plot.append(mark);
  const sides = names.length;
  let row = 0;
  let column = 0;
  const show = () => {
    const all = counts.slice(row * sides, (row + 1) * sides).reduce((sum, n) => sum + n, 0);
    const count = counts[row * sides + column];
    const share = all ? ` (${((100 * count) / all).toFixed(0)} %)` : "";
    const what = row === column ? `recognised as ${names[column]}` : `taken for ${names[column]}`;
    readOut.textContent = `${names[row]}: ${count} of ${all}${share} ${what}`;
    const cell = picture.offsetWidth / sides;
    mark.style.left = `${picture.offsetLeft + column * cell}px`;
    mark.style.top = `${picture.offsetTop + row * cell}px`;
    mark.style.width = mark.style.height = `${cell}px`;
    mark.hidden = false;
  };
  readOut.hidden = false;
  readOut.setAttribute("aria-live", "polite");
  const within = (value) => Math.min(sides - 1, Math.max(0, value));
  plot.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const across = (event.clientX - box.left) / box.width;
    const down = (event.clientY - box.top) / box.height;
    if (across < 0 || down < 0 || across >= 1 || down >= 1) return;
    [row, column] = [within(Math.floor(down * sides)), within(Math.floor(across * sides))];
    show();
  });
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  frame.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    if (!step || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    [row, column] = [within(row + step[0]), within(column + step[1])];
    show();
    mark.scrollIntoView({ block: "nearest", inline: "nearest" });
  });
}
